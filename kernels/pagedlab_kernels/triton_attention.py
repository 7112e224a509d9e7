"""triton_attention: the Triton kernels behind the interface that every attention path has."""

from __future__ import annotations

from torch import Tensor

from pagedlab.errors import InvalidQuantity
from pagedlab_kernels.batch import PagedBatch
from pagedlab_kernels.kv_format import LayerKV
from pagedlab_kernels.paged_decode import paged_decode
from pagedlab_kernels.paged_prefill import paged_prefill
from pagedlab_kernels.shared_prefix import cascade_decode, pays


def triton_attention(
    q: Tensor,
    kv: LayerKV,
    batch: PagedBatch,
    scale: float,
    *,
    window: int | None = None,
    softcap: float | None = None,
    split_tokens: int | None = None,
) -> Tensor:
    """A step of decode rows alone goes to ``paged_decode``, or to ``cascade_decode`` where they share a long prefix; a
    step with chunks in it, to ``paged_prefill`` as a whole.

    So a decode row beside a chunk is a chunk of one, and its context is cut as the chunk's is. Telling the two apart
    would take the host, which would have to wait for the GPU first.

    ``softcap`` and ``split_tokens``: see ``paged_prefill``. With splits of one size every step goes there, for two
    kernels do not add in the same order: a decode row gets the same bits alone, among others and beside a chunk. Raises
    ValueError where tensors do not fit together, and InvalidQuantity for a window, a soft cap or a split that is not
    positive.
    """
    batch.check_fits(q, kv, window)
    if softcap is not None and not softcap > 0:
        raise InvalidQuantity(f"a soft cap of {softcap} was asked for; scores must have room on both sides of 0")
    if split_tokens is not None and split_tokens < 1:
        raise InvalidQuantity(f"splits of {split_tokens} tokens were asked for; a split holds at least one")
    if split_tokens is not None or not batch.decode_only:
        return paged_prefill(q, kv, batch, scale, window=window, softcap=softcap, split_tokens=split_tokens)
    if window is None and batch.common_pages and pays(q, kv, batch):
        return cascade_decode(q, kv, batch, scale, softcap=softcap)
    return paged_decode(
        q,
        kv,
        batch.page_tables,
        batch.context_lens,
        scale,
        max_context=batch.max_context_len,
        window=window,
        softcap=softcap,
    )
