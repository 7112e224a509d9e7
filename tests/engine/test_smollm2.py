"""The real model against transformers: the same greedy tokens, however the engine was made to schedule them.

transformers computes each sequence whole (prompt and our 48 tokens, one pass, its own attention and its own weights
from the `gguf` package). If at every position its likeliest next token is the one we chose, its greedy decoding is
ours, by induction.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from pagedlab import LLM, SamplingParams
from pagedlab.engine.sampler import Sampled
from pagedlab.models.catalog import LoadedModel
from pagedlab.scheduling.plan import SampleRow

NEW_TOKENS = 48
GREEDY = SamplingParams(temperature=0, max_tokens=NEW_TOKENS, ignore_eos=True)
SYSTEM = "You are a careful librarian who answers in one short sentence and never guesses. " * 6

PROSE = "The keeper counted the pages twice, wrote the number in the margin, and went to look for the missing leaf. "


def prompts(loaded: LoadedModel) -> list[str]:
    chat = loaded.tokenizer.apply_chat_template
    return [
        "A",
        "The capital of Iceland is",
        "12345 + 67890 = ",
        "3.14159265358979323846264338327950288419716939937510",
        "def quicksort(xs):\n    if len(xs) <= 1:\n        return xs\n",
        '{"name": "pagedlab", "pages": [0, 7, 2, 11], "shared": true,',
        "SELECT owner, COUNT(*) FROM pages GROUP BY",
        "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n\n",
        "one  two   three    four     five      six",
        "\n\n\n\t\t\t   \n",
        "Größenwahn, naïve café, Ærøskøbing, Łódź und",
        "東京は日本の首都です。大阪は",
        "Москва — столица",
        "🦉📚 The owl opened the book and 🙂",
        "e\u0301 and é are not the same bytes, although",
        chat([{"role": "user", "content": "Name three rivers in France."}]),
        chat([{"role": "system", "content": SYSTEM}, {"role": "user", "content": "Who wrote Faust?"}]),
        chat([{"role": "system", "content": SYSTEM}, {"role": "user", "content": "How high is Mont Blanc?"}]),
        SYSTEM + "Question: what is a page table? Answer:",
        SYSTEM + "Question: what is a cache? Answer:",
        PROSE * 12,
        PROSE * 40 + "In the end",
    ]


@dataclass
class Reference:
    """What transformers says of the tokens that our engine produced."""

    tokens: list[list[int]]  #: per prompt, our NEW_TOKENS tokens, confirmed greedy by transformers
    ids: list[list[int]]  #: per prompt, its token ids
    worst: float  #: largest difference of any logit


@pytest.fixture(scope="module")
def reference(smollm2: LoadedModel, transformers_smollm2: torch.nn.Module) -> Reference:
    llm = LLM(smollm2, num_pages=512)
    ids = [smollm2.tokenizer.encode(prompt) for prompt in prompts(smollm2)]
    seen: dict[tuple[int, int], torch.Tensor] = {}
    sampler = llm.engine.sampler

    def recording(logits: torch.Tensor, rows: list[SampleRow]) -> list[list[Sampled] | Exception]:
        for row_logits, row in zip(logits, rows, strict=True):
            seen[int(row.sequence.request.id), row.sequence.num_output] = row_logits.clone()
        return sampler(logits, rows)

    llm.engine.sampler = recording  # type: ignore[assignment]
    tokens = [output.outputs[0].token_ids for output in llm.generate(list(ids), GREEDY)]
    worst, ties = 0.0, []
    for index, (prompt, ours) in enumerate(zip(ids, tokens, strict=True)):
        with torch.inference_mode():
            whole = torch.tensor([prompt + ours[:-1]])
            theirs = transformers_smollm2(whole, logits_to_keep=NEW_TOKENS).logits[0]
        for position, (row, token) in enumerate(zip(theirs, ours, strict=True)):
            worst = max(worst, (row - seen[index, position]).abs().max().item())
            if int(row.argmax()) != token:
                gap = (row.max() - row[token]).item()
                assert gap < 1e-3, f"prompt {index}, position {position}: token {token} lies {gap} below the likeliest"
                ties.append((index, position, gap))
    if ties:
        print("near ties where another choice is as good:", ties)
    return Reference(tokens, ids, worst)


@pytest.mark.slow
def test_logits_are_those_of_transformers_within_a_thousandth(reference: Reference) -> None:
    assert {1} <= {len(ids) for ids in reference.ids} and max(len(ids) for ids in reference.ids) >= 900
    assert reference.worst < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    "knobs",
    [
        {"max_sequences": 1, "prefix_cache": "none"},
        {"max_tokens_per_step": 16},
        {"page_size": 1, "num_pages": 6000},
        {"page_size": 64, "num_pages": 128},
        {"page_size": 256, "num_pages": 40, "attention": "reference"},
        {"num_pages": 80, "max_tokens_per_step": 256},
    ],
    ids=["alone", "chunks of 16", "page size 1", "page size 64", "page size 256", "preempted"],
)
def test_greedy_tokens_are_those_of_transformers(
    smollm2: LoadedModel, reference: Reference, knobs: dict[str, object]
) -> None:
    llm = LLM(smollm2, **knobs)
    outputs = llm.generate(list(reference.ids), GREEDY)
    if knobs.get("num_pages") == 80:
        assert sum(output.num_preemptions for output in outputs) > 0, "the pool was meant to be too small"
    assert [output.outputs[0].token_ids for output in outputs] == reference.tokens
    llm.check()
    assert llm.engine.manager.pool.num_used == 0


@pytest.mark.slow
def test_prefix_hits_change_no_token(smollm2: LoadedModel, reference: Reference) -> None:
    llm = LLM(smollm2, num_pages=512)
    llm.generate(list(reference.ids), SamplingParams(temperature=0, max_tokens=1))
    outputs = llm.generate(list(reference.ids), GREEDY)
    assert [output.num_cached_tokens for output in outputs] == [(len(ids) - 1) // 16 * 16 for ids in reference.ids]
    assert [output.outputs[0].token_ids for output in outputs] == reference.tokens


@pytest.fixture(scope="module")
def transformers_smollm2(smollm2_path: Path) -> torch.nn.Module:
    """LlamaForCausalLM with weights that another reader, the ``gguf`` package, dequantised."""
    from tests.models.independent import transformers_from_gguf

    return transformers_from_gguf(smollm2_path)
