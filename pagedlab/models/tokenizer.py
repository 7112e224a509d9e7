"""Tokenizer: text to token ids and back, at once or as tokens arrive."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import tokenizers
from tokenizers import AddedToken, decoders, models, pre_tokenizers

from pagedlab.errors import CorruptFile, InvalidRequest, UnsupportedModel
from pagedlab.models.chat_template import ChatTemplate
from pagedlab.models.config import ModelConfig
from pagedlab.models.safetensors_folder import read_json_object

#: Kinds of token in GGUF's ``tokenizer.ggml.token_type`` that are looked for in a text before it is split.
_CONTROL, _USER_DEFINED = 3, 4


class Tokenizer:
    """Wraps a tokenizer of the ``tokenizers`` package, with the model's special ids and its chat template."""

    def __init__(
        self,
        backend: tokenizers.Tokenizer,
        *,
        bos_id: int | None,
        eos_ids: tuple[int, ...],
        chat_template: ChatTemplate | None = None,
        add_bos: bool = False,
    ) -> None:
        self.bos_id, self.eos_ids, self.chat_template = bos_id, eos_ids, chat_template
        self._bos = [bos_id] if bos_id is not None else []
        self._add_bos = add_bos
        backend.no_truncation()
        backend.no_padding()
        self._backend = backend

    @property
    def vocab_size(self) -> int:
        return self._backend.get_vocab_size()

    def encode(self, text: str) -> list[int]:
        """Special tokens in the text are recognised; BOS is put in front where the model was trained with it.

        A byte that the vocabulary lacks is dropped (SmolLM2 lacks some control characters).
        """
        try:
            ids = (self._bos if self._add_bos else []) + self._backend.encode(text).ids
        except (TypeError, UnicodeError) as error:
            raise InvalidRequest(f"a text of Unicode characters was expected: {error}") from error
        # A rendered chat may bring its own BOS.
        return ids[1:] if self._bos and ids[:2] == self._bos * 2 else ids

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = True) -> str:
        """Bytes that are not UTF-8 come out as U+FFFD."""
        text: str = self._backend.decode(list(ids), skip_special_tokens=skip_special_tokens)
        return text

    def to_json(self) -> str:
        """The vocabulary and its rules in the format of ``tokenizer.json``, for libraries that read it."""
        text: str = self._backend.to_str()
        return text

    def stream(self, skip_special_tokens: bool = True) -> DetokenizerStream:
        return DetokenizerStream(self, self._backend, skip_special_tokens)

    def piece(self, token: int) -> str:
        """How one token looks alone, for views; bytes that are only part of a character as ``<0xE2>``."""
        text = self.decode([token], skip_special_tokens=False)
        if "\ufffd" not in text:
            return text
        letters = self._backend.id_to_token(token) or ""
        if all(letter in _BYTE_OF_LETTER for letter in letters):
            return "".join(f"<0x{_BYTE_OF_LETTER[letter]:02X}>" for letter in letters)
        return letters

    def apply_chat_template(self, messages: Sequence[Mapping[str, Any]], add_generation_prompt: bool = True) -> str:
        """``messages``: ``{"role": …, "content": …}`` each. ``add_generation_prompt`` opens the assistant's answer."""
        if self.chat_template is None:
            raise InvalidRequest(
                "this model brings no chat template; render the conversation yourself and use generate"
            )
        return self.chat_template.render(messages, add_generation_prompt=add_generation_prompt)

    @classmethod
    def from_gguf(cls, metadata: Mapping[str, Any], config: ModelConfig) -> Tokenizer:
        """Rebuilt from a GGUF file's vocabulary, merges and the name of its pre-tokenizer."""
        name, pre = metadata.get("tokenizer.ggml.model"), metadata.get("tokenizer.ggml.pre", "gpt-2")
        if name != "gpt2" or pre not in ("gpt-2", "smollm"):
            raise UnsupportedModel(
                f"the file brings a {name!r} tokenizer with pre-tokenizer {pre!r}; byte-level BPE ('gpt2') with "
                "'smollm' or 'gpt-2' can be rebuilt. Load the model from a folder with a tokenizer.json instead."
            )
        tokens = _list_of(str, metadata, "tokenizer.ggml.tokens")
        kinds = _list_of(int, metadata, "tokenizer.ggml.token_type")
        merges = [merge.split(" ") for merge in _list_of(str, metadata, "tokenizer.ggml.merges")]
        if len(set(tokens)) != len(tokens) or len(kinds) != len(tokens) or any(len(merge) != 2 for merge in merges):
            raise CorruptFile("the file's vocabulary names a token twice, lacks a token's type, or has a broken merge")
        backend = byte_level_bpe(
            tokens,
            [(left, right) for left, right in merges],
            special=[token for token, kind in zip(tokens, kinds, strict=True) if kind == _CONTROL],
            user_defined=[token for token, kind in zip(tokens, kinds, strict=True) if kind == _USER_DEFINED],
            split_digits=pre == "smollm",
        )
        ids = {"bos_token": config.bos_token_id, "eos_token": next(iter(config.eos_token_ids), None)}
        texts = {key: tokens[id] for key, id in ids.items() if id is not None and id < len(tokens)}
        template = metadata.get("tokenizer.chat_template")
        return cls(
            backend,
            bos_id=config.bos_token_id,
            eos_ids=config.eos_token_ids,
            chat_template=ChatTemplate(template, texts) if isinstance(template, str) else None,
            add_bos=metadata.get("tokenizer.ggml.add_bos_token") is True,
        )

    @classmethod
    def from_folder(cls, folder: Path, config: ModelConfig) -> Tokenizer:
        """From ``tokenizer.json``; the chat template from ``chat_template.jinja`` or ``tokenizer_config.json``."""
        try:
            backend = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        except Exception as error:  # the package raises plain Exception
            raise CorruptFile(f"{folder / 'tokenizer.json'} cannot be read: {error}") from error
        settings_file, template_file = folder / "tokenizer_config.json", folder / "chat_template.jinja"
        settings = read_json_object(settings_file) if settings_file.is_file() else {}
        template = settings.get("chat_template")
        if isinstance(template, list):  # named templates, one of which is the default
            defaults = [entry for entry in template if isinstance(entry, dict) and entry.get("name") == "default"]
            template = defaults[0].get("template") if defaults else None
        if template_file.is_file():
            template = template_file.read_text(encoding="utf-8", errors="replace")
        return cls(
            backend,
            bos_id=config.bos_token_id,
            eos_ids=config.eos_token_ids,
            chat_template=ChatTemplate(template, _special_texts(settings)) if isinstance(template, str) else None,
        )


class DetokenizerStream:
    """Text as tokens arrive, never half a character. All pushes and the flush together are the decoded text.

    New text is what decoding the last few tokens says with the new one and did not say without it: whatever a decoder
    does across tokens (spaces, joins) needs no more context than the text that was shown last.
    """

    def __init__(self, tokenizer: Tokenizer, backend: tokenizers.Tokenizer, skip_special_tokens: bool) -> None:
        self._tokenizer, self._backend, self._skip = tokenizer, backend, skip_special_tokens
        self._ids: list[int] = []
        self._context = self._shown = 0  # decoding starts at token _context; those before _shown are shown
        self._shown_text = ""  # what decoding _context to _shown says

    def push(self, token: int) -> str:
        """The text that became final with this token: empty while its last character is incomplete."""
        self._ids.append(token)
        if _BYTE_TOKEN.fullmatch(self._backend.id_to_token(token) or ""):
            return ""  # one wrong byte makes its whole run of bytes unreadable: wait for the run's end
        text = self._decode(self._context)
        if text.endswith("\ufffd") or text == self._shown_text or not self._tokenizer.decode([token], self._skip):
            return ""  # a special token that is left out does not end a run either
        return self._show(text)

    def flush(self) -> str:
        """What was held back, when no token follows."""
        return self._show(self._decode(self._context))

    def _show(self, text: str) -> str:
        new = text[len(self._shown_text) :]
        self._context, self._shown = self._shown, len(self._ids)
        self._shown_text = self._decode(self._context)
        return new

    def _decode(self, start: int) -> str:
        return self._tokenizer.decode(self._ids[start:], self._skip)


def byte_level_bpe(
    tokens: Sequence[str],
    merges: Sequence[tuple[str, str]],
    *,
    special: Sequence[str],
    user_defined: Sequence[str] = (),
    split_digits: bool = False,
) -> tokenizers.Tokenizer:
    """GPT-2's byte-level BPE: ``tokens`` spelled in the letters that stand for bytes, in the order of their ids.

    ``special`` and ``user_defined`` tokens are taken whole out of a text; special ones can be left out when decoding.
    ``split_digits``: every digit is a token of its own.
    """
    try:
        backend = tokenizers.Tokenizer(
            models.BPE(vocab={token: id for id, token in enumerate(tokens)}, merges=list(merges))
        )
    except Exception as error:  # the package raises plain Exception
        raise CorruptFile(f"vocabulary and merges do not fit each other: {error}") from error
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True)
    digits = [pre_tokenizers.Digits(individual_digits=True)] if split_digits else []
    backend.pre_tokenizer = pre_tokenizers.Sequence([*digits, split])
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in special])
    backend.add_tokens([AddedToken(token, normalized=False) for token in user_defined])
    return backend


def byte_letters() -> list[str]:
    """The letter that stands for each byte in a byte-level vocabulary.

    Bytes that print in Latin-1 stand for themselves, the others for the letters from U+0100 on. Source: GPT-2.
    """
    shown = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = iter(range(0x100, 0x200))
    return [chr(byte if byte in shown else next(hidden)) for byte in range(256)]


#: A token for one byte of what the vocabulary has no words for (SentencePiece's byte fallback).
_BYTE_TOKEN = re.compile(r"<0x[0-9A-F]{2}>")

_BYTE_OF_LETTER = {letter: byte for byte, letter in enumerate(byte_letters())}


def _list_of(kind: type, metadata: Mapping[str, Any], key: str) -> list[Any]:
    values = metadata.get(key)
    if not isinstance(values, list) or not all(type(value) is kind for value in values):
        raise CorruptFile(f"the file's {key!r} is not a list of {kind.__name__} values")
    return values


def _special_texts(settings: Mapping[str, Any]) -> dict[str, str]:
    """``bos_token`` and the like, written as a text or as a description that holds it under ``content``."""
    texts = {}
    for key in ("bos_token", "eos_token", "unk_token", "pad_token"):
        value = settings.get(key)
        text = value.get("content") if isinstance(value, dict) else value
        if isinstance(text, str):
            texts[key] = text
    return texts
