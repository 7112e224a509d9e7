"""The record of what happened to every page: exact, delivered once, bounded, and replayable."""

from __future__ import annotations

from array import array
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pagedlab.errors import OutOfPages
from pagedlab.memory.events import FIELDS, NONE, EventKind, FinishCode, MemoryEvent, Trace
from pagedlab.memory.manager import CacheManager
from pagedlab.memory.pool import PageState
from pagedlab.memory.replay import PageMap
from tests.memory.serving import leave, make_manager, page_sizes, serve

A, B, C = 1, 2, 3
K = EventKind


def traced(num_pages: int, page_size: int, **settings: Any) -> tuple[CacheManager, Trace]:
    manager = make_manager(num_pages, page_size, trace=True, **settings)
    assert manager.trace is not None
    return manager, manager.trace


def events_of(rows: bytes) -> list[MemoryEvent]:
    fields = array("i", rows)
    return [MemoryEvent(K(fields[i]), *fields[i + 1 : i + FIELDS]) for i in range(0, len(fields), FIELDS)]


def test_every_change_leaves_exactly_its_events_in_order() -> None:
    """Behaviour 19."""
    manager, trace = traced(3, 2)
    cursor = 0

    def news() -> list[tuple[int, ...]]:
        nonlocal cursor
        rows, cursor = trace.since(cursor)
        return [tuple(event) for event in events_of(rows)]

    manager.admit(0, [A, A, B])
    assert news() == [(K.ADMIT, NONE, 0, 0), (K.ALLOCATE, 0, 0, 0), (K.ALLOCATE, 1, 0, 1)]
    manager.publish(0, [A, A, B], 3)
    assert news() == [(K.PUBLISH, 0, 0, 0)]
    manager.publish(0, [A, A, B], 3)
    manager.lookup([A, A, C])
    assert news() == []
    manager.extend(0, 4)
    assert news() == []
    manager.admit(1, [A, A, C])
    assert news() == [(K.SHARE, 0, 1, 0), (K.ADMIT, NONE, 1, 2), (K.ALLOCATE, 2, 1, 1)]
    with pytest.raises(OutOfPages):
        manager.extend(0, 5)
    assert news() == []
    manager.release(0)
    assert news() == [(K.RELEASE, 1, 0, 1), (K.RELEASE, 0, 0, 0)]
    manager.fork(1, 2)
    assert news() == [(K.FORK, NONE, 2, 1), (K.SHARE, 0, 2, 0), (K.SHARE, 2, 2, 1)]
    manager.extend(2, 4)
    assert news() == [(K.ALLOCATE, 1, 2, 1), (K.COPY, 1, 2, 2), (K.RELEASE, 2, 2, 1)]
    manager.release(2)
    manager.release(1)
    news()
    manager.admit(3, [C] * 6)
    assert news() == [
        *[(K.ADMIT, NONE, 3, 0), (K.ALLOCATE, 1, 3, 0), (K.ALLOCATE, 2, 3, 1)],
        *[(K.EVICT, 0, NONE, NONE), (K.ALLOCATE, 0, 3, 2)],
    ]
    manager.publish(3, [C] * 6, 6)
    manager.release(3)
    assert news() == [
        *[(K.PUBLISH, 1, 3, 0), (K.PUBLISH, 2, 3, 1), (K.PUBLISH, 0, 3, 2)],
        *[(K.RELEASE, 0, 3, 2), (K.RELEASE, 2, 3, 1), (K.RELEASE, 1, 3, 0)],
    ]
    manager.begin_step(4)
    manager.pin(-1, [C] * 2)
    assert news() == [(K.STEP, NONE, NONE, 4), (K.SHARE, 1, -1, 0)]
    manager.release(-1)
    manager.reset_prefix_cache()
    assert news() == [
        (K.RELEASE, 1, -1, 0),
        (K.EVICT, 0, NONE, NONE),
        (K.EVICT, 1, NONE, NONE),
        (K.EVICT, 2, NONE, NONE),
    ]


def test_windows_drafts_host_memory_and_partial_hits_leave_exactly_their_events_in_order() -> None:
    """Behaviour 19."""
    manager, trace = traced(3, 2, num_host_pages=4, partial_hits=True, window=2)
    cursor = 0

    def news() -> list[tuple[int, ...]]:
        nonlocal cursor
        rows, cursor = trace.since(cursor)
        return [tuple(event) for event in events_of(rows)]

    manager.begin_step(0)
    manager.admit(0, [A, A, B, B, C])
    manager.publish(0, [A, A, B, B, C], 5)
    manager.slide(0)
    assert news()[-3:] == [(K.PUBLISH, 1, 0, 1), (K.RELEASE, 0, 0, 0), (K.RELEASE, 1, 0, 1)]
    manager.begin_step(1)
    manager.extend(0, 7)
    manager.truncate(0, 6)
    assert news() == [
        *[(K.STEP, NONE, NONE, 1), (K.OFFLOAD, 0, NONE, 3), (K.EVICT, 0, NONE, NONE)],
        *[(K.ALLOCATE, 0, 0, 3), (K.RELEASE, 0, 0, 3)],
    ]
    assert manager.swap_out(0)
    assert news() == [(K.RELEASE, 2, 0, 2)]
    manager.admit(0, [A, A, B, B, C, C, C], budget=0)
    assert news() == [(K.ALLOCATE, 0, 0, 2), (K.FILL, 0, 0, 2), (K.RESUME, NONE, 0, 6)]
    manager.begin_step(2)
    manager.admit(1, [A, A, B, C])
    assert news()[1:] == [
        *[(K.ALLOCATE, 2, 1, 1), (K.FILL, 2, 1, 1), (K.ADMIT, NONE, 1, 3)],
    ], "the first page is behind the window: it stays where it is"
    manager.release(1)
    manager.release(0)
    news()
    assert manager.pin(-1, [A, A]) == 2
    assert news() == [
        *[(K.EVICT, 3, NONE, NONE), (K.ALLOCATE, 2, -1, 0), (K.FILL, 2, -1, 2), (K.PUBLISH, 2, -1, 0)],
    ]


@given(sizes=st.lists(st.integers(0, 9), max_size=30))
def test_each_event_is_delivered_once_however_the_reader_times_it(sizes: list[int]) -> None:
    """Behaviour 19."""
    trace = Trace(4, 2)
    cursor, read, written = 0, [], 0
    for size in sizes:
        for _ in range(size):
            trace.record(K.STEP, value=written)
            written += 1
        rows, cursor = trace.since(cursor)
        read += events_of(rows)
    assert [event.value for event in read] == list(range(written))
    assert trace.end == cursor == written
    assert trace.since(cursor) == (b"", cursor)


def test_a_reader_that_fell_behind_is_told_and_can_start_over_from_the_base() -> None:
    trace = Trace(4, 2, max_events=4)
    for page in range(4):
        trace.record(K.ALLOCATE, page, 0, page)
    assert trace.folded == 2
    for cursor in (0, 1):
        with pytest.raises(LookupError, match=f"events before 2 are folded into the base; {cursor} was asked for"):
            trace.since(cursor)
    rows, cursor = trace.since(trace.folded)
    page_map = trace.base.copy()
    for event in events_of(rows):
        page_map.apply(event)
    assert page_map.sequences[0].pages == [0, 1, 2, 3]
    assert cursor == trace.end == 4


@page_sizes
@pytest.mark.parametrize("max_events", [2, 3, 7, 50])
def test_folding_keeps_the_replay_right_and_the_trace_short(page_size: int, max_events: int) -> None:
    whole = Trace(8, page_size)
    folded = Trace(8, page_size, max_events=max_events)
    manager = make_manager(8, page_size)
    for trace in (whole, folded):  # the same work twice: page for page the same
        manager = CacheManager(8, page_size, prefix_cache=make_manager(8, page_size).prefix_cache, trace=trace)
        for name in range(6):
            serve(manager, name, [A] * (name % 3 * page_size) + [B] * page_size + [C])
            manager.record(K.COMPUTE, sequence=name, value=manager.table(name).num_tokens)
            if name >= 2:
                leave(manager, name - 2)
                manager.record(K.FINISH, sequence=name - 2, value=FinishCode.STOP)
            assert len(trace) < max(max_events, 2) or trace is whole
    assert folded.end == whole.end == len(whole)
    assert folded.folded == folded.end - len(folded) > 0
    ours, theirs = folded.replay(), whole.replay()
    assert ours.refcount == theirs.refcount == [manager.pool.refcount(page) for page in range(8)]
    assert (ours.published, ours.filled, ours.content) == (theirs.published, theirs.filled, theirs.content)
    for name in manager.sequences:
        assert ours.sequences[name] == theirs.sequences[name]
        assert ours.sequences[name].pages == manager.table(name).pages


def test_folding_forgets_the_names_of_sequences_that_nothing_shows_any_more() -> None:
    trace = Trace(4, 2, max_events=32)
    manager = CacheManager(4, 2, prefix_cache=make_manager(4, 2).prefix_cache, trace=trace)
    for name in range(500):
        tokens = [name, name, A]
        trace.describe(name, f"request {name}", tokens)
        trace.record(K.ARRIVE, sequence=name, value=3)
        serve(manager, name, tokens)
        trace.record(K.COMPUTE, sequence=name, value=3)
        leave(manager, name)
        trace.record(K.FINISH, sequence=name, value=FinishCode.LENGTH)
    assert len(trace.sequences) < 32
    assert len(trace.base.sequences) < 32
    for page, content in enumerate(trace.replay().content):
        assert content is None or content[0] in trace.sequences, f"the tokens in page {page} have no name any more"


def test_replay_can_stop_anywhere_and_steps_say_where_frames_begin() -> None:
    manager, trace = traced(4, 2)
    states = []
    for step in range(3):
        manager.begin_step(step)
        manager.admit(step, [A + step] * 2)
        states.append([manager.pool.state(page) for page in range(4)])
    ends = [*trace.steps()[1:], len(trace)]
    for step, end in enumerate(ends):
        page_map = trace.replay(end)
        assert page_map.step == step
        assert [page_map.state(page) for page in range(4)] == states[step]
    assert trace.replay(0).step == NONE


def test_events_are_read_by_index_and_no_further() -> None:
    trace = Trace(2, 2)
    trace.record(K.ALLOCATE, 1, 0, 0)
    assert trace[0] == MemoryEvent(K.ALLOCATE, 1, 0, 0)
    assert list(trace) == [trace[0]]
    for index in (1, -1):
        with pytest.raises(IndexError):
            trace[index]


@page_sizes
def test_the_map_knows_what_is_in_every_page_and_who_owns_it(page_size: int) -> None:
    manager, trace = traced(4, page_size)
    tokens = [A] * page_size + [B]
    serve(manager, 7, tokens)
    trace.record(K.COMPUTE, sequence=7, value=page_size + 1)
    manager.fork(7, 8)
    page_map = trace.replay()
    assert page_map.content[:2] == [(7, 0), (7, 1)]
    assert page_map.filled == [page_size, 1, 0, 0]
    assert page_map.owners(0) == page_map.owners(1) == [7, 8]
    assert page_map.state(2) is PageState.FREE
    if page_size > 1:
        manager.extend(8, page_size + 2)
        page_map = trace.replay()
        assert page_map.owners(1) == [7] and page_map.owners(2) == [8]
        assert page_map.content[2] == (7, 1), "a copy holds what its source held"
        trace.record(K.COMPUTE, sequence=8, value=page_size + 2)
        page_map = trace.replay()
        assert page_map.content[2] == (8, 1) and page_map.filled[2] == 2
    leave(manager, 7, 8)
    page_map = trace.replay()
    assert page_map.content[0] == (7, 0), "cached: its content can still be seen"
    assert page_map.owners(0) == []
    blank = [page for page in range(4) if page_map.state(page) is PageState.FREE]
    assert all(page_map.content[page] is None and page_map.filled[page] == 0 for page in blank)


def test_a_copied_map_goes_its_own_way() -> None:
    page_map = PageMap(2, 2)
    page_map.apply(MemoryEvent(K.ALLOCATE, 0, 0, 0))
    twin = page_map.copy()
    page_map.apply(MemoryEvent(K.ALLOCATE, 1, 0, 1))
    page_map.apply(MemoryEvent(K.COMPUTE, NONE, 0, 3))
    assert twin.sequences[0].pages == [0] and twin.sequences[0].computed == 0
    assert twin.refcount == [1, 0] and twin.filled == [0, 0] and twin.content == [None, None]


def test_preemption_and_the_end_of_a_sequence_are_in_the_map() -> None:
    trace = Trace(2, 2)
    for event in (
        MemoryEvent(K.ARRIVE, NONE, 0, 9),
        MemoryEvent(K.ADMIT, NONE, 0, 2),
        MemoryEvent(K.PREEMPT, NONE, 0, NONE),
    ):
        trace.record(*event)
    view = trace.replay().sequences[0]
    assert (view.prompt, view.hit, view.computed, view.preemptions, view.finish) == (9, 2, 0, 1, None)
    trace.record(K.FINISH, sequence=0, value=FinishCode.ABORT)
    assert trace.replay().sequences[0].finish is FinishCode.ABORT


@settings(deadline=None)
@given(st.integers(1, 12), st.integers(2, 40))
def test_the_newest_half_at_least_is_never_folded(max_events: int, written: int) -> None:
    trace = Trace(1, 1, max_events=max_events)
    for step in range(written):
        trace.record(K.STEP, value=step)
        assert trace.end == step + 1
        assert len(trace) <= max(1, trace.max_events - 1)
        assert [event.value for event in trace] == list(range(trace.folded, trace.end))
        assert trace.base.step == trace.folded - 1
