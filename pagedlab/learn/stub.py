"""From a solution to its stub: one source for both, so that they cannot drift apart.

In a solution, the learner's part stands between two comments:

    def take(self) -> int:
        \"\"\"The page that has been free longest; it leaves the queue. Raises OutOfPages.\"\"\"
        # BEGIN SOLUTION
        ...
        # END SOLUTION

In the stub, such a part is one line that raises NotImplementedError with the name of what is to be written. A part at
the left margin (an import that would give the idea away, a helper) vanishes, and so does the comment ``# Why: …``.
"""

from __future__ import annotations

import re

BEGIN, END = "# BEGIN SOLUTION", "# END SOLUTION"

_PART = re.compile(rf"^([ ]*){BEGIN}\n(.*?)^[ ]*{END}\n", re.MULTILINE | re.DOTALL)
_WHY = re.compile(r"^# Why: .*\n(?:^#.*\n)*\n*", re.MULTILINE)
_NAME = re.compile(r"^[ ]*(?:def|class) (\w+)", re.MULTILINE)


def stub_of(name: str, solution: str) -> str:
    """The stub of exercise ``name``."""

    def replaced(match: re.Match[str]) -> str:
        indent = match.group(1)
        if not indent:
            return ""
        written = _NAME.findall(solution, 0, match.start())[-1]
        return f'{indent}raise NotImplementedError("{name}: {written} is yours to write")\n'

    return re.sub(r"\n{4,}", "\n\n\n", _PART.sub(replaced, without_why(solution))).rstrip() + "\n"


def without_why(solution: str) -> str:
    """The solution, as it is handed to somebody who is to find out why."""
    return _WHY.sub("", solution).rstrip() + "\n"


def why_of(solution: str) -> str:
    """The solution's short why."""
    match = _WHY.search(solution)
    lines = match.group().strip().splitlines() if match else []
    return " ".join(line.removeprefix("#").strip() for line in lines).removeprefix("Why: ")
