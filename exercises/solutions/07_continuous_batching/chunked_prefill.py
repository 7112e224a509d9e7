"""From steps to a life: prompts in chunks, and what the others feel of it.

Your budget scheduler plans one step. Now run it to the end. All requests wait at first, in their order; request i has a
prompt of ``prompts[i]`` tokens and ends after ``outputs[i]`` new ones (at least 1). In each step

1. the chunks are shared out (``share_out`` of the exercise before);
2. whoever waited and got a chunk runs from now on, behind those who ran before;
3. every chunk is computed; where that reaches the sequence's last token, the step brings it one token more, which the
   next step must compute, unless it was the last one: then the sequence has ended and its place is free.

Two requests, prompts [2, 5], outputs [3, 1], budget 4:

    step 0    (0, 0, 2) (1, 0, 2)     request 0 has its first token
    step 1    (0, 2, 3) (1, 2, 5)     decode first, then the rest of a prompt; request 1 has its only token and ends
    step 2    (0, 3, 4)               request 0 has its third token and ends; that token is never computed
"""

from pagedlab.learn import solved

Sequence = solved("07.budget").Sequence
share_out = solved("07.budget").share_out

#: ``(request, start, stop)`` of every chunk of a step.
Step = list[tuple[int, int, int]]


def timeline(prompts: list[int], outputs: list[int], budget: int, places: int) -> list[Step]:
    """Every step from the first to the last. Budget and places are at least 1."""
    # BEGIN SOLUTION
    waiting = [Sequence(str(number), prompt) for number, prompt in enumerate(prompts)]
    running: list[Sequence] = []
    steps = []
    while waiting or running:
        chunks = share_out(running, waiting, budget, places)
        running += [sequence for sequence, _, _ in chunks if sequence in waiting]
        waiting = [sequence for sequence in waiting if sequence not in running]
        for sequence, _, stop in chunks:
            number, sequence.num_computed = int(sequence.name), stop
            if stop == sequence.num_tokens:
                sequence.num_tokens += 1
                if sequence.num_tokens == prompts[number] + outputs[number]:
                    running.remove(sequence)
        steps.append([(int(sequence.name), start, stop) for sequence, start, stop in chunks])
    return steps
    # END SOLUTION


def gaps(steps: list[Step], request: int, prompt: int) -> list[int]:
    """For each token of ``request`` after its first: all tokens computed since the one before, by anybody.

    That is its inter-token latency, counted in work. ``prompt`` is the length of its prompt. Above, request 0 has its
    tokens in steps 0, 1 and 2: gaps of 4 (step 1) and 1 (step 2).
    """
    # BEGIN SOLUTION
    found: list[int] = []
    since = None  # the first token
    for step in steps:
        if since is not None:
            since += sum(stop - start for _, start, stop in step)
        if any(number == request and stop >= prompt for number, _, stop in step):
            if since is not None:
                found.append(since)
            since = 0
    return found
    # END SOLUTION


# Why: nobody wrote "decode first"; it follows from running first. And the budget bounds everybody's gap: as long as
# each running sequence gets its token in every step, no gap is longer than one budget, however long a prompt comes in
# beside it.
