"""Text that grows token by token: exact at the end, honest in between, and cut where a stop string begins."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from pagedlab.engine.detokenizer import OutputText
from pagedlab.models.catalog import LoadedModel


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
    output.finish(ids)
    assert output.text.startswith(shown)
    if stopped is None:
        assert output.text == tiny_model.tokenizer.decode(ids)


@given(text=st.text(min_size=1, max_size=30))
def test_half_a_character_is_never_shown(tiny_model: LoadedModel, text: str) -> None:
    output = OutputText(tiny_model.tokenizer)
    for token in tiny_model.tokenizer.encode(text):
        output.push(token)
        assert text.startswith(output.text)
    assert output.text == text
