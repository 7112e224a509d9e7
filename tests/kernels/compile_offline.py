"""Compile the Triton kernels for GPUs that are not here and print what they cost, as JSON. Run as a script, with
the names of targets or for all: a process that interprets Triton cannot compile it.

The table that the repository keeps:  python -m tests.kernels.compile_offline --json bench/results/compiled_kernels.json
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource, CompiledKernel

from pagedlab_kernels.copy_pages import BLOCK, copy_pages_kernel
from pagedlab_kernels.paged_decode import decode_constants, paged_decode_kernel
from pagedlab_kernels.paged_prefill import paged_prefill_kernel, prefill_constants
from pagedlab_kernels.shared_prefix import shared_prefix_kernel
from pagedlab_kernels.splits import AT_ONCE, merge_kernel
from pagedlab_kernels.write_kv import write_constants, write_kv_kernel

TARGETS = {
    "sm_80": GPUTarget("cuda", 80, 32),
    "sm_90": GPUTarget("cuda", 90, 32),
    "sm_100": GPUTarget("cuda", 100, 32),
    "gfx942": GPUTarget("hip", "gfx942", 64),
}
#: Types of queries, and what pages may be kept in beside them.
STORES = [("bf16", "bf16"), ("fp32", "fp32"), ("bf16", "int8"), ("bf16", "int4"), ("bf16", "fp8")]
#: What a row of the table says.
COLUMNS = {
    "target": "the GPU that the kernel was compiled for",
    "kernel": "types of queries and pages, head size D, query heads a KV head G, page size P",
    "registers": "of a thread, 32 bits each",
    "spilled": "bytes of a thread's stack, in memory: what found no register",
    "shared": "bytes of fast memory that the threads of a program share",
    "instructions": "of the machine, in the whole kernel",
}
ALIGNED = [["tt.divisibility", 16]]  #: what Triton finds out about tensors by itself


@dataclass(frozen=True)
class Kernel:
    """One specialisation of a kernel: what Triton would compile at the first call with such arguments."""

    name: str
    function: triton.JITFunction
    types: dict[str, str]  #: of what is not constant: "*bf16", "i32" ...
    constants: dict[str, object]  #: and options of the compiler

    def compile(self, target: GPUTarget) -> CompiledKernel:
        options = {name: value for name, value in self.constants.items() if name not in self.function.arg_names}
        constants = {name: value for name, value in self.constants.items() if name in self.function.arg_names}
        types = self.types | dict.fromkeys(constants, "constexpr")
        signature = {name: types[name] for name in self.function.arg_names}
        aligned = {(i,): ALIGNED for i, kind in enumerate(signature.values()) if kind.startswith("*")}
        return triton.compile(ASTSource(self.function, signature, constants, aligned), target=target, options=options)


def decode(
    q: str, store: str, head_dim: int, *, hip: bool, group: int = 4, page_size: int = 16, capped: bool = False
) -> Kernel:
    """``store``: a type of Triton's ("bf16") or one of quantised pages ("int8")."""
    constants = decode_constants(group, head_dim, page_size, *numbers(q, store), hip)
    types = pointers(q, store) | {"length_ptr": "*i32", "partial_ptr": "*fp32", "lse_ptr": "*fp32"}
    types |= dict.fromkeys(("num_vectors", "table_stride", "num_splits", "split_tokens", "reach"), "i32")
    types |= {"skipped": "i32", "splits_before": "i32"}
    name = f"decode {q} over {store}, D {head_dim}, G {group}, P {page_size}{', capped' if capped else ''}"
    return Kernel(name, paged_decode_kernel, types, constants | {"CAPPED": capped} | absent(store))


def prefill(
    q: str,
    store: str,
    head_dim: int,
    *,
    hip: bool,
    group: int = 4,
    page_size: int = 16,
    longest: int = 512,
    split: bool = True,
) -> Kernel:
    """``split``: means go to be merged, in float32. Else they are the result."""
    constants = prefill_constants(group, head_dim, page_size, *numbers(q, store), longest, hip)
    types = pointers(q, store) | {"start_ptr": "*i32", "length_ptr": "*i32", "lse_ptr": "*fp32"}
    types |= {"partial_ptr": "*fp32" if split else f"*{q}"}
    types |= dict.fromkeys(("num_vectors", "table_stride", "num_sequences", "split_tokens", "reach"), "i32")
    name = f"prefill {q} over {store}, D {head_dim}, G {group}, P {page_size}, {longest} rows"
    name += "" if split else ", one split"
    return Kernel(name, paged_prefill_kernel, types, constants | {"CAPPED": False} | absent(store))


def shared_prefix(q: str, store: str, head_dim: int, *, hip: bool) -> Kernel:
    constants = prefill_constants(4, head_dim, 16, *numbers(q, store), 64, hip)
    types = pointers(q, store) | {"partial_ptr": "*fp32", "lse_ptr": "*fp32"}
    types |= dict.fromkeys(("num_vectors", "num_sequences", "num_splits", "all_splits", "prefix"), "i32")
    name = f"shared prefix {q} over {store}, D {head_dim}, G 4, P 16"
    return Kernel(name, shared_prefix_kernel, types, constants | {"CAPPED": False} | absent(store))


def is_plain(store: str) -> bool:
    return store not in ("int8", "int4", "fp8")


def numbers(q: str, store: str) -> tuple[str, bool, bool]:
    """How pages are kept, whether arithmetic is widened to float32, whether pages are narrower than tf32."""
    widen = q == "fp32" or (is_plain(store) and q != store)
    return "plain" if is_plain(store) else store, widen, store != "fp32"


def pointers(q: str, store: str) -> dict[str, str]:
    """Of what all attention kernels take."""
    types = {"q_ptr": f"*{q}", "kv_ptr": f"*{store}" if is_plain(store) else "*u8", "table_ptr": "*i32"}
    return types | {"scales_ptr": "*fp32", "zeros_ptr": "*fp32", "scale": "fp32", "softcap": "fp32"}


def absent(store: str) -> dict[str, None]:
    """What pages of this format do not have."""
    return dict.fromkeys(("scales_ptr", "zeros_ptr") if is_plain(store) else ("zeros_ptr",) if store == "fp8" else ())


def merge(head_dim: int) -> Kernel:
    types = {"partial_ptr": "*fp32", "lse_ptr": "*fp32", "out_ptr": "*bf16", "num_splits": "i32"}
    constants = {"HEAD_DIM": head_dim, "DIM_PADDED": head_dim, "AT_ONCE": AT_ONCE}
    return Kernel(f"merge, D {head_dim}", merge_kernel, types, constants)


def write(new: str, store: str, head_dim: int, page_size: int = 16) -> Kernel:
    types = {"k_ptr": f"*{new}", "v_ptr": f"*{new}", "slots_ptr": "*i64"}
    types |= {"kv_ptr": f"*{store}" if is_plain(store) else "*u8", "scales_ptr": "*fp32", "zeros_ptr": "*fp32"}
    types |= dict.fromkeys(("k_stride", "v_stride", "num_tokens", "num_pages"), "i32")
    constants = write_constants(8, head_dim, page_size, numbers(new, store)[0])
    name = f"write {new} as {store}, D {head_dim}, P {page_size}"
    return Kernel(name, write_kv_kernel, types, constants | absent(store))


def copy(parts: int, piece: int, own_piece: int) -> Kernel:
    """``parts``: one of plain pages, two of fp8, three of other quantised ones."""
    pointers = [f"{host}{part}_ptr" for part in ("numbers", "scales", "zeros") for host in ("", "host_")]
    types = {"copies_ptr": "*i64", "num_pages": "i32"} | dict.fromkeys(pointers, "*i32")
    constants: dict[str, object] = {"PIECE": piece, "OWN_PIECE": own_piece, "BLOCK": BLOCK}
    return Kernel(f"copy {parts} x {piece}", copy_pages_kernel, types, constants | dict.fromkeys(pointers[2 * parts :]))


def memory_kernels() -> Iterator[Kernel]:
    yield copy(1, 8192, 8192)
    yield copy(3, 4096, 128)
    for store in ("bf16", "int8", "int4", "fp8"):
        yield write("bf16", store, 128)
        yield write("fp32", store, 256)
    yield write("fp16", "fp16", 64, page_size=1)
    yield write("fp32", "int4", 80)


def kernels(hip: bool) -> Iterator[Kernel]:
    yield from memory_kernels()
    for head_dim in (64, 128, 256):
        for q, store in STORES:
            yield decode(q, store, head_dim, hip=hip)
            yield prefill(q, store, head_dim, hip=hip)
        yield merge(head_dim)
    yield decode("fp32", "bf16", 256, hip=hip)
    yield decode("fp32", "int8", 256, hip=hip)
    yield decode("bf16", "int4", 80, hip=hip, group=3, page_size=1)
    yield decode("fp16", "fp16", 96, hip=hip, group=8, page_size=64, capped=True)
    for q, store in STORES:
        yield shared_prefix(q, store, 128, hip=hip)
    yield prefill("bf16", "bf16", 128, hip=hip, longest=4)
    yield prefill("fp32", "int4", 128, hip=hip, longest=4)
    yield prefill("bf16", "int8", 80, hip=hip, group=3, page_size=1)
    yield prefill("bf16", "bf16", 128, hip=hip, split=False)
    yield prefill("bf16", "int4", 256, hip=hip, split=False)


def cost(compiled: CompiledKernel) -> dict[str, int]:
    """Registers and spilled bytes of a thread, bytes that the threads of a program share, instructions."""
    if "cubin" in compiled.asm:
        resources = cuda_object(compiled.asm["cubin"], "cuobjdump", "--dump-resource-usage")
        registers, spilled = found(r"REG:(\d+)", resources), found(r"STACK:(\d+)", resources)
        instructions = len(re.findall(r"^\s+[/@\w].*;", cuda_object(compiled.asm["cubin"], "nvdisasm"), re.MULTILINE))
    else:
        assembly = compiled.asm["amdgcn"]
        registers = found(r"\.vgpr_count:\s+(\d+)", assembly)
        spilled = found(r"\.private_segment_fixed_size:\s+(\d+)", assembly)
        instructions = len(re.findall(r"^\t[a-z]", assembly, re.MULTILINE))
    used = {"registers": registers, "spilled": spilled, "shared": compiled.metadata.shared}
    return used | {"instructions": instructions}


def found(pattern: str, text: str) -> int:
    match = re.search(pattern, text)
    assert match is not None, text
    return int(match[1])


def cuda_object(cubin: bytes, tool: str, *options: str) -> str:
    """What a tool that Triton brings along says of a kernel for an NVIDIA GPU."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        path = Path(triton.__file__).parent / "backends" / "nvidia" / "bin" / tool
        return subprocess.run([path, *options, file.name], capture_output=True, text=True, check=True).stdout


def costs(targets: list[str]) -> list[dict[str, str | int]]:
    """A row for each kernel and target, by target and then by name."""
    triton.knobs.compilation.disable_line_info = True  # a kernel's numbers do not depend on where its lines stand
    rows: list[dict[str, str | int]] = []
    for name in sorted(targets):
        target = TARGETS[name]
        for kernel in sorted(kernels(hip=target.backend == "hip"), key=lambda kernel: kernel.name):
            rows.append({"target": name, "kernel": kernel.name} | cost(kernel.compile(target)))
    return rows


def table(rows: list[dict[str, str | int]]) -> str:
    """What is kept, a row a line. Nothing of the machine that compiled is in it: Triton brings its own assemblers, so
    its version alone decides, and two compilations give the same bytes."""
    about = {"triton": triton.__version__, "columns": COLUMNS}
    lines = ",\n".join(f"    {json.dumps(row)}" for row in rows)
    return f'{json.dumps(about, indent=2)[:-2]},\n  "rows": [\n{lines}\n  ]\n}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description="Compile the Triton kernels and say what they cost.")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all when absent")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the table")
    arguments = parser.parse_args()
    text = table(costs(arguments.targets or list(TARGETS)))
    if arguments.json:
        arguments.json.write_text(text, encoding="utf-8")
    else:
        print(text, end="")


if __name__ == "__main__":
    main()
