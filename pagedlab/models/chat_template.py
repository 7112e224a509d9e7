"""ChatTemplate: a conversation as the text its model was trained to continue."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NoReturn

from jinja2.sandbox import ImmutableSandboxedEnvironment

from pagedlab.errors import InvalidRequest


class ChatTemplate:
    """The Jinja template that came with a model's tokenizer. It is somebody else's program: it runs in a sandbox.

    ``special_tokens``: texts a template may name, such as ``bos_token``.
    """

    def __init__(self, source: str, special_tokens: Mapping[str, str]) -> None:
        self.source = source
        self._special_tokens = dict(special_tokens)

    def render(self, messages: Sequence[Mapping[str, Any]], *, add_generation_prompt: bool = True) -> str:
        """InvalidRequest if the template is broken or refuses these messages."""
        # These settings and functions are what templates are written against: transformers has them.
        environment = ImmutableSandboxedEnvironment(
            trim_blocks=True, lstrip_blocks=True, extensions=["jinja2.ext.loopcontrols"]
        )
        environment.filters["tojson"] = _to_json
        environment.globals |= {"raise_exception": _raise_exception, "strftime_now": _strftime_now}
        try:
            return environment.from_string(self.source).render(
                messages=messages, add_generation_prompt=add_generation_prompt, tools=None, **self._special_tokens
            )
        except Exception as error:  # a template can fail in any way a program can
            raise InvalidRequest(f"the model's chat template cannot render these messages: {error}") from error


def _raise_exception(message: str) -> NoReturn:
    raise ValueError(message)


def _strftime_now(format: str) -> str:
    return datetime.now().strftime(format)


def _to_json(value: Any, indent: int | None = None) -> str:
    """Jinja's own filter escapes for HTML."""
    return json.dumps(value, ensure_ascii=False, indent=indent)
