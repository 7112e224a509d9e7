"""Distributions of lengths: their means and shapes are those of their names, and no draw is out of bounds."""

from __future__ import annotations

import math
from random import Random
from statistics import fmean, median, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.simulate.lengths import (
    Constant,
    Distribution,
    Empirical,
    Exponential,
    Geometric,
    LogNormal,
    Uniform,
    Zipf,
)


def draws(distribution: Distribution, number: int = 40_000, seed: int = 1) -> list[int]:
    random = Random(seed)
    return [distribution.draw(random) for _ in range(number)]


@pytest.mark.parametrize(
    ("distribution", "mean"),
    [
        (Constant(7), 7),
        (Uniform(10, 30), 20),
        (LogNormal(200, 0.5), 200 * math.exp(0.125)),
        (LogNormal.of_mean(338, 1.0), 338),
        (Exponential(50), 50),
        (Geometric(2.0), 2),
        (Geometric(1.0), 1),
        (Zipf(4, 1.0), (0 * 1 + 1 / 2 + 2 / 3 + 3 / 4) / (1 + 1 / 2 + 1 / 3 + 1 / 4)),
        (Zipf(9, 0.0), 4),
        (Empirical((1, 2, 9)), 4),
    ],
    ids=repr,
)
def test_means_are_as_promised(distribution, mean):
    assert fmean(draws(distribution)) == pytest.approx(mean, rel=0.03)


def test_a_lognormal_has_its_median_and_its_spread():
    seen = draws(LogNormal(1000, 0.7))
    assert median(seen) == pytest.approx(1000, rel=0.03)
    assert pstdev(math.log(value) for value in seen) == pytest.approx(0.7, rel=0.03)


def test_turns_end_with_the_same_probability_each_time():
    seen = draws(Geometric(4.0))
    for turn in (1, 2, 3):
        reached = [value for value in seen if value >= turn]
        assert sum(value == turn for value in reached) / len(reached) == pytest.approx(1 / 4, rel=0.05)


def test_popularity_falls_with_the_rank():
    seen = draws(Zipf(50, 1.2))
    for rank in (1, 3, 7):
        assert seen.count(0) / seen.count(rank) == pytest.approx((rank + 1) ** 1.2, rel=0.1)


bounds = st.tuples(st.integers(0, 50), st.integers(0, 50)).map(sorted)
distributions = st.one_of(
    st.builds(lambda b: (Uniform(*b), b), bounds),
    st.builds(lambda m, s, b: (LogNormal(m, s, *b), b), st.floats(0.1, 1e6), st.floats(0, 5), bounds),
    st.builds(lambda m, b: (Exponential(m, *b), b), st.floats(0.1, 1e6), bounds),
    st.builds(lambda m, h: (Geometric(m, h), (1, h)), st.floats(1, 1e9), st.integers(1, 50)),
    st.builds(lambda c, e: (Zipf(c, e), (0, c - 1)), st.integers(1, 60), st.floats(0, 300)),
    st.builds(lambda s: (Empirical(tuple(s)), (min(s), max(s))), st.lists(st.integers(0, 9), min_size=1)),
)


@given(distributions, st.integers(0, 1000))
def test_no_draw_is_out_of_bounds_and_a_seed_gives_the_same_ones(drawn, seed):
    distribution, (low, high) = drawn
    seen = draws(distribution, 20, seed)
    assert all(isinstance(value, int) and low <= value <= high for value in seen)
    assert seen == draws(distribution, 20, seed)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Uniform(3, 2),
        lambda: LogNormal(0, 1),
        lambda: LogNormal(5, -1),
        lambda: LogNormal(5, 1, low=9, high=8),
        lambda: Exponential(math.inf),
        lambda: Geometric(0.5),
        lambda: Geometric(2, high=0),
        lambda: Zipf(0),
        lambda: Zipf(3, math.nan),
        lambda: Empirical(()),
    ],
)
def test_a_distribution_that_cannot_be_is_refused_when_it_is_made(make):
    with pytest.raises(InvalidQuantity):
        make()
