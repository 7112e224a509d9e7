"""How many tokens of a prompt fit beside the decodes?

Sequences decode, and somebody's prompt waits. Computed whole, the prompt makes everybody's next token late. Computed
in chunks beside the decodes it uses arithmetic that would idle, up to the point where the step grows longer. A step
with n new tokens takes

    max(compute · n, memory)        seconds: compute per token, memory for weights and caches, whatever n is

With 1 ms a token and 20 ms for memory, a step of 20 tokens costs what a step of one does. Eight decodes leave room
for 12 tokens of a prompt, free of charge.
"""


def step_seconds(tokens: int, compute: float, memory: float) -> float:
    """The time of a step with so many new tokens."""
    raise NotImplementedError("06.chunk_budget: step_seconds is yours to write")


def free_tokens(decodes: int, compute: float, memory: float) -> int:
    """Prompt tokens that make the step no longer than it is with the decodes alone."""
    raise NotImplementedError("06.chunk_budget: free_tokens is yours to write")


def steps_for_prompt(prompt: int, decodes: int, budget: int) -> int:
    """Steps until a prompt is computed, where each step has ``budget`` tokens and decodes go first.

    Raises ValueError where decodes leave nothing of the budget.
    """
    raise NotImplementedError("06.chunk_budget: steps_for_prompt is yours to write")
