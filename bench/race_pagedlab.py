"""pagedlab's side of the race: ``float32`` weights, or ``int8``."""

from __future__ import annotations

import sys

from bench.race_protocol import Generate, Setup, serve

PAGE_SIZE = 16


def load(setup: Setup, weights: str) -> tuple[Generate, str]:
    from pagedlab import LLM, SamplingParams  # before torch: it chooses how torch's threads wait

    import torch  # isort: skip

    torch.set_num_threads(setup.threads)
    pages = setup.max_requests * -(-setup.max_context // PAGE_SIZE)
    llm = LLM(
        setup.folder,
        weights=None if weights == "float32" else weights,
        page_size=PAGE_SIZE,
        num_pages=pages,
        max_sequences=setup.max_requests,
        trace=False,
    )

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        params = SamplingParams(max_tokens=new_tokens, temperature=0, ignore_eos=True)
        done = llm.generate(prompts, params, progress=False)
        return [one.outputs[0].token_ids for one in done], [one.metrics.first_token or 0.0 for one in done]

    settings = f"{weights} weights, float32 arithmetic and pages, prefix cache by hashes, {pages} pages of {PAGE_SIZE}"
    return generate, settings


if __name__ == "__main__":
    serve("pagedlab", "pagedlab", lambda setup: load(setup, sys.argv[1]))
