"""Two control planes that are asked the same, and must answer the same. Every public method of a world is a rule.

Random rules come from hypothesis, which shrinks them, or from a seed, in bulk.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any, ClassVar, NamedTuple

from tests.memory.draws import Choose
from tests.systems.differential.driver import END
from tests.systems.differential.ours import Answer, Ours
from tests.systems.differential.peer import Peer

SALTS = (None, None, "tenant")

#: A budget for whatever a sequence lacks.
ALL = 10_000


class Setup(NamedTuple):
    page_size: int
    num_pages: int
    budget: int
    max_sequences: int
    caching: bool


def random_setup(choose: Choose) -> Setup:
    most = 1 + choose(6)
    return Setup(1 + choose(4), 6 + choose(25), max(most, 1 + choose(30)), most, caching=choose(7) != 0)


class World:
    """``seen_as`` makes of an answer what must be equal on both sides."""

    weights: ClassVar[Mapping[str, int]]  #: how often each rule is tried

    def __init__(self, ours: Ours, theirs: Peer, seen_as: Callable[[Answer], Any], setup: Setup) -> None:
        self.ours, self.theirs, self.seen_as, self.setup = ours, theirs, seen_as, setup
        self.past: list[list[int]] = []  #: what was said so far; others begin like it
        self.log: list[str] = []
        self.seen: Counter[str] = Counter()

    def ask(self, do: str, **details: Any) -> Answer:
        """Both sides. Raises AssertionError, with all that was asked, where their answers differ."""
        self.log.append(f"{do}({', '.join(f'{key}={value!r}' for key, value in details.items())})")
        ours: Answer = getattr(self.ours, do)(**details)
        one, other = self.seen_as(ours), self.seen_as(self.theirs.ask(do, **details))
        if one != other:
            asked = "\n".join([str(self.setup), *self.log])
            raise AssertionError(f"after\n{asked}\n{difference(one, other)}")
        self.seen[do] += 1
        self.seen["evicted"] += sum(kind == "evict" for kind, _ in ours.get("memory", {}).get("events", ()))
        return ours

    def prompt(self, choose: Choose) -> list[int]:
        """A run of one token, or what was said before, or the beginning of it; and a few others."""
        if self.past and choose(2):
            old = self.past[-1 - choose(min(len(self.past), 16))]
            start = old[: 1 + choose(len(old))]
        else:
            start = [1] * choose(6 * self.setup.page_size)
        return start + [1 + choose(2) for _ in range(choose(3))] or [1]


def difference(ours: Any, theirs: Any, where: str = "") -> str:
    """The smallest parts in which the two differ."""
    if isinstance(ours, dict) and isinstance(theirs, dict) and ours.keys() == theirs.keys():
        return "\n".join(
            difference(ours[key], theirs[key], f"{where} {key}") for key in ours if ours[key] != theirs[key]
        )
    return f"{where.strip()}:\n  ours   {ours}\n  theirs {theirs}"


class MemoryWorld(World):
    """The cache managers alone."""

    weights: ClassVar = {"admit": 30, "extend": 50, "release": 18, "reset": 2}

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.live: dict[str, list[int]] = {}

    def admit(self, choose: Choose) -> None:
        name, tokens = str(self.seen["admit"]), self.prompt(choose)
        budget = 1 + choose(5 * self.setup.page_size)
        hit = self.ask("admit", name=name, tokens=tokens, budget=budget, salt=SALTS[choose(3)])["hit"]
        self.seen["refused" if hit is None else "hit" if hit else "missed"] += 1
        if hit is not None:
            self.live[name] = tokens
            self.past.append(tokens)

    def extend(self, choose: Choose) -> None:
        if self.live:
            name, tokens = self._one(choose), [1 + choose(2) for _ in range(1 + choose(2))]
            done = self.ask("extend", name=name, tokens=tokens, budget=1 + choose(3 * self.setup.page_size))["done"]
            self.live[name] += tokens
            self.seen["not extended"] += not done

    def release(self, choose: Choose) -> None:
        if self.live:
            name = self._one(choose)
            self.ask("release", name=name)
            del self.live[name]

    def reset(self, choose: Choose) -> None:
        self.seen["cleared"] += self.ask("reset")["done"]

    def _one(self, choose: Choose) -> str:
        return list(self.live)[choose(len(self.live))]


class WhatFits(MemoryWorld):
    """Only what there is room for, and all of it at once: elsewhere a refusal changes something, in ours nothing."""

    weights: ClassVar = {"admit": 30, "extend": 50, "release": 18}

    def ask(self, do: str, **details: Any) -> Answer:
        manager = self.ours.manager
        if "budget" in details:
            details["budget"] = ALL
        if do == "admit":
            needs = manager.pages_to_admit(-1, details["tokens"], len(details["tokens"]), details["salt"])
            if needs > manager.num_available:
                return {"hit": None}
        if do == "extend":
            number, num_tokens = self.ours.number_of(details["name"])
            if manager.pages_needed(number, num_tokens + len(details["tokens"])) > manager.num_available:
                return {"done": False}
        return super().ask(do, **details)


class SchedulerWorld(World):
    """Requests that arrive, are served and withdrawn."""

    weights: ClassVar = {"add": 25, "step": 70, "abort": 5}
    priorities = 1

    def add(self, choose: Choose) -> None:
        prompt, says = self.prompt(choose), [1 + choose(2) for _ in range(1 + choose(4 * self.setup.page_size))]
        if choose(3) == 0:
            says[choose(len(says))] = END
        if len(prompt) + len(says) > self.ours.scheduler.max_sequence_tokens:
            return  # ours refuses it on arrival; theirs would wait for ever
        salt, priority = SALTS[choose(3)], choose(self.priorities)
        self.ask("add", name=str(self.seen["add"]), prompt=prompt, says=says, salt=salt, priority=priority)
        self.past.append(prompt + [token for token in says if token != END])

    def step(self, choose: Choose) -> None:
        plan = self.ask("step")
        for what in ("admitted", "preempted", "finished"):
            self.seen[what] += len(plan[what])
        self.seen["waiting"] += bool(plan["waiting"])
        self.seen["hit"] += sum(start > 0 for name, start, _ in plan["chunks"] if name in plan["admitted"])
        self.seen["chunked"] += sum(start > 0 and stop - start > 1 for _, start, stop in plan["chunks"])

    def abort(self, choose: Choose) -> None:
        alive = [name for name, request in self.ours.requests.items() if not request.finished]
        if alive:
            self.ask("abort", name=alive[choose(len(alive))])


def play(world: World, choose: Choose, num_rules: int) -> None:
    """Random rules, the frequent ones first for hypothesis to shrink to."""
    rules: Sequence[str] = [rule for rule, weight in world.weights.items() for _ in range(weight)]
    for _ in range(num_rules):
        getattr(world, rules[choose(len(rules))])(choose)


def play_in_bulk(make: Callable[[Choose], World], seeds: range, num_rules: int) -> Counter[str]:
    """A world for each seed. Returns what was seen in all of them."""
    seen: Counter[str] = Counter()
    for seed in seeds:
        world = make(random.Random(seed).randrange)
        play(world, random.Random(f"rules {seed}").randrange, num_rules)
        seen += world.seen
    return seen
