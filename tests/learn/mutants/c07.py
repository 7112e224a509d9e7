"""Faults that a learner makes in chapter 07."""

MUTANTS = {
    "07.static_batching": [
        ("a batch lasts as long as its mean", "max(lengths[first : first + places])", "lengths[first]"),
        (
            "the last batch is forgotten",
            "range(0, len(lengths), places)",
            "range(0, len(lengths) - places + 1, places)",
        ),
        ("the steps themselves", "steps * places - sum(lengths)", "steps * places"),
        ("all places are equally long", "steps = max(free_from)", "steps = -(-sum(lengths) // places)"),
        (
            "places are taken in turn",
            "heapq.heapreplace(free_from, free_from[0] + length)",
            "free_from = free_from[1:] + [free_from[0] + length]",
        ),
    ],
    "07.budget": [
        (
            "every running one gets a single token",
            "min(sequence.num_tokens, start + budget)",
            "min(sequence.num_tokens, start + (1 if sequence in running else budget))",
        ),
        ("the budget is for each", "            budget -= stop - start\n", ""),
        (
            "who waits comes first",
            "running + waiting[: max(0, places - len(running))]",
            "waiting[: max(0, places - len(running))] + running",
        ),
        ("places of those inside are forgotten", "max(0, places - len(running))", "places"),
        ("empty chunks", "if stop > start:", "if True:"),
        (
            "waiting ones begin at 0",
            "start = sequence.num_computed",
            "start = sequence.num_computed if sequence in running else 0",
        ),
        (
            "prompts come whole or not at all",
            "if stop > start:",
            "if stop > start and (sequence in running or stop == sequence.num_tokens):",
        ),
    ],
    "07.chunked_prefill": [
        ("every chunk brings a token", "if stop == sequence.num_tokens:", "if True:"),
        (
            "the last token is computed too",
            "== prompts[number] + outputs[number]:",
            "== prompts[number] + outputs[number] + 1:",
        ),
        (
            "a chunk is computed again",
            "number, sequence.num_computed = int(sequence.name), stop",
            "number = int(sequence.name)\n            sequence.num_computed = max(sequence.num_computed, stop - 1 if stop < prompts[number] else stop)",
        ),
        (
            "who comes in goes first",
            "running += [sequence for sequence, _, _ in chunks if sequence in waiting]",
            "running = [sequence for sequence, _, _ in chunks if sequence in waiting] + running",
        ),
        (
            "gaps of one's own tokens",
            "for _, start, stop in step)\n        if",
            "for number, start, stop in step if number == request)\n        if",
        ),
        (
            "chunks of a prompt count as tokens",
            "if any(number == request and stop >= prompt for",
            "if any(number == request for",
        ),
        ("the first token has a gap", "since = None  # the first token", "since = 0"),
    ],
    "07.victim": [
        (
            "the oldest gives way",
            "return max(candidates, key=lambda sequence: sequence.request.arrival)",
            "return min(candidates, key=lambda sequence: sequence.request.arrival)",
        ),
        (
            "the last in the list",
            "return max(candidates, key=lambda sequence: sequence.request.arrival)",
            "return candidates[-1]",
        ),
        (
            "the most urgent gives way",
            "(sequence.request.priority, sequence.request.arrival)",
            "(-sequence.request.priority, sequence.request.arrival)",
        ),
        ("of equals the oldest", "(sequence.request.priority, sequence.request.arrival)", "sequence.request.priority"),
        ("the first in line gives way", "running[max(1, running.index(asking)) :]", "running[running.index(asking) :]"),
        ("those before give way too", "running[max(1, running.index(asking)) :]", "running[1:]"),
        (
            "never oneself",
            "running[max(1, running.index(asking)) :]",
            "running[running.index(asking) + 1 :] or [asking]",
        ),
        ("others too, though it waits itself", " and asking not in victims:", " and candidates:"),
        ("one is enough", "while needed > 0 and asking not in victims:", "if needed > 0:"),
    ],
    "07.swap": [
        ("one way only", "swap = 2 * pages", "swap = pages"),
        ("tokens, not pages", "pages * page_size * bytes_per_token", "num_tokens * bytes_per_token"),
        ("half a swap", "if len(pages) > self.host.num_free:", "if not self.host.num_free:"),
        (
            "the device pages are kept",
            "        self.release(sequence)\n        self.swapped",
            "        del self.pages[sequence], self.num_tokens[sequence]\n        self.swapped",
        ),
        (
            "the old places are remembered",
            "[host for _, host in copies], num_tokens",
            "[page for page, _ in copies], num_tokens",
        ),
        ("the host pages leak", "            self.host.drop(page, keep=False)\n", "            pass\n"),
        (
            "forgotten before there is room",
            "        fresh = self.extend(sequence, num_tokens)\n        for page in pages:",
            "        del self.swapped[sequence]\n        fresh = self.extend(sequence, num_tokens)\n"
            "        self.swapped[sequence] = pages, num_tokens\n        for page in pages:",
        ),
        ("last page first", "list(zip(pages, fresh, strict=True))", "list(zip(pages[::-1], fresh, strict=True))"),
    ],
    "07.admission": [
        ("nothing is kept", ">= self.share * manager.pool.num_pages", ">= 0"),
        ("one page too many is kept", ">= self.share * manager", "> self.share * manager"),
        ("its own pages are forgotten", "manager.num_available - used >=", "manager.num_available >="),
        (
            "the cache is forgotten",
            "        return manager.num_available",
            "        used = manager.pages_for(sequence.num_tokens)\n        return manager.num_available",
        ),
        ("overtaking without end", " or any(other.overtakes >= most for other in passed)", ""),
        ("once too often", "other.overtakes >= most", "other.overtakes > most"),
        (
            "only the first is counted",
            "for other in passed:\n            other",
            "for other in passed[:1]:\n            other",
        ),
        ("places without end", "len(admitted) == places or ", ""),
        ("nothing is kept in line", "if num_free - request.pages < keep:", "if num_free - request.pages < 0:"),
    ],
    "07.scheduler": [
        (
            "a token for each that runs",
            "stop = min(sequence.num_tokens, start + budget)",
            "stop = min(sequence.num_tokens, start + 1)",
        ),
        ("the budget is for each", "                    budget -= stop - start\n", ""),
        (
            "the first in line gives way",
            "self.running[max(1, self.running.index(sequence)) :]",
            "self.running[self.running.index(sequence) :]",
        ),
        ("those before give way too", "self.running[max(1, self.running.index(sequence)) :]", "self.running[:]"),
        ("too many at once", " and len(self.running) < self.limits.max_sequences:", ":"),
        (
            "hits are computed again",
            "self.put(plan, sequence, admitted.num_hit, admitted.num_tokens)",
            "self.put(plan, sequence, 0, admitted.num_tokens)",
        ),
        (
            "the smaller one overtakes",
            "            except OutOfPages:\n                break",
            "            except OutOfPages:\n                self.waiting.append(self.waiting.pop(0))\n                break",
        ),
        ("hits cost budget", "budget -= admitted.num_tokens - admitted.num_hit", "budget -= admitted.num_tokens"),
    ],
}
