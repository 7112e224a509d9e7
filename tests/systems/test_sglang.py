"""What makes SGLang itself: a radix tree over tokens, orders that follow it, and admission that learns to hope."""

from __future__ import annotations

import pytest

from pagedlab.errors import InvalidRequest, OutOfPages
from pagedlab.memory.pool import PageState
from pagedlab.scheduling.admission import OptimisticRatio
from pagedlab.systems import VLLM, SGLang
from tests.systems.serving import alone, found, names, one, pages, step


def edges(scheduler) -> list[tuple[int | None, list[int]]]:
    """The tree's edges, each with the number of the one that it continues, and its tokens."""
    return [
        (edge.parent, [token for run in edge.runs for token in run]) for edge in scheduler.manager.prefix_cache.edges()
    ]


# The tree


def test_a_match_splits_the_edge_where_prompts_part():
    scheduler = SGLang().scheduler(512)
    alone(scheduler, "a", range(60))
    assert edges(scheduler) == [(None, list(range(60)))]
    alone(scheduler, "b", [*range(45), 900, 901])
    assert edges(scheduler) == [(None, list(range(45))), (0, list(range(45, 60))), (0, [900, 901])]


def test_a_hit_ends_with_the_last_token_that_is_shared_where_pages_of_16_round_down():
    hits = []
    for system in (SGLang(), VLLM()):
        scheduler = system.scheduler(512)
        alone(scheduler, "a", range(60))
        hits.append(alone(scheduler, "b", [*range(45), 900, 901]).sequences[0].num_cached)
    assert hits == [45, 32]


def test_salts_are_trees_of_their_own():
    scheduler = SGLang().scheduler(512)
    alone(scheduler, "a", range(60), salt="a tenant")
    assert alone(scheduler, "b", range(60), salt="another").sequences[0].num_cached == 0
    assert alone(scheduler, "c", range(60), salt="a tenant").sequences[0].num_cached == 59


def test_from_a_node_to_the_root_all_is_locked_that_a_running_request_uses():
    """Evictable becomes protected when it is hit, and evictable again when the last request has left."""
    scheduler = SGLang().scheduler(40)
    pool = scheduler.manager.pool
    alone(scheduler, "a", range(20))
    assert (pool.num_cached, pool.num_used) == (20, 0)
    running = [one(scheduler, name, [*range(15), last], 9) for name, last in (("b", 900), ("c", 901))]
    step(scheduler)
    assert (pool.num_cached, pool.num_used) == (5, 17)
    assert [pool.refcount(page) for page in pages(scheduler, running[0])] == [2] * 15 + [1]
    with pytest.raises(OutOfPages):
        scheduler.manager.admit(-1, list(range(100, 124)))
    scheduler.manager.admit(-1, list(range(100, 123)))  # all that is free, and the leaf that nobody locks
    assert found(scheduler, range(20)) == 15
    scheduler.manager.release(-1)
    while scheduler.has_work:
        step(scheduler)
    assert pool.num_used == 0 and all(pool.state(page) is not PageState.USED for page in range(40))


def test_the_least_recently_used_leaf_goes_and_an_emptied_parent_becomes_a_leaf():
    scheduler = SGLang().scheduler(30)
    alone(scheduler, "trunk", range(10))
    alone(scheduler, "older", [*range(10), 50, 51])
    alone(scheduler, "newer", [*range(10), 60, 61])
    alone(scheduler, "other", [70, 71])
    left = []
    for _ in range(6):
        scheduler.manager.store._evict(scheduler.manager.store.queue.next())
        left.append([found(scheduler, run) for run in ([*range(10), 50, 51], [*range(10), 60, 61], [70, 71])])
    assert left[:2] == [[11, 12, 2], [10, 12, 2]], "the older branch, from its end"
    assert left[2:4] == [[10, 11, 2], [10, 10, 2]], "then the newer, which was used before the other"
    assert left[4:6] == [[9, 9, 2], [8, 8, 2]], "then the trunk, which is a leaf now, and was used with the newer"


def test_who_computed_the_same_tokens_gives_its_own_pages_back_and_reads_the_trees():
    scheduler = SGLang().scheduler(512)
    twins = [one(scheduler, name, range(40), 6) for name in "ab"]
    assert names(step(scheduler)) == ["a", "b"], "first come, first served: nobody waits for the other"
    assert scheduler.manager.pool.num_used == 80
    step(scheduler)
    first, second = (pages(scheduler, twin) for twin in twins)
    assert first[:40] == second[:40] and first[40] != second[40]
    assert scheduler.manager.pool.num_used == 42


def test_tokens_enter_the_tree_when_their_chunk_is_computed():
    scheduler = SGLang(chunked_prefill_size=16).scheduler(512)
    one(scheduler, "a", range(40), 4)
    scheduler.commit(scheduler.schedule(), [])
    assert found(scheduler, range(40)) == 0
    step(scheduler)
    assert found(scheduler, range(40)) == 16


# Orders


def test_the_longest_cached_prefix_comes_first():
    scheduler = SGLang(schedule_policy="lpm", max_running_requests=1).scheduler(1000)
    alone(scheduler, "cached", range(50))
    for name, prompt in (("none", range(500, 560)), ("some", [*range(20), 900]), ("most", [*range(50), 901])):
        one(scheduler, name, list(prompt), 1)
    assert [names(step(scheduler)) for _ in range(3)] == [["most"], ["some"], ["none"]]


@pytest.mark.parametrize(("waiting", "first"), [(128, "late"), (129, "0")])
def test_above_128_waiting_the_line_is_served_as_it_came(waiting: int, first: str):
    scheduler = SGLang(schedule_policy="lpm", max_running_requests=1).scheduler(4000)
    alone(scheduler, "cached", range(50))
    for number in range(waiting - 1):
        one(scheduler, str(number), range(1000 + 10 * number, 1005 + 10 * number), 1)
    one(scheduler, "late", [*range(50), 900], 1)
    assert names(step(scheduler)) == [first]


def test_depth_first_the_branch_where_most_wait_is_served_to_its_end():
    scheduler = SGLang(schedule_policy="dfs-weight", max_running_requests=1).scheduler(1000)
    for first in (1, 2):
        alone(scheduler, f"trunk {first}", [first] * 10)
    for name, first in (("a", 1), ("x", 2), ("b", 1), ("y", 2), ("c", 1)):
        one(scheduler, name, [first] * 10 + [900 + ord(name)], 1)
    assert [names(step(scheduler)) for _ in range(5)] == [["a"], ["b"], ["c"], ["x"], ["y"]]


@pytest.mark.parametrize(("policy", "together"), [("fcfs", True), ("lpm", False), ("dfs-weight", False)])
def test_in_a_batch_one_computes_what_several_need_and_the_others_are_put_off(policy: str, together: bool):
    scheduler = SGLang(schedule_policy=policy).scheduler(1000)
    twins = [one(scheduler, name, [*range(60), last], 4) for name, last in (("a", 900), ("b", 901))]
    assert (names(step(scheduler)) == ["a", "b"]) is together
    step(scheduler)
    assert twins[1].sequences[0].num_cached == (0 if together else 60)


def test_nobody_is_put_off_for_little_or_if_it_finds_enough_already():
    for shared in (31, 32):
        scheduler = SGLang(schedule_policy="lpm").scheduler(1000)
        for name, last in (("a", 900), ("b", 901)):
            one(scheduler, name, [*range(shared), last, last], 4)
        assert names(step(scheduler)) == (["a", "b"] if shared < 32 else ["a"])
    for cached in (32, 33):
        scheduler = SGLang(schedule_policy="lpm").scheduler(1000)
        alone(scheduler, "cached", range(cached))
        for name, last in (("a", 900), ("b", 901)):
            one(scheduler, name, [*range(100), last], 4)
        assert names(step(scheduler)) == (["a", "b"] if cached > 32 else ["a"])


# Hope


def test_the_ratio_falls_while_all_goes_well_and_rises_when_somebody_is_retracted():
    scheduler = SGLang().scheduler(200)
    ratios, retracted = [scheduler.admission.ratio], []
    for number in range(6):
        one(scheduler, str(number), [100 * number + i for i in range(10)], 60)
    while scheduler.has_work:
        plan = step(scheduler)
        ratios.append(scheduler.admission.ratio)
        retracted.append(bool(plan.preempted))
        if plan.preempted:
            output = sum(s.num_output - (s in {c.sequence for c in plan.chunks}) + 20 for s in scheduler.running)
            assert ratios[-1] == max(ratios[-2], min(1.0, output / (60 * len(scheduler.running))))
    assert ratios[0] == 0.7 and any(retracted)
    for before, after, was in zip(ratios, ratios[1:], retracted, strict=False):
        assert after >= before if was else after < before


def test_the_ratio_falls_from_seven_tenths_to_one_tenth_in_600_steps_and_no_further():
    ratio = SGLang().knobs()["admission"]
    assert isinstance(ratio, OptimisticRatio)
    scheduler = SGLang().scheduler(100)
    seen = []
    for _ in range(700):
        ratio.step_done(scheduler, 0)
        seen.append(ratio.ratio)
    assert seen[598] > 0.098 and seen[600:] == [pytest.approx(0.098)] * 100
    assert SGLang(schedule_conservativeness=0.5).knobs()["admission"].ratio == 0.35


def test_who_has_said_least_is_retracted_and_of_these_the_longest_prompt():
    scheduler = SGLang().scheduler(64)
    scheduler.admission.ratio = 0.0  # all come in
    one(scheduler, "first", range(10), 40)
    step(scheduler)
    for name, length, first in (("short", 8, 100), ("long", 16, 200)):
        one(scheduler, name, range(first, first + length), 40)
    while not (plan := step(scheduler)).preempted:
        pass
    assert [victim.request.id for victim in plan.preempted] == ["long"]


def test_a_last_request_never_runs_out_of_memory_since_one_that_could_is_refused():
    scheduler = SGLang().scheduler(50)
    with pytest.raises(InvalidRequest, match="asks for 52 tokens"):
        one(scheduler, "too much", range(40), 12)
    request = alone(scheduler, "just enough", range(40), 11)
    assert request.sequences[0].num_output == 11 and not request.sequences[0].num_preemptions


def test_without_mixed_chunks_those_who_decode_stand_still_while_somebody_comes_in():
    scheduler = SGLang(enable_mixed_chunk=False).scheduler(512)
    one(scheduler, "a", range(10), 5)
    step(scheduler)
    one(scheduler, "b", range(100, 110), 5)
    assert [names(step(scheduler)) for _ in range(3)] == [["a"], ["b"], ["a", "b"]]
