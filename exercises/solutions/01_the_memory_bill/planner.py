"""A capacity planner: what can this machine serve?

It puts the chapter together. A *plan* names the machine's memory, the model's weights, bytes a token, and a page
size. Two questions come every week: how many users with contexts of this length? And: what is the longest context for
this many users? Weights come first; what is left is cut into pages; each user gets whole pages.

8 slots of memory in pages of 2, one byte a token, no weights: two users can have 4 tokens each, three users 2 each.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """Written already, but for its questions. All in bytes, but for ``page_size``, in tokens."""

    memory: int
    weights: int
    token_bytes: int
    page_size: int

    @property
    def num_pages(self) -> int:
        """Pages beside the weights; 0 where there is no room for any."""
        # BEGIN SOLUTION
        return max(0, self.memory - self.weights) // (self.page_size * self.token_bytes)
        # END SOLUTION

    def users(self, context: int) -> int:
        """How many users with ``context`` tokens each are served at once."""
        # BEGIN SOLUTION
        return self.num_pages // -(-context // self.page_size)
        # END SOLUTION

    def longest_context(self, users: int) -> int:
        """The most tokens that each of so many users can have; 0 where there is not a page for each."""
        # BEGIN SOLUTION
        return self.num_pages // users * self.page_size
        # END SOLUTION

    def bottleneck(self, users: int, context: int) -> str:
        """ "weights" where they are at least as large as what the users' pages take, else "cache"."""
        # BEGIN SOLUTION
        cache = users * -(-context // self.page_size) * self.page_size * self.token_bytes
        return "weights" if self.weights >= cache else "cache"
        # END SOLUTION


# Why: the two questions are inverse to each other: longest_context(users(n)) is at least n. Half of the planning that
# goes wrong quantises the weights when the bill is the cache; `bottleneck` is the line to look at first.
