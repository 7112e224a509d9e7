"""Routers: who gets a request, and what of the past they go by."""

from __future__ import annotations

import random
from collections import Counter
from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.load import Offer
from pagedlab.simulate.arrivals import Poisson
from pagedlab.simulate.fleet import Fleet
from pagedlab.simulate.replica import Job, Replica
from pagedlab.simulate.results import Results
from pagedlab.simulate.routers import LeastLoaded, PrefixAware, Ranking, RoundRobin, Router, TwoChoices
from pagedlab.simulate.sent import SentPrompts
from pagedlab.simulate.simulator import Simulator
from pagedlab.simulate.workload import Chat
from tests.simulate.fleets import cost


def small() -> Simulator:
    return Simulator(None, cost=cost, num_pages=100)


def replicas(number: int) -> list[Replica]:
    return [small().replica(index) for index in range(number)]


def job(prompt: list[int], number: int = 0, output: int = 5) -> Job:
    return Job(Offer(0.0, prompt, output), number, 0.0)


def joined(router: Router, number: int) -> list[Replica]:
    there = replicas(number)
    for replica in there:
        router.joined(replica)
    return there


def give(router: Router, there: list[Replica], what: Job) -> int:
    chosen = router.choose(what, there, 0.0)
    assert chosen is not None
    router.sent(what, chosen)
    return chosen.number


@given(values=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 5)), max_size=40), gone=st.sets(st.integers(0, 9)))
def test_a_ranking_is_the_sorted_order_of_its_values(values, gone):
    there, ranking, plain = replicas(10), Ranking(), {}
    for number, value in values:
        ranking.put(there[number], value)
        plain[number] = value
    for number in gone:
        ranking.remove(there[number])
        plain.pop(number, None)
    assert [there[number] in ranking for number in range(10)] == [number in plain for number in range(10)]
    if plain:
        assert ranking.first.number == min(plain, key=lambda number: (plain[number], number))
        assert (ranking.smallest, ranking.largest) == (min(plain.values()), max(plain.values()))


def test_round_robin_is_exactly_even():
    offers = [Offer(index / 100, [index] * 10, 3) for index in range(700)]
    results = Fleet(small(), 7, "round_robin").run(offers)
    assert Counter(results.requests.replica) == dict.fromkeys(range(7), 100)


def test_least_loaded_counts_requests_or_tokens():
    requests, tokens = LeastLoaded(), LeastLoaded("tokens")
    for router, then in ((requests, 0), (tokens, 1)):
        there = joined(router, 2)
        assert give(router, there, job([1] * 500)) == 0
        assert give(router, there, job([1])) == 1
        assert give(router, there, job([1])) == then
    with pytest.raises(InvalidConfig, match="'requests', 'tokens'"):
        LeastLoaded("pages")


def test_what_has_ended_weighs_no_more():
    router = LeastLoaded("tokens")
    there = joined(router, 2)
    long = job([1] * 500)
    give(router, there, long)
    router.ended(long, there[0])
    assert give(router, there, job([1])) == 0


def test_two_choices_are_more_even_than_one():
    offers = [Offer(0.0, [index] * 10, 50) for index in range(1000)]
    fullest = {
        name: max(Counter(Fleet(small(), 100, name).run(offers).requests.replica).values())
        for name in ("random", "two_choices")
    }
    assert fullest["two_choices"] <= 13 < fullest["random"]


def test_seeded_routers_choose_the_same_again():
    there, offers = replicas(50), [job([index]) for index in range(100)]
    first, second, other = ([router.choose(o, there, 0.0) for o in offers] for router in map(TwoChoices, (1, 1, 2)))
    assert first == second != other


class ManyTrees:
    """What SentPrompts remembers, as a set of beginnings for each replica: slow, and plainly right."""

    def __init__(self, number: int, page_size: int, most: int) -> None:
        self.sent: list[dict[tuple[int, ...], None]] = [{} for _ in range(number)]
        self.page_size, self.most = page_size, most

    def match(self, prompt: list[int], replica: int) -> int:
        """Tokens of the longest beginning of whole pages that ``replica`` was sent."""
        lengths = range(self.page_size, len(prompt) + 1, self.page_size)
        return max([length for length in lengths if tuple(prompt[:length]) in self.sent[replica]], default=0)

    def send(self, prompt: list[int], replica: int) -> None:
        sent = self.sent[replica]
        most = min(len(prompt) // self.page_size, self.most)
        for pages in range(most, 0, -1):
            beginning = tuple(prompt[: pages * self.page_size])
            sent.pop(beginning, None)
            sent[beginning] = None
        for beginning in list(sent)[: max(0, len(sent) - self.most)]:
            del sent[beginning]


PROMPTS = st.lists(st.tuples(st.integers(0, 3), st.lists(st.integers(0, 1), max_size=12)), max_size=40)


@given(prompts=PROMPTS, page_size=st.integers(1, 3), most=st.integers(0, 8), lost=st.integers(0, 3))
def test_one_table_remembers_what_a_tree_for_each_replica_would(prompts, page_size, most, lost):
    there, table, trees = replicas(4), SentPrompts(page_size), ManyTrees(4, page_size, most)
    for replica in there:
        table.join(replica, most)
    for step, (number, prompt) in enumerate(prompts):
        keys = table.keys(prompt)
        found = {replica.number: trees.match(prompt, replica.number) for replica in there}
        best, holders = table.longest(keys)
        assert best == max(found.values())
        if best:
            assert {replica.number for replica in holders} == {at for at, length in found.items() if length == best}
        table.send(keys, there[number])
        trees.send(prompt, number)
        assert table.num_pages(there[number]) == len(trees.sent[number]) <= most
        if step == 20:
            table.leave(there[lost])
            table.join(there[lost], most)
            trees.sent[lost].clear()


def test_nothing_is_kept_of_whom_nobody_knows():
    table, there = SentPrompts(2), replicas(3)
    for replica in there:
        table.join(replica, 100)
        table.send(table.keys([1, 2, 3, 4, replica.number, 0]), replica)
    for replica in there:
        table.leave(replica)
    assert (table._sent_to, table._keys, table._most) == ({}, {}, {})


def test_a_prompt_goes_where_its_beginning_was_sent_if_that_is_a_good_part_of_it():
    router = PrefixAware(page_size=10)
    there = joined(router, 3)
    assert give(router, there, job([1] * 30)) == 0
    assert give(router, there, job([1] * 30 + [2] * 70)) == 0  # 30 of 100 tokens
    assert give(router, there, job([1] * 30 + [3] * 71)) == 1  # 30 of 101
    assert give(router, there, job([4] * 10)) == 2  # new, and the smallest tree
    assert give(router, there, job([4] * 10)) == 2


def test_salts_keep_prompts_apart():
    router = PrefixAware(page_size=1)
    there = joined(router, 2)
    one = Job(Offer(0.0, [1, 2, 3], 1, salt="a"), 0, 0.0)
    other = Job(Offer(0.0, [1, 2, 3], 1, salt="b"), 1, 0.0)
    assert [give(router, there, what) for what in (one, other, one, other)] == [0, 1, 0, 1]


def test_load_wins_when_the_gap_is_large():
    def loads(number: int, **knobs: float) -> list[int]:
        offers = [Offer(0.0, [1] * 64, 50) for _ in range(number)]
        results = Fleet(small(), 2, partial(PrefixAware, **knobs)).run(offers)
        counts = Counter(results.requests.replica)
        return [counts[0], counts[1]]

    assert loads(65) == [65, 0]
    assert loads(66) == [65, 1]
    assert loads(300) == [150, 150]  # the prompt is known on both from then on, and of these the less loaded is taken
    assert loads(300, gap=1000) == [300, 0]


def test_a_replica_that_was_lost_is_not_remembered():
    router = PrefixAware(page_size=1)
    there = joined(router, 2)
    assert give(router, there, job([1, 2, 3])) == 0
    router.left(there[0])
    assert give(router, there[1:], job([1, 2, 3])) == 1
    router.joined(there[0])
    assert give(router, there, job([1, 2, 3])) == 1


def chat_with(router: str) -> Results:
    offers = Chat(arrivals=Poisson(8.0), think_seconds=2.0).offers(seed=3, sessions=150)
    return Fleet(Simulator("vllm", num_pages=2000), 4, router).run(offers)


def test_a_router_that_knows_prefixes_finds_more_in_the_caches():
    prefix, turns = chat_with("prefix"), chat_with("round_robin")
    assert prefix.hit_rate > turns.hit_rate + 0.1
    assert sum(prefix.requests.ttft) < sum(turns.requests.ttft)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 99))
def test_no_request_widens_a_gap_that_the_guard_has_seen(seed):
    draw = random.Random(seed)
    router = PrefixAware(page_size=1, gap=5, ratio=1.5)
    there, inside = joined(router, 4), []
    for number in range(200):
        loads = [router.loads[replica] for replica in there]
        what = job([draw.randrange(3)] * 5, number)
        chosen = give(router, there, what)
        if max(loads) - min(loads) > 5 and max(loads) > 1.5 * min(loads):
            assert loads[chosen] == min(loads)
        inside.append((what, chosen))
        if draw.random() < 0.3:
            what, chosen = inside.pop(draw.randrange(len(inside)))
            router.ended(what, there[chosen])


def test_a_router_of_ones_own_needs_to_choose_and_nothing_else():
    class Last(Router):
        def choose(self, job, replicas, now):
            return replicas[-1]

    results = Fleet(small(), 3, Last).run([Offer(0.0, [1], 1), Offer(1.0, [1], 1)])
    assert list(results.requests.replica) == [2, 2]
    with pytest.raises(InvalidConfig, match="'prefix'"):
        Fleet(small(), 3, "nobody").run([])
    assert isinstance(Fleet(small(), 3, RoundRobin).new_router(), RoundRobin)
