"""Measure what an engine holds and what it wastes, while it runs.

An engine calls its listeners after every step: ``llm.engine.listeners.append(function)``; the function is given the
step's plan. A ``Watch`` looks at the pages then, and keeps one reading a step:

- ``held``: slots of all pages that running sequences have. A page that several of them name is held once.
- ``filled``: slots of those pages that hold a token.

Who runs: ``llm.engine.scheduler.running``. Where their tokens are: ``llm.engine.manager.table(sequence.id)``, which has
``pages`` and ``num_tokens``. All pages but the last of a table are full.

Pages of 4. One sequence has 6 tokens in pages 0 and 1, another has 7 in pages 0 and 2: 3 pages, 12 slots held,
4 + 2 + 3 = 9 filled. A quarter of what is held is wasted.
"""

from typing import Any


class Watch:
    """Looks at an engine after each of its steps."""

    def __init__(self, llm: Any) -> None:
        self.manager, self.scheduler = llm.engine.manager, llm.engine.scheduler
        self.readings: list[tuple[int, int]] = []  #: (held, filled) after each step
        llm.engine.listeners.append(self.look)

    def look(self, plan: Any) -> None:
        """Take a reading; a page that two sequences fill differently is filled as far as the one that fills it most."""
        raise NotImplementedError("13.watch: look is yours to write")

    @property
    def most_held(self) -> int:
        """The most slots held after any step; 0 if nothing was ever read."""
        raise NotImplementedError("13.watch: most_held is yours to write")

    @property
    def waste(self) -> float:
        """Of all slots held, over all steps, the share that held no token. 0.0 if nothing was ever held."""
        raise NotImplementedError("13.watch: waste is yours to write")
