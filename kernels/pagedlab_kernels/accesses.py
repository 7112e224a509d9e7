"""What a kernel read and wrote: every load and store of every program, as plain data, and what can be learnt from it.

``trace_kernel.py`` records it. Here are names, numbers and ranges only, so that a view needs no torch to draw them.

Bytes and runs
    A load asks for one number a lane, each at an address of its own. Neighbouring lanes that ask for neighbouring bytes
    make a *run*, and runs are what memory likes: a chip fetches sectors of 32 bytes, and a thread takes up to 16 bytes
    in one instruction, if they lie together. The page of one head, [P, D], is one run:

        lanes of a tile of keys      0 ... D-1 │ D ... 2D-1 │ ...           P = 2: two tokens, then another page
        bytes they ask for           ├──── page 7, slots 0 and 1 ────┤  ├──── page 2, slots 0 and 1 ────┤
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from math import prod
from typing import Literal, NamedTuple

from pagedlab.errors import InvalidQuantity

Kind = Literal["load", "store", "atomic"]  #: atomic: read and written at once
Half = Literal["keys", "values"]
ProgramId = tuple[int, int, int]


@dataclass(frozen=True)
class TracedTensor:
    """A tensor that accesses are told by."""

    shape: tuple[int, ...]
    itemsize: int  #: bytes of an element

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * self.itemsize


@dataclass(frozen=True)
class Access:
    """What one load or store of one program asked of one tensor. Lanes that were masked out ask for nothing."""

    kind: Kind
    tensor: str | None  #: None: outside every tensor that is known, a stray access
    #: bytes, in the order of lanes, from where the tensor starts (of a stray access: addresses)
    runs: tuple[range, ...]
    width: int  #: bytes that one lane asked for
    masked: int  #: lanes of the same instruction that were masked out
    source: str  #: the line of the kernel

    @property
    def elements(self) -> list[int]:
        """Which number each lane asked for, in the order of lanes, counted in numbers of ``width`` bytes."""
        return [byte // self.width for run in self.runs for byte in run[:: self.width]]

    @property
    def num_bytes(self) -> int:
        """Bytes that had to come or go: one that several lanes asked for counts once."""
        return sum(map(len, united(self.runs)))


@dataclass(frozen=True)
class Program:
    """One program instance of a launch, and what it did, in order."""

    id: ProgramId
    accesses: list[Access] = field(default_factory=list)


@dataclass(frozen=True)
class Launch:
    """One launch of a kernel: its programs in the order in which the interpreter ran them."""

    kernel: str
    grid: ProgramId
    tensors: dict[str, TracedTensor]  #: those that were named, and this launch's arguments by their parameters' names
    programs: list[Program] = field(default_factory=list)


class PageAccess(NamedTuple):
    """What one load or store asked of one page of one KV head."""

    launch: int  #: index into ``KernelTrace.launches``
    program: ProgramId
    access: int  #: index into ``Program.accesses``
    kind: Kind
    half: Half
    page: int
    head: int
    slots: tuple[int, ...]  #: in the order of lanes


class Traffic(NamedTuple):
    """What all accesses of one kind asked of one tensor."""

    accesses: int
    bytes: int
    times: dict[int, int]  #: so many times -> so many bytes were asked for; 1 is the aim, 0 is what nobody touched
    run_lengths: dict[int, int]  #: contiguous bytes within an access -> how many such runs there were


@dataclass
class KernelTrace:
    """Everything that was launched while ``trace_kernel`` was open."""

    tensors: dict[str, TracedTensor]
    launches: list[Launch] = field(default_factory=list)

    def walk(self) -> Iterator[tuple[Launch, Program, Access]]:
        """Every access, in order."""
        for launch in self.launches:
            for program in launch.programs:
                for access in program.accesses:
                    yield launch, program, access

    def strays(self) -> list[Access]:
        """Accesses outside every tensor: neither named nor an argument of the launch."""
        return [access for _, _, access in self.walk() if access.tensor is None]

    def bytes_by_tensor(self, kind: Kind = "load") -> dict[str, int]:
        """Bytes that all accesses of one kind asked for, of each tensor, arguments too; of the latter under the names
        of their parameters, whichever kernel's they are."""
        asked: Counter[str] = Counter()
        for _, _, access in self.walk():
            if access.kind == kind and access.tensor is not None:
                asked[access.tensor] += access.num_bytes
        return dict(asked)

    def pages_of(self, tensor: str) -> list[PageAccess]:
        """Which slots of which pages each access touched, in order, of a tensor ``[2, N, Hkv, P, ...]``.

        Raises LookupError for a name that was not given, and InvalidQuantity for a tensor of another shape.
        """
        shape = self._named(tensor).shape
        if len(shape) < 4 or shape[0] != 2:
            raise InvalidQuantity(f"{tensor} has the shape {shape}; pages are those of a tensor [2, N, Hkv, P, ...]")
        (_, pages, heads, slots), vector = shape[:4], prod(shape[4:]) * self.tensors[tensor].itemsize
        found = []
        for number, launch in enumerate(self.launches):
            for program in launch.programs:
                for index, access in enumerate(program.accesses):
                    touched = _slots_by_tile(access.runs, vector, slots) if access.tensor == tensor else {}
                    for tile, at_slots in touched.items():
                        half_and_page, head = divmod(tile, heads)
                        half: Half = "keys" if half_and_page < pages else "values"
                        place = half, half_and_page % pages, head, tuple(at_slots)
                        found.append(PageAccess(number, program.id, index, access.kind, *place))
        return found

    def traffic(self, tensor: str, kind: Kind = "load") -> Traffic:
        """How much was asked of ``tensor``, how often the same, and how contiguously. LookupError for another name."""
        total = self._named(tensor).num_bytes
        lengths: Counter[int] = Counter()
        steps: Counter[int] = Counter()  # byte -> how many more ask for what starts here than for what ends here
        accesses = 0
        for _, _, access in self.walk():
            if access.tensor == tensor and access.kind == kind:
                accesses += 1
                for run in united(access.runs):
                    lengths[len(run)] += 1
                    steps[run.start] += 1
                    steps[run.stop] -= 1
        times: Counter[int] = Counter()
        depth, before = 0, 0
        for at in [*sorted(steps), total]:
            times[depth] += at - before
            depth, before = depth + steps[at], at
        asked = sum(length * count for length, count in lengths.items())
        return Traffic(
            accesses, asked, {n: size for n, size in sorted(times.items()) if size}, dict(sorted(lengths.items()))
        )

    def _named(self, tensor: str) -> TracedTensor:
        if tensor not in self.tensors:
            raise LookupError(f"{tensor!r} was asked for; trace_kernel was told of {', '.join(self.tensors) or 'none'}")
        return self.tensors[tensor]


def _slots_by_tile(runs: Iterable[range], vector: int, slots: int) -> dict[int, dict[int, None]]:
    """Tile of ``slots`` vectors of so many bytes -> its slots that the runs touch, each once, in their order."""
    touched: dict[int, dict[int, None]] = {}
    for run in runs:
        for at in range(run.start // vector, -(-run.stop // vector)):
            touched.setdefault(at // slots, {})[at % slots] = None
    return touched


def united(runs: Iterable[range]) -> list[range]:
    """The same bytes as the fewest runs, in order."""
    whole: list[range] = []
    for run in sorted(runs, key=lambda run: run.start):
        if whole and run.start <= whole[-1].stop:
            whole[-1] = range(whole[-1].start, max(whole[-1].stop, run.stop))
        else:
            whole.append(run)
    return whole
