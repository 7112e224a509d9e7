"""transformers' side of the race, in three ways: ``python -m bench.race_transformers one-by-one|static|continuous``.

One by one is what the model card shows. Static pads all prompts to the longest and ends with the last request.
Continuous is its own engine with a paged cache and block sharing (``generate_batch``).
"""

from __future__ import annotations

import sys
import time
from typing import Any

from bench.race_protocol import Generate, Setup, serve

PAGE_SIZE = 256  # its default


class FirstToken:
    """A streamer that notes when the first new token came; the prompt is put first."""

    def __init__(self) -> None:
        self.calls, self.moment = 0, 0.0

    def put(self, tokens: Any) -> None:
        self.calls += 1
        if self.calls == 2:
            self.moment = time.perf_counter()

    def end(self) -> None:
        pass


def load(setup: Setup) -> tuple[Generate, str]:
    import torch
    from transformers import AutoModelForCausalLM, ContinuousBatchingConfig, GenerationConfig

    torch.set_num_threads(setup.threads)
    model = AutoModelForCausalLM.from_pretrained(setup.folder, dtype=torch.float32, attn_implementation="sdpa").eval()

    model.config.eos_token_id = model.generation_config.eos_token_id = None  # no token ends a text

    blocks = setup.max_requests * -(-setup.max_context // PAGE_SIZE)
    batching = ContinuousBatchingConfig(
        page_size=PAGE_SIZE,
        num_blocks=blocks,
        max_batch_tokens=512,
        max_requests_per_batch=setup.max_requests,  # else as many as the first call brought, for ever
    )

    def config(new_tokens: int) -> Any:
        return GenerationConfig(max_new_tokens=new_tokens, do_sample=False, pad_token_id=0)

    @torch.inference_mode()
    def padded(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        longest, first = max(map(len, prompts)), FirstToken()
        ids = torch.tensor([[0] * (longest - len(prompt)) + prompt for prompt in prompts])
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts])
        out = model.generate(ids, attention_mask=mask, generation_config=config(new_tokens), streamer=first)
        return out[:, longest:].tolist(), [first.moment] * len(prompts)

    def one_by_one(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        done = [padded([prompt], new_tokens) for prompt in prompts]
        return [outputs[0] for outputs, _ in done], [first[0] for _, first in done]

    def continuous(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        done = model.generate_batch(
            prompts,
            generation_config=config(new_tokens),
            continuous_batching_config=batching,
            record_timestamps=True,
            persistent_manager=True,  # else each call pays half a second for starting and stopping it
        )
        outputs = list(done.values())
        return [one.generated_tokens for one in outputs], [one.timestamps[0] for one in outputs]

    ways = {"one-by-one": one_by_one, "static": padded, "continuous": continuous}
    return ways[sys.argv[1]], "float32, sdpa"


if __name__ == "__main__":
    serve("transformers", "transformers", load)
