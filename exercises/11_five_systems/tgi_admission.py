"""TGI's router: who comes in next, if anybody.

Requests wait in line, and nobody overtakes. The next batch to prefill is as many of them, from the head of the line, as
four numbers allow:

- ``max_batch_prefill_tokens``: the prompts of the batch, together;
- ``max_batch_total_tokens``: prompt *and* max_new of all who run and of all who come in, whatever is used in the end;
- ``waiting_served_ratio`` and ``max_waiting_tokens``: without chunking, a prefill stops all who decode. So a batch of
  fewer than ``int(ratio · running)`` is not worth it, unless the last one came in ``max_waiting_tokens`` steps ago, or
  longer.

With chunking nobody is stopped, so the ratio has no say. But those who run take a token each of the prefill budget, and
of the last prompt that comes in only so much is computed as is left of it.

    budgets of 8 and 40, ratio 0.5, 20 steps; waiting: prompts of 4, 3 and 5, and 6 new tokens each; nobody runs
        -> [4, 3]       7 of 8 tokens; the third prompt would make it 12
    with chunking       -> [4, 3, 1]
    five run with 10 tokens each allowed, without chunking, the last came in a step ago
        -> []           50 of 40 are promised already
"""

from collections.abc import Sequence
from typing import NamedTuple


class Budgets(NamedTuple):
    max_batch_prefill_tokens: int = 4096
    max_batch_total_tokens: int = 16_000
    waiting_served_ratio: float = 0.3
    max_waiting_tokens: int = 20


class Waiting(NamedTuple):
    prompt: int  #: tokens, at least 1
    max_new: int


def next_batch(
    waiting: Sequence[Waiting],
    num_running: int,
    promised: int,
    steps_since: int,
    budgets: Budgets,
    chunking: bool = False,
) -> list[int]:
    """Tokens to compute of each prompt that comes in, from the head of the line on; [] where nobody does.

    ``promised``: prompt and max_new of all who run, together. ``steps_since``: steps since somebody came in.
    """
    raise NotImplementedError("11.tgi_admission: next_batch is yours to write")
