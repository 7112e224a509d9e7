"""One-line faults in pagedlab/scheduling, every one of which the suite must notice (see tests/mutation.py)."""

from __future__ import annotations

from tests.mutation import PYTEST, Mutant

_FILES = ("admission", "victims", "delay", "speculation", "beams", "orders", "refusals", "scheduler")  # the quick first

SUITE = (
    "tests.scheduling.machine --steps 600 --seed 5",
    f"{PYTEST} {' '.join(f'tests/scheduling/test_{name}.py' for name in _FILES)}",
)

MUTANTS = {
    "scheduling/scheduler.py": [
        Mutant(
            "a chunk ignores the budget",
            "stop = min(len(sequence.token_ids), start + budget)",
            "stop = len(sequence.token_ids)",
        ),
        Mutant("those who decode stand still for ever", "        if not self._stood_still:\n", "        if True:\n"),
        Mutant("who is put off waits for ever", " or self.delay):", "):"),
        Mutant("a preempted sequence stays computed", "        sequence.num_computed = 0\n", ""),
        Mutant("the first in line gives way", "max(1, self.running.index(sequence))", "0"),
        Mutant(
            "a victim's pages stay its own",
            "        if not swapped:\n            self.manager.release(sequence.id)\n",
            "",
        ),
        Mutant(
            "somebody comes in on pages just taken from another",
            "if self.waiting and not plan.preempted and (",
            "if self.waiting and (",
        ),
        Mutant("a page that decode fills is not published", "if stop // size > start // size:", "if False:"),
        Mutant(
            "a chunk is published late",
            "            self.manager.publish(sequence.id, sequence.token_ids, admitted.num_tokens)\n",
            "",
        ),
        Mutant("rejected drafts keep their slots", "        self.manager.truncate(sequence.id, num_computed)\n", ""),
        Mutant("one draft too many is kept", "max(0, len(new) - 1)", "len(new)"),
        Mutant(
            "a fork of this step can be a victim", "self.running[at:] if other not in in_step]", "self.running[at:]]"
        ),
        Mutant("a beam forgets to fork", "beam = self._fork(parent, parent.token_ids[:-1])", "beam = parent"),
        Mutant("losing beams live on", "            if sequence not in parents:\n", "            if False:\n"),
        Mutant("beams fork into places that are taken", " or self._places() > 0", " or True"),
        Mutant(
            "the fork of one who is overdue is not",
            " = parent.num_cached, parent.overdue",
            " = parent.num_cached, False",
        ),
        Mutant("a sleeping beam is not woken", "        if beam in self.asleep:\n", "        if False:\n"),
        Mutant("a request for n has no places", "if sequence.width > places or", "if places < 1 or"),
        Mutant("nobody is ever overdue", "                sequence.overdue = True\n", ""),
        Mutant(
            "what a failed step was to bring can be hit",
            "        self.manager.abandon_step()\n        return ended",
            "        return ended",
        ),
        Mutant(
            "who ends in the waiting line keeps host pages", "            self.manager.drop_swapped(sequence.id)\n", ""
        ),
        Mutant(
            "min_tokens is forgotten",
            " and sequence.num_output >= params.min_tokens:\n            sequence.stop",
            ":\n            sequence.stop",
        ),
    ],
    "scheduling/delay.py": [
        Mutant("it waits for what was computed before", "other.num_computed < stop <= other", "stop <= other"),
        Mutant("it waits for another's tenant", "            and other.request.salt == salt\n", ""),
        Mutant("it waits for a page that it cannot hit", "if stop >= sequence.num_tokens:", "if False:"),
        Mutant("the line is not looked through to its end", "        put_off.add(line.pop(at))\n", "        break\n"),
    ],
    "scheduling/limits.py": [
        Mutant("what is larger than the pool is accepted", "if num_tokens > max_sequence_tokens:", "if False:"),
    ],
    "scheduling/order.py": [
        Mutant(
            "the least urgent goes first", "return (sequence.request.priority,", "return (-sequence.request.priority,"
        ),
        Mutant("the narrowest branch comes first", "(len(branch), -branch[0])", "(-len(branch), -branch[0])"),
        Mutant("the line is laid out at every pick", "sequence.id not in self._place for", "True for"),
        Mutant("the shortest match goes first", "return max(range(len(waiting))", "return min(range(len(waiting))"),
    ],
    "scheduling/admission.py": [
        Mutant(
            "a reservation forgets who is inside",
            "for other in (*inside.running, sequence))",
            "for other in (sequence,))",
        ),
        Mutant("forks need nothing", "return (sequence.width - 1) * (", "return 0 * ("),
    ],
    "scheduling/victims.py": [
        Mutant(
            "the most urgent is the victim",
            "(sequence.request.priority, sequence.request.arrival, sequence.index))\n\n\ndef least",
            "(-sequence.request.priority, sequence.request.arrival, sequence.index))\n\n\ndef least",
        ),
    ],
    "scheduling/drafts.py": [
        Mutant("drafts before the forks are made", "sequence.num_output == 0 or ", ""),
        Mutant(
            "more drafts than were asked for",
            "tuple(drafter.propose(sequence, most)[:most])",
            "tuple(drafter.propose(sequence, most))",
        ),
        Mutant("drafts are not counted", "            budget -= len(drafts)\n", ""),
        Mutant(
            "lookup forgets the newest words",
            "index.read = max(index.read, len(tokens))",
            "index.read = len(tokens) + 1",
        ),
    ],
}
