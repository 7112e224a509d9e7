"""llama.cpp's side of the race, through llama-cpp-python's low-level functions, which alone take batches.

All prompts are computed first, several in a batch, then every step decodes a token of each: as all requests arrive
together and end together, this is the best that a scheduler could do for it. What the prompts share at their beginning
is computed once and copied to the other sequences.

    python -m bench.race_llama_cpp float32|quantised
"""

from __future__ import annotations

import sys
import time
from itertools import takewhile

from bench.race_protocol import Generate, Setup, serve

BATCH = 2048  # tokens given to one call
FLASH_ATTENTION, F16 = 1, 1  # LLAMA_FLASH_ATTN_TYPE_ENABLED, GGML_TYPE_F16


#: Token, position, sequence, and whether its logits are wanted.
Row = tuple[int, int, int, bool]


def shared_beginning(prompts: list[list[int]]) -> list[int]:
    """What all prompts begin with, short of the last token of any."""
    same = takewhile(lambda column: len(set(column)) == 1, zip(*(prompt[:-1] for prompt in prompts), strict=False))
    return [column[0] for column in same]


def load(setup: Setup) -> tuple[Generate, str]:
    import numpy as np
    from llama_cpp import llama_cpp as lib

    lib.llama_backend_init()
    weights = setup.quantised if sys.argv[1] == "quantised" else setup.gguf
    model = lib.llama_model_load_from_file(weights.encode(), lib.llama_model_default_params())
    params = lib.llama_context_default_params()
    params.n_seq_max, params.n_ctx = setup.max_requests, setup.max_requests * setup.max_context
    params.n_batch, params.n_ubatch = BATCH, 512
    params.n_threads = params.n_threads_batch = setup.threads
    params.flash_attn_type, params.type_k, params.type_v = FLASH_ATTENTION, F16, F16  # decodes 16 at 2.6 times the rate
    params.kv_unified = False  # a stream for each sequence
    context = lib.llama_init_from_model(model, params)
    memory = lib.llama_get_memory(context)
    batch = lib.llama_batch_init(BATCH, 0, 1)
    vocab_size = lib.llama_vocab_n_tokens(lib.llama_model_get_vocab(model))

    def decode(rows: list[Row]) -> dict[int, int]:
        """One call. Sequence -> its likeliest next token, of those whose logits are wanted."""
        batch.n_tokens = len(rows)
        for place, (token, position, sequence, wanted) in enumerate(rows):
            batch.token[place], batch.pos[place] = token, position
            batch.n_seq_id[place], batch.seq_id[place][0] = 1, sequence
            batch.logits[place] = wanted
        if status := lib.llama_decode(context, batch):
            raise RuntimeError(f"llama_decode returned {status}")
        return {
            sequence: int(np.ctypeslib.as_array(lib.llama_get_logits_ith(context, place), (vocab_size,)).argmax())
            for place, (_, _, sequence, wanted) in enumerate(rows)
            if wanted
        }

    def generate(prompts: list[list[int]], new_tokens: int) -> tuple[list[list[int]], list[float]]:
        outputs: list[list[int]] = [[] for _ in prompts]
        first_token = [0.0] * len(prompts)

        def compute(rows: list[Row]) -> None:
            for start in range(0, len(rows), BATCH):
                for sequence, token in decode(rows[start : start + BATCH]).items():
                    first_token[sequence] = first_token[sequence] or time.perf_counter()
                    outputs[sequence].append(token)

        lib.llama_memory_clear(memory, False)
        common = shared_beginning(prompts) if len(prompts) > 1 else []
        compute([(token, position, 0, False) for position, token in enumerate(common)])
        for sequence in range(1, len(prompts)):
            if common:
                lib.llama_memory_seq_cp(memory, 0, sequence, -1, -1)
        compute(
            [
                (prompt[position], position, sequence, position == len(prompt) - 1)
                for sequence, prompt in enumerate(prompts)
                for position in range(len(common), len(prompt))
            ]
        )
        for step in range(new_tokens - 1):
            compute([(out[-1], len(prompts[number]) + step, number, True) for number, out in enumerate(outputs)])
        return outputs, first_token

    return generate, f"{sys.argv[1]} weights, flash attention, float16 cache, a stream for each sequence"


if __name__ == "__main__":
    serve("llama_cpp", "llama-cpp-python", load)
