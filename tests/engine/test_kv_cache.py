"""The memory behind the pages: what was written comes back bit by bit, wherever it was copied (behaviours 34, 35)."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from pagedlab.engine.kv_cache import KVCache
from pagedlab.errors import InvalidConfig, InvalidQuantity
from pagedlab.memory.copies import PageCopy
from pagedlab.memory.table import HOLE
from pagedlab.models.catalog import load_model
from pagedlab_kernels.kv_format import KV_DTYPES, PLAIN, LayerKV, QuantizedKV, quantize, write_kv

CONFIG = load_model("tiny-random").config
FORMATS = pytest.mark.parametrize("kv_dtype", KV_DTYPES)


def parts_of(layer: LayerKV) -> tuple[Tensor, ...]:
    return layer.parts if isinstance(layer, QuantizedKV) else (layer,)


def contents(kv: KVCache, page: int) -> list[bytes]:
    """Every byte of a device page, in all layers."""
    return [part[:, page].contiguous().view(torch.uint8).numpy().tobytes() for kv in kv.layers for part in parts_of(kv)]


def scribble(kv: KVCache, seed: int) -> None:
    """Any bits at all into every device page: NaN and infinities too."""
    draw = torch.Generator().manual_seed(seed)
    for layer in kv.layers:
        for part in parts_of(layer):
            raw = part.view(torch.uint8)
            raw.copy_(torch.randint(256, raw.shape, generator=draw, dtype=torch.uint8))


@FORMATS
def test_a_layer_has_a_tile_for_each_page_and_head(kv_dtype: str) -> None:
    kv = KVCache(CONFIG, num_pages=5, page_size=4, kv_dtype=kv_dtype)
    assert len(kv.layers) == CONFIG.num_layers
    for layer in kv.layers:
        assert layer.shape == (2, 5, CONFIG.num_kv_heads, 4, CONFIG.head_dim)
        assert layer.is_contiguous()
        assert layer.dtype == PLAIN.get(kv_dtype, torch.float32)


@FORMATS
def test_the_memory_figures_are_those_of_the_memory_itself(kv_dtype: str) -> None:
    kv = KVCache(CONFIG, num_pages=5, page_size=4, kv_dtype=kv_dtype, num_host_pages=3)
    taken = sum(part.nbytes for layer in kv.layers for part in parts_of(layer))
    assert kv.nbytes == taken == 5 * kv.bytes_per_page
    assert kv.host_nbytes == 3 * kv.bytes_per_page


@FORMATS
def test_a_page_that_went_to_host_memory_returns_bit_by_bit(kv_dtype: str) -> None:
    kv = KVCache(CONFIG, num_pages=4, page_size=4, kv_dtype=kv_dtype, num_host_pages=2)
    scribble(kv, seed=1)
    before = [contents(kv, page) for page in range(4)]
    kv.copy_pages([PageCopy(2, 4), PageCopy(0, 5), PageCopy(5, 4), PageCopy(2, 5)])  # host to host, too
    scribble(kv, seed=2)
    after = [contents(kv, page) for page in range(4)]
    kv.copy_pages([PageCopy(4, 1), PageCopy(5, 3)])
    assert contents(kv, 1) == before[0] and contents(kv, 3) == before[2]
    assert contents(kv, 0) == after[0] and contents(kv, 2) == after[2]


def test_copies_are_made_in_the_order_they_were_asked_for() -> None:
    kv = KVCache(CONFIG, num_pages=3, page_size=4)
    scribble(kv, seed=1)
    first, second = contents(kv, 0), contents(kv, 1)
    kv.copy_pages([PageCopy(0, 2), PageCopy(1, 0), PageCopy(2, 1)])  # the two change places
    assert contents(kv, 0) == second and contents(kv, 1) == first


@pytest.mark.parametrize("copy", [PageCopy(HOLE, 0), PageCopy(0, HOLE), PageCopy(5, 0), PageCopy(0, 5)])
def test_a_page_that_is_not_there_is_not_copied(copy: PageCopy) -> None:
    kv = KVCache(CONFIG, num_pages=3, page_size=4, num_host_pages=2)
    with pytest.raises(InvalidQuantity, match="there are pages 0 to 4, those from 3 on in host memory"):
        kv.copy_pages([copy])


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_writes_and_copies_leave_what_a_dictionary_of_tokens_holds(data: st.DataObject) -> None:
    num_pages, num_host_pages, page_size = 3, 2, 4
    kv_dtype = data.draw(st.sampled_from(KV_DTYPES), "kv_dtype")
    kv = KVCache(CONFIG, num_pages, page_size, kv_dtype, num_host_pages=num_host_pages)
    page = st.integers(0, num_pages + num_host_pages - 1)
    write = st.lists(st.integers(0, num_pages * page_size - 1), min_size=1, max_size=5, unique=True)
    operations = data.draw(st.lists(write | st.builds(PageCopy, page, page), max_size=25), "operations")
    draw = torch.Generator().manual_seed(0)
    tokens: dict[tuple[int, int], list[Tensor]] = {}  # (page, offset) -> of each layer, key and value [2, Hkv, D]
    for operation in operations:
        if isinstance(operation, PageCopy):
            kv.copy_pages([operation])
            copied = {offset: tokens.get((operation.source, offset)) for offset in range(page_size)}
            for offset, token in copied.items():
                tokens.pop((operation.target, offset), None)
                if token is not None:
                    tokens[operation.target, offset] = token
        else:
            for slot in operation:
                tokens[divmod(slot, page_size)] = []
            for layer in kv.layers:
                new = torch.randn(len(operation), 2, CONFIG.num_kv_heads, CONFIG.head_dim, generator=draw)
                write_kv(new[:, 0], new[:, 1], layer, torch.tensor(operation))
                for row, slot in enumerate(operation):
                    tokens[divmod(slot, page_size)].append(new[row])
    for number in range(num_pages + num_host_pages):
        kv.copy_pages([PageCopy(number, 0)])  # host pages are seen once they are back; page 0 came first
        for offset in range(page_size):
            for layer, token in zip(kv.layers, tokens.get((number, offset), []), strict=False):
                expected = (token.to(PLAIN[kv_dtype]),) if kv_dtype in PLAIN else quantize(token, kv_dtype)
                for part, bits in zip(parts_of(layer), expected, strict=True):
                    assert torch.equal(part[:, 0, :, offset], bits)


def test_a_format_that_there_is_not_is_refused_with_those_there_are() -> None:
    with pytest.raises(InvalidConfig, match="'int3' was asked for; there are float32, bfloat16, float16, int8"):
        KVCache(CONFIG, 3, 4, "int3")


@pytest.mark.parametrize("sizes", [{"num_pages": 10**12}, {"num_pages": 1, "num_host_pages": 10**12}])
def test_more_than_memory_holds_is_refused_with_both_numbers(sizes: dict[str, int]) -> None:
    with pytest.raises(InvalidConfig, match=r"take .* GiB; .* GiB of memory are free"):
        KVCache(CONFIG, page_size=16, kv_dtype="int8", **sizes)
