"""Copying whole pages in Triton: for copy-on-write and for swap, in all layers, in one launch.

The idea
    Before a step computes, pages are copied: within the pool, because somebody is about to write to a page that others
    read too; out to host memory and back in, because somebody was preempted. One page is 2 * L pieces of memory, keys
    and values of L layers, each in one run: few kilobytes, at addresses far apart. Copied one by one, they cost a
    launch each. Here one launch takes all pieces of all pages; and as a GPU reads and writes pinned host memory by
    itself, over the bus, it does not matter on which side a page lies.

What it must move, for a page
    2 * L * Hkv * P * (bytes of a vector, ``kv_format.py``), read once and written once. Bound by memory within the pool
    and by the bus across it.

One program: BLOCK words of one piece, and of its scales and zeros, if there are any
                         pool, [L, 2, N, …]                          host, [pages, L, 2, …]
        layer 0, keys    │ 0 │ 1 │ 2 │ … │ N-1 │                     ┌────────────────────────┐
        layer 0, values  │ 0 │ 1 │ 2 │ … │ N-1 │   ── page 1 ──►     │ all pieces of one page │
        layer 1, keys    │ 0 │ 1 │ 2 │ … │ N-1 │                     └────────────────────────┘
        …                      ▲ one piece

Order
    Copies are asked for one after the other, and programs run in any order. So a launch never writes what it also
    reads, nor anything twice. ``waves`` cuts the list where it must; mostly that is nowhere.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

#: Words that one program copies of a piece: four loads of 16 bytes for each thread of four warps.
BLOCK = 2048


# Nothing is compiled anew when the pool has another size.
@triton.jit(do_not_specialize=["num_pages"])
def copy_pages_kernel(
    copies_ptr,  # [copies, 2] int64: source and target; pages from num_pages on lie in host memory
    numbers_ptr,  # [2 L, num_pages, PIECE]: words of the numbers or codes
    host_numbers_ptr,  # [host pages, 2 L, PIECE]
    scales_ptr,  # the same of scales, or None
    host_scales_ptr,
    zeros_ptr,  # the same of zeros, or None
    host_zeros_ptr,
    num_pages,
    PIECE: tl.constexpr,
    OWN_PIECE: tl.constexpr,
    BLOCK: tl.constexpr,
):
    source = tl.load(copies_ptr + 2 * tl.program_id(0))
    target = tl.load(copies_ptr + 2 * tl.program_id(0) + 1)
    copy_piece(numbers_ptr, host_numbers_ptr, source, target, num_pages, PIECE, BLOCK)
    if scales_ptr is not None:
        copy_piece(scales_ptr, host_scales_ptr, source, target, num_pages, OWN_PIECE, BLOCK)
    if zeros_ptr is not None:
        copy_piece(zeros_ptr, host_zeros_ptr, source, target, num_pages, OWN_PIECE, BLOCK)


@triton.jit
def copy_piece(pool_ptr, host_ptr, source, target, num_pages, PIECE: tl.constexpr, BLOCK: tl.constexpr):
    word = tl.program_id(2) * BLOCK + tl.arange(0, BLOCK)
    there = word < PIECE
    words = tl.load(piece_of(pool_ptr, host_ptr, source, num_pages, PIECE) + word, mask=there)
    tl.store(piece_of(pool_ptr, host_ptr, target, num_pages, PIECE) + word, words, mask=there)


@triton.jit
def piece_of(pool_ptr, host_ptr, page, num_pages, PIECE: tl.constexpr):
    """Where this program's piece of a page (int64) begins: in the pool or in host memory."""
    piece, pieces = tl.program_id(1), tl.num_programs(1)
    in_pool = pool_ptr + (piece * num_pages.to(tl.int64) + page) * PIECE
    in_host = host_ptr + ((page - num_pages) * pieces + piece) * PIECE
    return tl.where(page < num_pages, in_pool, in_host)


def copy_pages(copies: Iterable[tuple[int, int]], pool: Sequence[Tensor], host: Sequence[Tensor]) -> None:
    """Copy page ``source`` to page ``target`` in all layers, one (source, target) after the other: a later copy sees
    what an earlier one wrote.

    ``pool``: what the pages are kept in (``kv_format.kv_parts``), each ``[L, 2, N, Hkv, P, ...]``; ``host``: the same
    of the pages from N on, each ``[pages, L, 2, Hkv, P, ...]``, pinned where the pool is on a GPU. All contiguous.
    Every page must be there: a kernel sees addresses, not shapes.
    """
    layers, two, num_pages = pool[0].shape[:3]
    pieces = layers * two
    words = [_words(part, pieces * num_pages) for part in pool]
    host_words = [part.view(-1).view(piece.dtype) for part, piece in zip(host, words, strict=True)]
    absent = [None] * (2 * (3 - len(words)))
    parts = [part for pair in zip(words, host_words, strict=True) for part in pair]
    sizes = [part.numel() // (pieces * num_pages) for part in words]
    for wave in waves(copies):
        pairs = torch.tensor([(source, target) for target, source in wave.items()], device=pool[0].device)
        copy_pages_kernel[(len(wave), pieces, triton.cdiv(max(sizes), BLOCK))](
            pairs, *parts, *absent, num_pages, PIECE=sizes[0], OWN_PIECE=sizes[-1], BLOCK=BLOCK
        )


def _words(part: Tensor, pieces: int) -> Tensor:
    """The bits of ``part``, which are so many pieces, as one row of integers: of 32 bits, where pieces allow it."""
    whole = part.nbytes // pieces % 4 == 0
    return part.view(-1).view(torch.int32 if whole else torch.uint8)


def waves(copies: Iterable[tuple[int, int]]) -> Iterator[dict[int, int]]:
    """The copies as launches, one after the other; of each, target -> source. In none is a target also a source.

    What was copied within the launch is read where it came from, and of two copies to one target the last one counts.
    A new launch begins only where a copy overwrites what an earlier one reads.
    """
    wave: dict[int, int] = {}
    read: set[int] = set()
    for source, target in copies:
        source = wave.get(source, source)
        if source == target:
            continue
        if target in read:
            yield wave
            wave, read = {}, set()
        wave[target] = source
        read.add(source)
    if wave:
        yield wave
