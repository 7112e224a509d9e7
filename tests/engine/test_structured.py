"""Structured output: whatever the model would have liked to say, its text obeys the constraint, and ends."""

from __future__ import annotations

import json
import re
from typing import Any

import jsonschema
import pytest
import tokenizers
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import models

from pagedlab import LLM, SamplingParams
from pagedlab.engine.outputs import RequestOutput
from pagedlab.engine.sampler import Sampler
from pagedlab.engine.structured import Grammars
from pagedlab.errors import InvalidRequest, SamplingFailed
from pagedlab.models.catalog import LoadedModel
from pagedlab.models.tokenizer import Tokenizer
from pagedlab.scheduling.plan import SampleRow
from pagedlab.scheduling.request import FinishReason, Request, Sequence

PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 8},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "tags": {"type": "array", "items": {"enum": ["red", "green", "blue"]}, "maxItems": 3},
        "home": {"anyOf": [{"type": "null"}, {"type": "string", "pattern": "^[0-9]{5}$"}]},
    },
    "required": ["name", "age", "tags"],
    "additionalProperties": False,
}
SCHEMAS: list[dict[str, Any]] = [
    PERSON,
    {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 4},
    {"enum": ["née", 'a"b\\c', 17, None, {"x": [1.5]}]},
    {"type": "string", "pattern": "^[a-c]{2,5}$"},
]
#: Python's ``re`` and Rust's ``regex`` read these alike.
REGEXES = ["[0-9]{3}", "(ab|c){1,4}d?", "[^a-z]{2}", "é{1,2}|日本", r"([0-9]{1,3}\.){3}[0-9]{1,3}", "x?"]

DATE = r"(19|20)[0-9]{2}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"


@pytest.fixture(scope="module")
def grammars(tiny_model: LoadedModel) -> Grammars:
    config = tiny_model.config
    return Grammars(tiny_model.tokenizer, config.vocab_size, config.eos_token_ids)


def a_sequence(params: SamplingParams, seed: int = 0, output: list[int] | None = None) -> Sequence:
    return Sequence(0, Request("r", [1, 2], params, seed=seed), 0, [1, 2, *(output or [])])


def random_text(loaded: LoadedModel, grammars: Grammars, params: SamplingParams, seed: int) -> str:
    """What a model with random opinions writes, until it ends the text itself."""
    eos = loaded.config.eos_token_ids
    sequence = a_sequence(params, seed)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(400):
        logits = torch.randn(1, loaded.config.vocab_size, generator=generator)
        (result,) = Sampler(eos, grammars)(logits, [SampleRow(0, sequence)])
        assert not isinstance(result, Exception), result
        sequence.token_ids.append(result[0].token)
        if result[0].token in eos:
            return loaded.tokenizer.decode(sequence.output_ids)
    raise AssertionError(f"no end in sight: {loaded.tokenizer.decode(sequence.output_ids)!r}")


@settings(max_examples=40, deadline=None)
@given(schema=st.sampled_from(SCHEMAS), seed=st.integers(0, 10**6), temperature=st.sampled_from([0.0, 1.0, 3.0]))
def test_json_parses_and_obeys_its_schema(
    tiny_model: LoadedModel, grammars: Grammars, schema: dict[str, Any], seed: int, temperature: float
) -> None:
    as_text = seed % 2 == 0
    params = SamplingParams(temperature=temperature, json_schema=json.dumps(schema) if as_text else schema)
    jsonschema.validate(json.loads(random_text(tiny_model, grammars, params, seed)), schema)


@settings(max_examples=40, deadline=None)
@given(regex=st.sampled_from(REGEXES), seed=st.integers(0, 10**6))
def test_the_whole_text_matches_the_regex(tiny_model: LoadedModel, grammars: Grammars, regex: str, seed: int) -> None:
    text = random_text(tiny_model, grammars, SamplingParams(regex=regex), seed)
    assert re.fullmatch(regex, text)


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=6), min_size=1, max_size=5), seed=st.integers(0, 10**6))
def test_a_choice_is_one_of_its_texts_whatever_letters_they_have(
    tiny_model: LoadedModel, grammars: Grammars, texts: list[str], seed: int
) -> None:
    assert random_text(tiny_model, grammars, SamplingParams(choice=texts), seed) in texts


def test_a_grammar_may_nest(tiny_model: LoadedModel, grammars: Grammars) -> None:
    for seed in range(10):
        balanced = random_text(tiny_model, grammars, SamplingParams(grammar='start: "(" start ")" | "x"'), seed)
        depth = len(balanced) // 2
        assert balanced == "(" * depth + "x" + ")" * depth


def test_the_end_is_allowed_where_the_text_is_complete_and_then_nothing_else(grammars: Grammars) -> None:
    sequence, eos = a_sequence(SamplingParams(regex="ab?")), 258
    assert grammars.allowed(sequence, []).nonzero().flatten().tolist() == [ord("a")]
    assert grammars.allowed(sequence, [ord("a")]).nonzero().flatten().tolist() == [ord("b"), eos]
    assert grammars.allowed(sequence, [ord("a"), ord("b")]).nonzero().flatten().tolist() == [eos]
    after_the_end = grammars.allowed(sequence, [ord("a"), ord("b"), eos, eos])
    assert after_the_end.nonzero().flatten().tolist() == [eos], "with ignore_eos the end is said again and again"


def test_where_a_sequence_stands_follows_from_its_tokens_alone(grammars: Grammars) -> None:
    params = SamplingParams(json_schema=PERSON)
    text = list(b'{"name": "Ada", "age": 36')
    stepwise, resumed = a_sequence(params), a_sequence(params, output=text)
    for count in range(len(text)):
        grammars.allowed(stepwise, text[:count])
    assert grammars.allowed(stepwise, text).equal(grammars.allowed(resumed, text))


def test_bans_that_leave_nothing_over_end_the_row_and_no_other(tiny_model: LoadedModel, grammars: Grammars) -> None:
    eos = tiny_model.config.eos_token_ids
    stuck = a_sequence(SamplingParams(regex="a", min_tokens=5, temperature=0), output=[ord("a")])
    strayed = a_sequence(SamplingParams(regex="a", temperature=0), output=[ord("z")])
    fine = a_sequence(SamplingParams(regex="a", temperature=0))
    rows = [SampleRow(i, sequence) for i, sequence in enumerate((stuck, fine, strayed))]
    results = Sampler(eos, grammars)(torch.zeros(3, tiny_model.config.vocab_size), rows)
    assert isinstance(results[0], SamplingFailed) and isinstance(results[2], SamplingFailed)
    assert "min_tokens" in str(results[0]) and "grammar" in str(results[2])
    assert not isinstance(results[1], Exception) and results[1][0].token == ord("a")


@pytest.mark.parametrize(
    "wrong",
    [
        {"regex": "[0-9"},
        {"regex": "a(?=b)"},
        {"regex": "\ud800"},
        {"regex": "(" * 5000 + "a" + ")" * 5000},
        {"json_schema": "{"},
        {"json_schema": "[]"},
        {"json_schema": {"type": "nonsense"}},
        {"json_schema": {"type": "integer", "minimum": 5, "maximum": 3}},
        {"json_schema": {"$ref": "#"}},
        {"json_schema": {"$ref": "http://example.invalid/schema"}},
        {"json_schema": {"const": {1, 2}}},
        {"json_schema": '{"items":' * 3000 + "{}" + "}" * 3000},
        {"json_schema": {"allOf": [{"anyOf": [{"required": [f"{i}{j}"]} for j in range(9)]} for i in range(9)]}},
        {"choice": [f"choice number {i}" for i in range(50_000)]},
        {"grammar": "start: missing"},
        {"grammar": "start: " + "(" * 20_000 + '"a"' + ")" * 20_000},
    ],
    ids=lambda wrong: str(wrong)[:50],
)
def test_a_constraint_that_cannot_be_followed_is_refused_on_arrival(
    tiny_model: LoadedModel, wrong: dict[str, Any]
) -> None:
    llm = LLM(tiny_model)
    with pytest.raises(InvalidRequest, match=next(iter(wrong))):
        llm.generate("x", SamplingParams(**wrong))
    assert not llm.engine.has_work


def test_a_model_without_a_fit_tokenizer_or_an_end_token_refuses_constraints(tiny_model: LoadedModel) -> None:
    params = SamplingParams(regex="a")
    with pytest.raises(InvalidRequest, match="no tokenizer"):
        Grammars(None, 259, (258,)).check(params)
    with pytest.raises(InvalidRequest, match="no end-of-sequence token"):
        Grammars(tiny_model.tokenizer, 259, ()).check(params)
    words = Tokenizer(tokenizers.Tokenizer(models.WordLevel({"a": 0, "b": 1})), bos_id=None, eos_ids=(1,))
    with pytest.raises(InvalidRequest, match="this model's tokenizer"):
        Grammars(words, 2, (1,)).check(params)


# In the engine


def mixed_requests() -> tuple[list[str], list[SamplingParams]]:
    wishes: list[dict[str, Any]] = [
        {"json_schema": PERSON, "temperature": 0.0},
        {"json_schema": PERSON, "n": 3},
        {"regex": DATE},
        {"temperature": 0.0, "ignore_eos": True, "max_tokens": 20},
        {"choice": ["yes", "yes, but", "no"]},
        {"json_schema": SCHEMAS[1], "temperature": 0.0, "stop": ","},
    ]
    prompts = ["Describe a person: ", "Describe a person: ", "When? ", "abababababab", "Well? ", "[true, true, true"]
    return prompts, [SamplingParams(**{"max_tokens": 150, "seed": i, **wish}) for i, wish in enumerate(wishes)]


def tokens_and_ends(outputs: list[RequestOutput]) -> list[tuple[list[int], FinishReason | None]]:
    return [(completion.token_ids, completion.finish_reason) for output in outputs for completion in output.outputs]


@pytest.mark.parametrize(
    "knobs",
    [
        {"drafter": "prompt_lookup"},
        {"page_size": 4, "num_pages": 45, "max_tokens_per_step": 40},
        {"page_size": 4, "num_pages": 45, "drafter": "prompt_lookup"},
        {"max_sequences": 3, "prefix_cache": "none"},
    ],
    ids=str,
)
def test_constrained_tokens_do_not_depend_on_how_they_were_scheduled(
    tiny_model: LoadedModel, knobs: dict[str, Any]
) -> None:
    expected = LLM(tiny_model).generate(*mixed_requests())
    llm = LLM(tiny_model, **knobs)
    outputs = llm.generate(*mixed_requests())
    assert tokens_and_ends(outputs) == tokens_and_ends(expected)
    if knobs.get("num_pages") == 45:
        assert sum(output.num_preemptions for output in outputs) > 0, "the pool was meant to be too small"
    llm.check()
    assert llm.engine.manager.pool.num_used == 0
    people = [completion.text for output in outputs[:2] for completion in output.outputs]
    for person in people:
        jsonschema.validate(json.loads(person), PERSON)
    assert len(set(people)) == 4, "each fork goes its own way"
    assert re.fullmatch(DATE, outputs[2].outputs[0].text)
    assert outputs[4].outputs[0].text in ("yes", "yes, but", "no")


@pytest.mark.slow
def test_the_real_model_answers_in_the_form_that_was_asked_for(smollm2: LoadedModel) -> None:
    def asks(question: str) -> str:
        text: str = smollm2.tokenizer.apply_chat_template([{"role": "user", "content": question}])
        return text

    form = {"max_tokens": 80, "seed": 1}
    params = [
        SamplingParams(json_schema=PERSON, temperature=0, **form),
        SamplingParams(json_schema=PERSON, temperature=1.5, **form),
        SamplingParams(regex=DATE, temperature=0, **form),
        SamplingParams(choice=["Paris", "Rome", "東京 🗼"], temperature=2, n=3, **form),
        SamplingParams(grammar='start: NUMBER (" + " NUMBER)~2\nNUMBER: /[0-9]{1,3}/', temperature=0, **form),
    ]
    prompts = [
        asks("Describe Ada Lovelace as JSON."),
        asks("Describe a sailor as JSON: name, age, tags."),
        asks("On which day did people first land on the Moon?"),
        asks("What is the capital of France?"),
        asks("Add up one, two and three."),
    ]
    plain = LLM(smollm2).generate(prompts, params, progress=False)
    assert all(completion.finish_reason is FinishReason.STOP for output in plain for completion in output.outputs)
    for output in plain[:2]:
        jsonschema.validate(json.loads(output.outputs[0].text), PERSON)
    assert re.fullmatch(DATE, plain[2].outputs[0].text)
    assert all(completion.text in ("Paris", "Rome", "東京 🗼") for completion in plain[3].outputs)
    assert re.fullmatch(r"[0-9]{1,3}( \+ [0-9]{1,3}){2}", plain[4].outputs[0].text)
    drafted = LLM(smollm2, drafter="prompt_lookup").generate(prompts, params, progress=False)
    assert tokens_and_ends(drafted) == tokens_and_ends(plain)
