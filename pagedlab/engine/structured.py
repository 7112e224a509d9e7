"""Structured output: which tokens may come next, so that the text obeys a JSON schema, a regex or a grammar.

llguidance compiles the constraint and says after every token which of the vocabulary's tokens can still lead to a
sentence of it (Earley parsing over a trie of the vocabulary's bytes). The end token is among them exactly where the
text is complete, and where nothing can follow it is the only one.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
from llguidance import LLMatcher, LLParserLimits, LLTokenizer
from torch import Tensor

from pagedlab.errors import InvalidRequest, SamplingFailed
from pagedlab.models.tokenizer import Tokenizer
from pagedlab.scheduling import request
from pagedlab.scheduling.sampling import SamplingParams

_CACHED_GRAMMARS = 64


class Grammars:
    """Compiled constraints, and how far each sequence has come in its own.

    A sequence's state follows from its output tokens: whatever happened to it meanwhile, it takes in those it has not
    seen yet. ``vocab_size``: columns of the logits.
    """

    def __init__(self, tokenizer: Tokenizer | None, vocab_size: int, eos_token_ids: Sequence[int]) -> None:
        self._tokenizer, self._vocab_size, self._eos_token_ids = tokenizer, vocab_size, tuple(eos_token_ids)
        self._vocabulary: LLTokenizer | None = None
        self._states: WeakKeyDictionary[request.Sequence, _State] = WeakKeyDictionary()
        self._compiled = lru_cache(_CACHED_GRAMMARS)(self._compile)

    def check(self, params: SamplingParams) -> None:
        """Compile the constraint of ``params``, if it has one and it is not cached.

        Raises InvalidRequest where it is malformed, unsatisfiable or too large. May run in a thread of its own.
        """
        if params.constraint is not None:
            self._prototype(*params.constraint)

    def allowed(self, sequence: request.Sequence, output_ids: list[int]) -> Tensor:
        """``[vocab]`` bool: the tokens that may follow ``output_ids``, which may run ahead of ``sequence`` itself."""
        state = self._states.get(sequence)
        if state is None:
            constraint = sequence.request.params.constraint
            assert constraint is not None
            state = self._states[sequence] = _State(self._prototype(*constraint).deep_copy())
        state.follow(output_ids)
        bits = np.frombuffer(state.matcher.compute_bitmask(), dtype=np.uint8)
        if state.matcher.is_error():
            raise SamplingFailed(f"the constraint of request {sequence.request.id} failed: {_reason(state.matcher)}")
        return torch.from_numpy(np.unpackbits(bits, bitorder="little")[: self._vocab_size]).bool()

    def _prototype(self, kind: str, wish: Any) -> LLMatcher:
        return self._compiled(kind, _as_text(kind, wish))

    def _compile(self, kind: str, text: str) -> LLMatcher:
        vocabulary = self._vocabulary_of_the_model(kind)
        try:
            matcher = LLMatcher(vocabulary, _GRAMMAR_FROM[kind](text), log_level=0, limits=_LIMITS)
        except ValueError as error:
            raise _unusable(kind, text, str(error)) from error
        if not matcher.is_error():
            matcher.compute_bitmask()  # some faults show only here: a text that no token can begin
        if matcher.is_error():
            raise _unusable(kind, text, _reason(matcher))
        return matcher

    def _vocabulary_of_the_model(self, kind: str) -> LLTokenizer:
        if self._tokenizer is None or not self._eos_token_ids:
            lacking = "tokenizer" if self._tokenizer is None else "end-of-sequence token"
            raise InvalidRequest(f"{kind} was asked for, but this model has no {lacking}; leave {kind} out")
        if self._vocabulary is None:
            size = max(self._vocab_size, self._tokenizer.vocab_size)
            try:
                self._vocabulary = LLTokenizer(
                    self._tokenizer.to_json(), n_vocab=size, eos_token=list(self._eos_token_ids)
                )
            except ValueError as error:
                raise InvalidRequest(f"{kind} was asked for, but not for this model's tokenizer: {error}") from error
        return self._vocabulary


class _State:
    """Where one sequence stands in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self.matcher = matcher
        self._num_taken = 0

    def follow(self, output_ids: list[int]) -> None:
        """Take in the tokens that are new. What follows the end (``ignore_eos``) is no part of the text."""
        for token in output_ids[self._num_taken :]:
            if not self.matcher.is_stopped():
                self.matcher.consume_token(token)
        self._num_taken = len(output_ids)


def _as_text(kind: str, wish: Any) -> str:
    """A constraint as one string, by which its compiled form is cached."""
    if isinstance(wish, str):
        return wish
    try:
        return json.dumps(wish, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidRequest(f"{kind} cannot be written as JSON: {error}") from error


def _json_schema(text: str) -> str:
    # One space at most between the parts: a model that likes line breaks could go on with them forever.
    return LLMatcher.grammar_from_json_schema(text, defaults={"whitespace_pattern": "[ ]?"})


def _choice(text: str) -> str:
    texts: list[str] = json.loads(text)
    return LLMatcher.grammar_from_regex("|".join("".join(f"\\x{{{ord(letter):x}}}" for letter in one) for one in texts))


_GRAMMAR_FROM = {
    "json_schema": _json_schema,
    "regex": LLMatcher.grammar_from_regex,
    "choice": _choice,
    "grammar": LLMatcher.grammar_from_lark,
}

#: A constraint comes from whoever sends requests: compiling it, and each step in it, must end soon. The library's own
#: bounds on sizes stand.
_LIMITS = LLParserLimits(initial_lexer_fuel=100_000, verbose_errors=False)


def _unusable(kind: str, text: str, reason: str) -> InvalidRequest:
    shown = text if len(text) <= 200 else f"{text[:200]}…"
    return InvalidRequest(f"{kind}={shown} was asked for; no text can be made to follow it: {reason}")


def _reason(matcher: LLMatcher) -> str:
    return matcher.get_error().partition("\n")[0] or "the library gives no reason"
