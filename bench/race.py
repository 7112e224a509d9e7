"""The race: the same requests served by pagedlab and by whoever else is installed, on this machine.

    python -m bench.race [--quick] [--rounds N] [--threads N] [--python ENVIRONMENT=INTERPRETER]…
                         [--peers NAME …] [--workloads NAME …] [--json FILE]

Each engine runs in a process of its own, and in an environment of its own where ``--python`` names an interpreter. All
load the same weights once; then they take turns, workload by workload and round by round, so that whatever else the
machine does slows all of them. Seconds are medians over the rounds, a ratio is the median of each round's ratio.

Workloads are in ``race_workloads``, how an engine is driven in ``race_pagedlab``, ``race_transformers`` and so on.
"""

from __future__ import annotations

import argparse
import datetime
import statistics
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import psutil
from rich.console import Console

from bench.control_plane_report import about
from bench.race_peers import OURS, PEERS, Absent, Answer, Contestant, Failed, Peer
from bench.race_protocol import Setup
from bench.race_report import Entry, Report, Result, show
from bench.race_weights import folder_of, gguf_of
from bench.race_workloads import MEANING, Workload, workloads
from pagedlab.models.catalog import fetch

MODEL = "smollm2-135m"
VOCABULARY = 49_152
MAX_CONTEXT, MAX_REQUESTS = 640, 64  # what the workloads need: every engine is given memory for so much


@dataclass
class Race:
    """``setup``: what each peer is built from, asked for once it is known to be there. ``pythons``: environment ->
    interpreter, for those that are not this one's."""

    setup: Callable[[Peer], Setup]
    vocab_size: int
    threads: int = 1
    pythons: Mapping[str, str] = field(default_factory=dict)
    patience: float = 1800.0  #: seconds of silence after which a contestant is out
    console: Console = field(default_factory=lambda: Console(stderr=True))
    only: Collection[str] = tuple(MEANING)  #: workloads that are raced

    def run(self, peers: Sequence[Peer], rounds: int, *, quick: bool) -> tuple[list[Entry], list[Result]]:
        self.entries: dict[str, Entry] = {}
        self.answers: dict[tuple[str, str, int], Answer] = {}
        contestants: list[Contestant] = []
        try:
            for peer in peers:
                if (contestant := self._enter(peer)) is not None:
                    contestants.append(contestant)
            self.console.print("warming up", style="dim")
            for workload in self._workloads(-1, quick=quick):
                for contestant in tuple(contestants):
                    self._turn(contestants, contestant, workload.warm_up(), None)
            for number in range(rounds):
                for workload in self._workloads(number, quick=quick):
                    first = number % max(1, len(contestants))  # nobody always follows the same one
                    for contestant in (*contestants[first:], *contestants[:first]):
                        self._turn(contestants, contestant, workload, number)
        finally:
            for contestant in contestants:
                contestant.close()
        measured = [
            result
            for shape in self._workloads(0, quick=quick)
            for peer in peers
            if (result := self._result(peer.name, shape, rounds)) is not None
        ]
        return list(self.entries.values()), measured

    def _workloads(self, round_number: int, *, quick: bool) -> list[Workload]:
        return [one for one in workloads(round_number, self.vocab_size, quick=quick) if one.name in self.only]

    def _enter(self, peer: Peer) -> Contestant | None:
        self.console.print(f"{peer.name}: starting", style="dim")
        try:
            contestant = Contestant(
                peer, self.pythons.get(peer.environment, sys.executable), self.threads, self.patience
            )
        except Absent as error:
            self._note(Entry(peer.name, "absent", why=str(error), install=peer.install))
            return None
        except Failed as error:
            self._note(Entry(peer.name, "failed", why=f"while it started: {error}"))
            return None
        try:
            settings = contestant.load(self.setup(peer))
        except Failed as error:
            contestant.close()
            self._note(Entry(peer.name, "failed", contestant.version, why=f"while it loaded the model: {error}"))
            return None
        self._note(Entry(peer.name, "raced", contestant.version, settings))
        return contestant

    def _turn(self, contestants: list[Contestant], one: Contestant, workload: Workload, number: int | None) -> None:
        """``number`` is the round's; None is the warm-up. Who fails is out, with what it did until then."""
        name = one.peer.name
        try:
            answer = one.run(workload)
        except Failed as error:
            when = "the warm-up" if number is None else f"round {number + 1}"
            self._note(replace(self.entries[name], state="failed", why=f"in {when} of {workload.name}: {error}"))
            contestants.remove(one)
            one.close()
            return
        if number is not None:
            self.answers[name, workload.name, number] = answer
            self.console.print(f"round {number + 1}, {workload.name}, {name}: {answer.seconds:.2f} s", style="dim")

    def _note(self, entry: Entry) -> None:
        self.entries[entry.name] = entry
        if entry.state != "raced":
            self.console.print(f"{entry.name}: {entry.state}: {entry.why}", markup=False, highlight=False)

    def _result(self, name: str, shape: Workload, rounds: int) -> Result | None:
        got = {n: self.answers[name, shape.name, n] for n in range(rounds) if (name, shape.name, n) in self.answers}
        if not got:
            return None
        pairs = [
            (answer, self.answers[OURS.name, shape.name, number])
            for number, answer in got.items()
            if (OURS.name, shape.name, number) in self.answers
        ]
        same = [theirs == ours for a, b in pairs for theirs, ours in zip(a.outputs, b.outputs, strict=True)]
        return Result(
            workload=shape.name,
            peer=name,
            prompt_tokens=shape.num_prompt,
            output_tokens=shape.num_output,
            rounds=list(got),
            seconds=[round(answer.seconds, 4) for answer in got.values()],
            first_token=[round(statistics.median(answer.first_token), 4) for answer in got.values()],
            median_seconds=round(statistics.median(answer.seconds for answer in got.values()), 4),
            ours_times_as_fast=round(statistics.median(a.seconds / b.seconds for a, b in pairs), 3) if pairs else None,
            same_outputs=round(sum(same) / len(same), 4) if same else None,
        )


def interpreters(given: Sequence[str]) -> dict[str, str]:
    """``["vllm=/path"]`` -> ``{"vllm": "/path"}``; ValueError for an environment that no peer has."""
    known = dict.fromkeys(peer.environment for peer in PEERS)
    found = {}
    for one in given:
        name, equals, path = one.partition("=")
        if name not in known or not equals:
            raise ValueError(f"--python {one} was given; it must be NAME=INTERPRETER, NAME one of {', '.join(known)}")
        found[name] = path
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.race", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--quick", action="store_true", help="tiny workloads: proves that everybody runs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=psutil.cpu_count(logical=False) or 1, help="of each engine")
    parser.add_argument("--python", action="append", default=[], metavar="NAME=INTERPRETER", help="whose environment")
    parser.add_argument("--peers", nargs="+", metavar="NAME", help="only those whose names begin so, and pagedlab")
    parser.add_argument("--workloads", nargs="+", choices=tuple(MEANING), default=tuple(MEANING), metavar="NAME")
    parser.add_argument("--json", type=Path, help="keep the report in this file")
    options = parser.parse_args()
    try:
        pythons = interpreters(options.python)
    except ValueError as error:
        parser.error(str(error))
    chosen = [peer for peer in PEERS if peer is OURS or not options.peers or peer.name.startswith(tuple(options.peers))]
    busy = psutil.cpu_percent(interval=1.0)
    machine = about(
        "race",
        date=datetime.datetime.now(datetime.UTC).date().isoformat(),
        model=MODEL,
        threads=options.threads,
        cores=psutil.cpu_count(logical=False),
        memory_gib=round(psutil.virtual_memory().total / 2**30),
        busy_percent=busy,
        rounds=options.rounds,
        quick=options.quick,
    )

    def setup(peer: Peer) -> Setup:
        gguf = str(gguf_of(MODEL)) if peer.environment == "llama.cpp" else ""
        return Setup(str(folder_of(MODEL)), gguf, str(fetch(MODEL)), options.threads, MAX_CONTEXT, MAX_REQUESTS)

    race = Race(setup, VOCABULARY, options.threads, pythons, only=options.workloads)
    entries, results = race.run(chosen, options.rounds, quick=options.quick)
    entries += [Entry(peer.name, "left out", why="--peers did not name it") for peer in PEERS if peer not in chosen]
    report = Report(machine, entries, results)
    show(report, Console(width=110))
    if options.json:
        report.save(options.json)


if __name__ == "__main__":
    main()
