"""Random operations on the cache manager, as many as you like; each is proved right by the world it happens in.

python -m tests.memory.machine --operations 2000000
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from collections.abc import Callable

from pagedlab.progress import progress_bar
from tests.memory.draws import random_setup
from tests.memory.world import World

#: How often each rule is tried, beside the others.
WEIGHTS = {
    World.admit: 24, World.extend: 22, World.compute: 18, World.publish: 14, World.release: 8, World.preempt: 6,
    World.speculate: 5, World.serve: 5, World.pin: 3, World.fork: 2, World.write_after_fork: 2, World.fail: 2,
    World.wait: 2, World.give_up: 1, World.press: 1, World.reset: 1, World.misuse: 1,
}  # fmt: skip


def run(num_operations: int, seed: int, advance: Callable[[float], None] = lambda amount: None) -> Counter[str]:
    """At least so many operations, in worlds of 250 each. Returns what was seen."""
    seen: Counter[str] = Counter()
    while seen["operations"] < num_operations:
        rng = random.Random(f"{seed} {seen['worlds']}")
        world = World(random_setup(rng.randrange))
        try:
            while world.num_operations < 250:
                rule = rng.choices(list(WEIGHTS), list(WEIGHTS.values()))[0]
                rule(world, rng.randrange)
        except Exception as error:
            where = f"{world.setup}, world {seen['worlds']} of seed {seed}, after:\n"
            error.add_note(where + "\n".join(world.log[-40:]))
            raise
        seen += world.seen
        seen["operations"] += world.num_operations
        seen["worlds"] += 1
        advance(world.num_operations)
    return seen


def main() -> None:
    parser = argparse.ArgumentParser(description="Random operations on the cache manager, each proved right.")
    parser.add_argument("--operations", type=int, default=2_000_000)
    parser.add_argument("--seed", type=int, default=time.time_ns() % 1_000_000)
    options = parser.parse_args()
    print(f"seed {options.seed}")
    with progress_bar("Operations", options.operations) as advance:
        seen = run(options.operations, options.seed, advance)
    print(", ".join(f"{count:,} {what}" for what, count in seen.most_common()))


if __name__ == "__main__":
    main()
