"""What a preset is: the choices of one serving system, under its own names, as knobs of this engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pagedlab.errors import InvalidConfig
from pagedlab.scheduling.assemble import assemble
from pagedlab.scheduling.scheduler import Scheduler

Meant = TypeVar("Meant")


@dataclass(frozen=True)
class System(ABC):
    """A frozen record of a system's options. ``knobs()`` translates them; what has no counterpart is in ``left_out``.

    Every field has the name and the default that the system's own documentation gives it, unless its docstring says
    otherwise.
    """

    title: ClassVar[str]
    seen: ClassVar[str]  #: which state of the system this describes
    documented: ClassVar[str]  #: where its options are explained
    kept: ClassVar[tuple[str, ...]]  #: what makes it itself, and is here
    left_out: ClassVar[tuple[str, ...]]  #: what it has and this preset has not

    @abstractmethod
    def knobs(self) -> dict[str, Any]:
        """Keyword arguments of :class:`~pagedlab.engine.engine.Engine`; policies that remember are new in each call.

        Raises InvalidConfig for an option that the preset does not know.
        """

    def weights(self) -> str | None:
        """How it keeps weights: ``load_model``'s ``weights``, where the caller did not say. None: as they are.

        Raises InvalidConfig as ``knobs`` does.
        """
        return None

    @property
    def tokens_per_page(self) -> int:
        return int(self.knobs()["page_size"])

    def pages_for(self, num_slots: int) -> int:
        """Whole pages in memory for ``num_slots`` tokens. Raises InvalidConfig where it has no room for one."""
        if num_slots < self.tokens_per_page:
            raise InvalidConfig(
                f"{self.title} was given memory for {num_slots} tokens; its pages hold {self.tokens_per_page}. "
                "Give it more"
            )
        return num_slots // self.tokens_per_page

    def scheduler(self, num_slots: int, **knobs: Any) -> Scheduler:
        """The system's control plane over memory for ``num_slots`` tokens, without a model.

        ``knobs`` override the preset's, and are those of :func:`~pagedlab.scheduling.assemble.assemble`.
        """
        own = {knob: value for knob, value in self.knobs().items() if knob not in DATA_PLANE}
        return assemble(**{"num_pages": self.pages_for(num_slots)} | own | knobs)


#: Knobs of the engine that no plan depends on: how keys and values are kept.
DATA_PLANE = frozenset({"kv_dtype"})


def meaning(option: str, value: str, there_are: Mapping[str, Meant]) -> Meant:
    """What the option's ``value`` stands for here. Raises InvalidConfig where the preset does not know it."""
    if value not in there_are:
        names = ", ".join(map(repr, there_are))
        raise InvalidConfig(f"{option}={value!r} was asked for; this preset knows {names}")
    return there_are[value]
