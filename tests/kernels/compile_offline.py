"""Compile the decode kernels for GPUs that are not here and print what they cost, as JSON. Run as a script:
a process that interprets Triton cannot compile it."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from pathlib import Path

import torch
import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from pagedlab_kernels.paged_decode import WIDENING_WARPS, decode_constants, merge_kernel, paged_decode_kernel

TORCH = {"fp32": torch.float32, "bf16": torch.bfloat16}
HEAD_DIMS = (64, 80, 96, 128, 256)
ALIGNED = [["tt.divisibility", 16]]  #: what Triton finds out about tensors by itself


def decode_source(dtype: str, head_dim: int, group: int, page_size: int, kv_dtype: str | None = None) -> ASTSource:
    names = ["q", "kv", "table", "length", "partial", "lse"]
    types = [f"*{dtype}", f"*{kv_dtype or dtype}", "*i32", "*i32", "*fp32", "*fp32"]
    signature = {f"{name}_ptr": kind for name, kind in zip(names, types, strict=True)}
    signature |= {"scale": "fp32", "value_offset": "i64", "table_stride": "i32", "num_splits": "i32", "reach": "i32"}
    constants = {**decode_constants(group, head_dim, page_size, TORCH[dtype]), "WIDEN": kv_dtype is not None}
    aligned = {(i,): ALIGNED for i in range(6)}
    return ASTSource(paged_decode_kernel, signature | dict.fromkeys(constants, "constexpr"), constants, aligned)


def merge_source(head_dim: int, splits: int) -> ASTSource:
    signature = {"partial_ptr": "*fp32", "lse_ptr": "*fp32", "out_ptr": "*bf16", "num_splits": "i32"}
    constants = {"HEAD_DIM": head_dim, "SPLITS_PADDED": splits, "DIM_PADDED": head_dim}
    aligned = {(i,): ALIGNED for i in range(3)}
    return ASTSource(merge_kernel, signature | dict.fromkeys(constants, "constexpr"), constants, aligned)


def resources(cubin: bytes) -> dict[str, int]:
    """Registers and bytes of stack a thread: what does not fit into registers spills onto the stack."""
    tool = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run(
            [tool, "--dump-resource-usage", file.name], capture_output=True, text=True, check=True
        ).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found is not None, text
    return {"registers": int(found[1]), "stack": int(found[2])}


def main() -> None:
    sources = {f"decode {dtype} {dim}": decode_source(dtype, dim, 4, 16) for dtype in TORCH for dim in HEAD_DIMS}
    sources |= {"decode bf16 64, group 3, page 1": decode_source("bf16", 64, 3, 1), "merge": merge_source(256, 64)}
    widening = {f"decode fp32 {dim} over bf16": decode_source("fp32", dim, 4, 16, "bf16") for dim in (64, 128, 256)}
    report = []
    for capability in (80, 90):
        for name, source in (sources | widening).items():
            options = {"num_warps": WIDENING_WARPS if name in widening else 4}
            compiled = triton.compile(source, target=GPUTarget("cuda", capability, 32), options=options)
            cost = resources(compiled.asm["cubin"]) | {"shared": compiled.metadata.shared}
            report.append({"target": f"sm_{capability}", "kernel": name} | cost)
    print(json.dumps(report))


if __name__ == "__main__":
    main()
