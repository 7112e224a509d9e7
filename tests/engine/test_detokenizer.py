"""Text that grows token by token: exact at the end, honest in between, and cut where a stop string begins."""

from __future__ import annotations

from functools import cache

import tokenizers
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import decoders, models

from pagedlab.engine.detokenizer import OutputText
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.tokenizer import Tokenizer


@given(text=st.text(max_size=30), stop=st.lists(st.text(min_size=1, max_size=4), max_size=3))
def test_the_text_ends_before_the_stop_string_that_completes_first(
    tiny_model: LoadedModel, text: str, stop: list[str]
) -> None:
    ids = tiny_model.tokenizer.encode(text)
    output, shown, stopped = OutputText(tiny_model.tokenizer, stop), "", None
    for count, token in enumerate(ids, 1):
        stopped = output.push(token)
        assert output.text.startswith(shown), "shown text is never taken back"
        shown = output.text
        so_far = tiny_model.tokenizer.decode(ids[:count])
        complete = [s for s in stop if s in so_far.rstrip("\ufffd")]
        if stopped is not None:
            assert stopped in complete
            assert output.text == so_far[: min(so_far.index(s) for s in complete)]
            break
        assert not complete or "\ufffd" in so_far
    output.finish()
    assert output.text.startswith(shown)
    if stopped is None:
        assert output.text == tiny_model.tokenizer.decode(ids)


def test_a_stop_string_that_came_too_early_to_stop_does_not_stop_later_beside_a_longer_one(
    tiny_model: LoadedModel,
) -> None:
    for stop in (["e"], ["e", "zzzzz"]):
        output = OutputText(tiny_model.tokenizer, stop)
        stops = [
            output.push(token, may_stop=number > 3)
            for number, token in enumerate(tiny_model.tokenizer.encode("hello world"), start=1)
        ]
        output.finish()
        assert (set(stops), output.text) == ({None}, "hello world")


@given(text=st.text(min_size=1, max_size=30))
def test_half_a_character_is_never_shown(tiny_model: LoadedModel, text: str) -> None:
    output = OutputText(tiny_model.tokenizer)
    for token in tiny_model.tokenizer.encode(text):
        output.push(token)
        assert text.startswith(output.text)
    assert output.text == text


def assert_pieces_are_the_whole(tokenizer: Tokenizer, ids: list[int]) -> None:
    output = OutputText(tokenizer)
    pieces, shown = [], ""
    for token in ids:
        output.push(token)
        assert output.text.startswith(shown), "shown text is never taken back"
        pieces.append(output.text[len(shown) :])
        shown = output.text
    output.finish()
    assert output.text.startswith(shown)
    assert "".join(pieces) + output.text[len(shown) :] == tokenizer.decode(ids)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.integers(0, 258), max_size=24))
def test_any_stream_of_bytes_comes_out_as_it_decodes_at_once(tiny_model: LoadedModel, ids: list[int]) -> None:
    assert_pieces_are_the_whole(tiny_model.tokenizer, ids)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_any_stream_of_the_real_models_tokens_does_too(smollm2: LoadedModel, data: st.DataObject) -> None:
    torn = torn_tokens(smollm2.tokenizer)
    anything = st.integers(0, smollm2.config.vocab_size - 1)
    assert_pieces_are_the_whole(smollm2.tokenizer, data.draw(st.lists(anything | st.sampled_from(torn), max_size=24)))


@cache
def torn_tokens(tokenizer: Tokenizer) -> list[int]:
    """Tokens that begin or end within a character."""
    return [token for token in range(tokenizer.vocab_size) if "\ufffd" in tokenizer.decode([token], False)]


@cache
def byte_fallback_tokenizer() -> Tokenizer:
    """In the manner of SentencePiece: words with a mark for a space, and a byte token for whatever is no word."""
    words = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁", "▁the", "a", "é", "日", "▁▁"]
    backend = tokenizers.Tokenizer(
        models.BPE(vocab={word: id for id, word in enumerate(words)}, merges=[], byte_fallback=True)
    )
    backend.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    backend.add_special_tokens(words[:3])
    return Tokenizer(backend, bos_id=1, eos_ids=(2,))


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, 264) | st.integers(3 + 0x80, 258) | st.integers(259, 264), max_size=20))
def test_a_run_of_byte_tokens_is_shown_when_it_has_ended(ids: list[int]) -> None:
    """Such a decoder gives up a whole run of bytes for one that is wrong: none may be shown before the last."""
    assert_pieces_are_the_whole(byte_fallback_tokenizer(), ids)
