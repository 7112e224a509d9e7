"""The numbers on paper: the figures of the course, and the identities that hold for all of them."""

from __future__ import annotations

import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab import arithmetic as a
from pagedlab.errors import InvalidQuantity

LENGTHS = st.lists(st.integers(0, 5000), min_size=1, max_size=20)
PAGE_SIZE = st.integers(1, 2048)
SMOL, LLAMA_3_8B, LLAMA_3_70B = a.MODELS["SmolLM2-135M"], a.MODELS["Llama-3-8B"], a.MODELS["Llama-3-70B"]
SHAPES = st.builds(
    a.ModelShape,
    num_layers=st.integers(1, 8),
    hidden_size=st.integers(1, 64),
    num_heads=st.integers(1, 8),
    num_kv_heads=st.integers(1, 8),
    head_dim=st.integers(1, 64),
    intermediate_size=st.integers(1, 128),
    vocab_size=st.integers(1, 500),
    tie_word_embeddings=st.booleans(),
)


def test_three_requests_waste_5288_contiguous_slots_and_424_paged_ones():
    lengths = [800, 2300, 3900]
    assert a.contiguous_slots(lengths, 4096) == 12288
    assert sum(lengths) == 7000
    assert a.contiguous_waste(lengths, 4096) == 5288
    assert [a.pages_needed(n, 256) for n in lengths] == [4, 9, 16]
    assert [a.paged_slots([n], 256) for n in lengths] == [1024, 2304, 4096]
    assert [a.paged_waste([n], 256) for n in lengths] == [224, 4, 196]
    assert a.paged_waste(lengths, 256) == 424


def test_four_requests_waste_3692_contiguous_slots_and_620_paged_ones():
    lengths = [600, 900, 1300, 1700]
    assert a.contiguous_slots(lengths, 2048) == 8192
    assert a.contiguous_waste(lengths, 2048) == 3692
    assert [a.pages_needed(n, 256) for n in lengths] == [3, 4, 6, 7]
    assert [a.paged_waste([n], 256) for n in lengths] == [168, 124, 236, 92]
    assert a.paged_waste(lengths, 256) == 620


@given(LENGTHS, PAGE_SIZE)
def test_paged_waste_stays_within_the_last_pages(lengths, page_size):
    assert 0 <= a.paged_waste(lengths, page_size) <= a.paged_waste_bound(len(lengths), page_size)


@given(LENGTHS)
def test_a_page_of_one_slot_wastes_nothing(lengths):
    assert a.paged_waste(lengths, 1) == 0


@given(LENGTHS, st.integers(1, 12))
def test_doubling_the_page_never_wastes_less(lengths, exponent):
    assert a.paged_waste(lengths, 2**exponent) >= a.paged_waste(lengths, 2 ** (exponent - 1))


@given(LENGTHS, st.integers(0, 1000))
def test_a_page_as_long_as_the_reservation_is_the_reservation(lengths, spare):
    reservation = max(lengths) + spare + 1
    lengths = [max(1, n) for n in lengths]
    assert a.paged_slots(lengths, reservation) == a.contiguous_slots(lengths, reservation)


@given(LENGTHS, PAGE_SIZE)
def test_pages_never_hold_more_than_a_reservation_of_whole_pages(lengths, page_size):
    reservation = a.pages_needed(max(lengths), page_size) * page_size
    assert a.paged_waste(lengths, page_size) <= a.contiguous_waste(lengths, reservation)


@given(LENGTHS, PAGE_SIZE, st.sampled_from([4, 8]))
def test_a_page_table_costs_one_entry_a_page(lengths, page_size, entry_bytes):
    entries = a.page_table_bytes(lengths, page_size, entry_bytes) // entry_bytes
    assert entries * page_size == a.paged_slots(lengths, page_size)


def test_smollm2_leaves_11520_values_a_token():
    values = a.kv_values_per_token(SMOL.num_layers, SMOL.num_kv_heads, SMOL.head_dim)
    assert values == 11520
    assert a.kv_bytes_per_token(SMOL.num_layers, SMOL.num_kv_heads, SMOL.head_dim) == 23040


@pytest.mark.parametrize(("name", "kib"), [("Llama-2-7B", 512), ("Llama-3-8B", 128), ("Llama-3-70B", 320)])
def test_bytes_per_token_of_known_models(name, kib):
    model = a.MODELS[name]
    assert a.kv_bytes_per_token(model.num_layers, model.num_kv_heads, model.head_dim) == kib * a.KIB


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("SmolLM2-135M", 134_515_008),
        ("Llama-2-7B", 6_738_415_616),
        ("Llama-3-8B", 8_030_261_248),
        ("Llama-3-70B", 70_553_706_496),
    ],
)
def test_parameters_of_known_models(name, parameters):
    assert a.num_parameters(a.MODELS[name]) == parameters


def test_sixteen_requests_of_two_and_a_half_gib_are_forty():
    per_token = a.kv_bytes_per_token(LLAMA_3_70B.num_layers, LLAMA_3_70B.num_kv_heads, LLAMA_3_70B.head_dim)
    assert a.kv_bytes(1, 8192, per_token) == 2.5 * a.GIB
    assert a.kv_bytes(16, 8192, per_token) == 40 * a.GIB


@given(st.integers(0, 100), st.integers(0, 9000), st.integers(1, 10**6))
def test_concurrency_multiplies(requests, tokens, per_token):
    assert a.kv_bytes(requests, tokens, per_token) == requests * a.kv_bytes(1, tokens, per_token)


def test_four_bit_weights_leave_the_cache_as_it_was():
    parameters = a.num_parameters(LLAMA_3_8B)
    assert a.weight_bytes(parameters, 4) * 4 == a.weight_bytes(parameters, 16)
    assert a.kv_bytes_per_token(32, 8, 128, bits=4) * 4 == a.kv_bytes_per_token(32, 8, 128)


@given(st.integers(1, 10**6), st.integers(0, 10**5), st.integers(1, 512), st.integers(1, 1000))
def test_the_pool_is_the_most_pages_that_fit_beside_the_weights(spare, weights, page_size, per_token):
    pages = a.pool_pages(weights + spare, weights, page_size, per_token)
    assert pages * page_size * per_token <= spare < (pages + 1) * page_size * per_token


@given(st.integers(0, 5000), PAGE_SIZE, st.integers(1, 5000))
def test_paged_concurrency_is_the_most_requests_that_fit(num_pages, page_size, tokens):
    requests = a.paged_concurrency(num_pages, page_size, tokens)
    assert a.paged_slots([tokens] * requests, page_size) <= num_pages * page_size
    assert a.paged_slots([tokens] * (requests + 1), page_size) > num_pages * page_size


@given(st.integers(0, 10**6), st.integers(1, 8192))
def test_contiguous_concurrency_is_the_most_reservations_that_fit(num_slots, reservation):
    requests = a.contiguous_concurrency(num_slots, reservation)
    assert requests * reservation <= num_slots < (requests + 1) * reservation


def test_a_decode_step_of_a_toy_model_by_hand():
    toy = a.ModelShape(
        num_layers=1, hidden_size=2, num_heads=1, num_kv_heads=1, head_dim=2, intermediate_size=1, vocab_size=3
    )
    # matrices: q, k, v, o of 2 x 2 and three of 2 x 1 make 22 weights; the head has 6
    cost = a.decode_cost(toy, [3])
    # 2 FLOPs a weight, and for each of 4 positions 2 x 2 for the score and 2 x 2 for the sum of values
    assert cost.flops == 2 * (22 + 6) + 4 * 8
    # 28 weights; 4 tokens read, 1 written, 4 values each; 2 bytes a number
    assert cost.traffic == 2 * (28 + (4 + 1) * 4)


@given(SHAPES, st.integers(1, 50), st.integers(1, 50))
def test_chunks_of_a_prompt_cost_the_flops_of_the_whole_but_for_their_extra_logits(model, first, second):
    whole = a.prefill_cost(model, first + second)
    head, tail = a.prefill_cost(model, first), a.step_cost(model, [a.Chunk(first, second)])
    assert head.flops + tail.flops == whole.flops + 2 * model.hidden_size * model.vocab_size
    assert head.traffic + tail.traffic > whole.traffic  # the weights are read twice


@given(SHAPES, st.integers(0, 500), st.integers(2, 64))
def test_batching_decode_shares_the_weights(model, context, batch):
    one, many = a.decode_cost(model, [context]), a.decode_cost(model, [context] * batch)
    assert many.flops == batch * one.flops
    assert many.traffic < batch * one.traffic
    assert many.intensity > one.intensity


@given(SHAPES, st.integers(0, 500))
def test_decode_is_a_chunk_of_one(model, context):
    assert a.decode_cost(model, [context]) == a.step_cost(model, [a.Chunk(context, 1)])


def test_prefill_is_bound_by_arithmetic_and_decode_by_memory_on_an_h100():
    ridge = a.ridge_point(a.MACHINES["H100"])
    assert a.prefill_cost(LLAMA_3_8B, 2048).intensity > ridge
    assert a.decode_cost(LLAMA_3_8B, [2048]).intensity < 2 < ridge


@given(st.floats(1e-3, 1e5), st.floats(1, 1e15), st.floats(1, 1e13))
def test_the_roof_is_flat_above_the_ridge_and_a_slope_below_it(intensity, peak, bandwidth):
    machine = a.Machine(peak, bandwidth, 0)
    reached = a.attainable_flops(intensity, machine)
    if intensity >= a.ridge_point(machine) * (1 + 1e-9):
        assert reached == peak
    else:
        assert reached == pytest.approx(intensity * bandwidth)


@given(SHAPES, st.lists(st.integers(0, 100), min_size=1, max_size=4), st.floats(1, 1e15), st.floats(1, 1e13))
def test_a_step_takes_the_slower_of_arithmetic_and_traffic(model, contexts, peak, bandwidth):
    cost = a.decode_cost(model, contexts)
    slower = max(cost.flops / peak, cost.traffic / bandwidth)
    assert a.seconds(cost, a.Machine(peak, bandwidth, 0)) == pytest.approx(slower)


@pytest.mark.parametrize(
    "nonsense",
    [
        lambda: a.pages_needed(-1, 16),
        lambda: a.pages_needed(1, 0),
        lambda: a.paged_waste_bound(-1, 16),
        lambda: a.contiguous_waste([5000], 4096),
        lambda: a.contiguous_waste([-5], 4096),
        lambda: a.page_table_bytes([1], 16, entry_bytes=0),
        lambda: a.kv_bytes_per_token(32, 0, 128),
        lambda: a.kv_bytes_per_token(32, 8, 128, bits=0),
        lambda: a.kv_bytes(-1, 1, 1),
        lambda: a.weight_bytes(-1),
        lambda: a.pool_pages(10, 11, 1, 1),
        lambda: a.paged_concurrency(4, 16, 0),
        lambda: a.contiguous_concurrency(4, 0),
        lambda: a.step_cost(SMOL, []),
        lambda: a.step_cost(SMOL, [a.Chunk(0, 0)]),
        lambda: a.attainable_flops(0, a.MACHINES["H100"]),
        lambda: a.attainable_flops(float("nan"), a.MACHINES["H100"]),
        lambda: a.ridge_point(a.Machine(1.0, 0.0, 1)),
        lambda: a.ModelShape(0, 1, 1, 1, 1, 1, 1),
    ],
)
def test_nonsense_is_refused_with_a_typed_error(nonsense):
    with pytest.raises(InvalidQuantity, match=r"\d|nan|chunks"):
        nonsense()


def test_arithmetic_needs_nothing_but_the_standard_library():
    code = "import sys, pagedlab.arithmetic; print({'torch', 'numpy'} & set(sys.modules))"
    run = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert run.stdout.strip() == "set()"
