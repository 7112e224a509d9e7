"""Arrival processes: moments in order, from a seed, at the rate and with the burstiness that their names promise."""

from __future__ import annotations

from itertools import islice, pairwise
from statistics import fmean, stdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pagedlab.errors import InvalidQuantity
from pagedlab.scheduling.load import poisson_arrivals
from pagedlab.simulate.arrivals import Arrivals, Diurnal, Gamma, OnOff, Poisson, Replay

PROCESSES: list[Arrivals] = [
    Poisson(5.0),
    Gamma(5.0, cv=0.5),
    Gamma(5.0, cv=3.0),
    OnOff(5.0, on=2.0, off=6.0),
    Diurnal(5.0, swing=0.9, period=100.0),
]


def take(process: Arrivals, number: int, seed: int = 0) -> list[float]:
    return list(islice(process.moments(seed), number))


def variation(moments: list[float]) -> float:
    """Coefficient of variation of the gaps."""
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    return stdev(gaps) / fmean(gaps)


@given(st.sampled_from(PROCESSES), st.integers(0, 10_000))
def test_moments_are_in_order_and_a_seed_gives_the_same_ones_again(process, seed):
    moments = take(process, 50, seed)
    assert moments == sorted(moments) and moments[0] >= 0
    assert moments == take(process, 50, seed) != take(process, 50, seed + 1)


@pytest.mark.parametrize("process", PROCESSES, ids=repr)
def test_the_mean_rate_is_the_rate_that_was_asked_for(process):
    moments = take(process, 40_000, seed=1)
    assert len(moments) / moments[-1] == pytest.approx(process.rate, rel=0.05)


def test_gaps_vary_as_the_process_says():
    assert variation(take(Poisson(5.0), 40_000)) == pytest.approx(1, rel=0.03)
    for cv in (0.5, 1.0, 3.0):
        assert variation(take(Gamma(5.0, cv), 40_000)) == pytest.approx(cv, rel=0.05)
    assert variation(take(OnOff(5.0, 2.0, 6.0), 40_000)) > 2


def test_poisson_arrivals_are_those_of_the_scheduling_floor():
    assert take(Poisson(2.0), 30, seed=7) == poisson_arrivals(2.0, 30, seed=7)


def test_bursts_leave_pauses_and_come_faster_than_the_mean():
    moments = take(OnOff(1.0, on=10.0, off=90.0), 20_000, seed=2)
    gaps = [later - sooner for sooner, later in pairwise(moments)]
    assert sum(gap > 5 for gap in gaps) < 0.03 * len(gaps)  # pauses are few
    assert fmean(gap for gap in gaps if gap <= 5) == pytest.approx(1 / 10, rel=0.1)  # ten times as fast between them


def test_a_day_has_its_rush_hour_and_its_night():
    process = Diurnal(20.0, swing=0.8, period=100.0)
    moments = take(process, 40_000, seed=3)
    days = moments[-1] / 100
    for quarter, middle in ((0, 12.5), (1, 37.5), (2, 62.5), (3, 87.5)):
        seen = sum(25 * quarter <= moment % 100 < 25 * (quarter + 1) for moment in moments) / days / 25
        mean = fmean(process.rate_at(middle - 12.5 + 0.25 * step) for step in range(100))
        assert seen == pytest.approx(mean, rel=0.05)


def test_no_swing_is_a_poisson_process():
    assert take(Diurnal(3.0, swing=0.0), 100, seed=4) == take(Poisson(3.0), 100, seed=4)


def test_a_replay_is_the_record_faster_or_slower_and_ends_with_it():
    record = Replay((0.0, 1.0, 1.0, 4.0), speed=2.0)
    assert take(record, 100) == [0.0, 0.5, 0.5, 2.0] and record.rate == 2.0
    assert Replay(()).rate == 0.0 and take(Replay(()), 5) == []


@pytest.mark.parametrize(
    "make",
    [
        lambda: Poisson(0.0),
        lambda: Poisson(float("nan")),
        lambda: Gamma(1.0, cv=0.0),
        lambda: OnOff(1.0, on=-1.0),
        lambda: OnOff(1.0, off=float("inf")),
        lambda: Diurnal(1.0, swing=1.1),
        lambda: Diurnal(1.0, period=0.0),
        lambda: Replay((1.0, 0.5)),
        lambda: Replay((-1.0,)),
        lambda: Replay((0.0, float("nan"))),
        lambda: Replay((0.0,), speed=0.0),
    ],
)
def test_a_process_that_cannot_be_is_refused_when_it_is_made(make):
    with pytest.raises(InvalidQuantity, match="must be"):
        make()
