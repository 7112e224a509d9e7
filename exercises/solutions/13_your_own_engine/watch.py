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
        # BEGIN SOLUTION
        size = self.manager.page_size
        filled: dict[int, int] = {}
        for sequence in self.scheduler.running:
            table = self.manager.table(sequence.id)
            for logical, page in enumerate(table.pages):
                tokens = min(size, table.num_tokens - logical * size)
                filled[page] = max(tokens, filled.get(page, 0))
        self.readings.append((len(filled) * size, sum(filled.values())))
        # END SOLUTION

    @property
    def most_held(self) -> int:
        """The most slots held after any step; 0 if nothing was ever read."""
        # BEGIN SOLUTION
        return max((held for held, _ in self.readings), default=0)
        # END SOLUTION

    @property
    def waste(self) -> float:
        """Of all slots held, over all steps, the share that held no token. 0.0 if nothing was ever held."""
        # BEGIN SOLUTION
        held = sum(held for held, _ in self.readings)
        filled = sum(filled for _, filled in self.readings)
        return (held - filled) / held if held else 0.0
        # END SOLUTION


# Why: sums over all steps, not a mean of shares: a step that holds two pages must not weigh as much as one that holds
# two hundred. And pages are counted, not table entries: shared memory that is counted twice looks like waste avoided.
