"""`pagedlab learn`: exercises in a terminal."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path
from typing import Annotated

import typer

# rich and what a check needs take a while to import: each command imports what it needs.

app = typer.Typer(help="Exercises: see them, check yours, ask for a hint.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="An exercise, such as 03.free_queue.")]


@app.command("list")
def list_exercises(chapter: Annotated[str, typer.Argument(help="Only this chapter, such as 03.")] = "") -> None:
    """All exercises: how hard, how long, and which you have solved."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from pagedlab.learn.exercise import all_exercises
    from pagedlab.learn.progress import Progress

    progress = Progress.load()
    chosen = [exercise for exercise in all_exercises().values() if exercise.name.startswith(chapter)]
    table = Table(box=box.SIMPLE, show_header=False)
    for name, exercises in groupby(chosen, key=lambda exercise: exercise.chapter):
        table.add_row("", f"[bold]{name.replace('_', ' ')}[/bold]", "", "", "")
        for exercise in exercises:
            sign = "✓" if progress.is_solved(exercise.name) else "○"
            level = "●" * exercise.difficulty + "○" * (3 - exercise.difficulty)
            table.add_row(sign, exercise.name, exercise.title, level, f"{exercise.minutes} min")
    Console().print(table)
    done = sum(progress.is_solved(exercise.name) for exercise in chosen)
    print(f"{done} of {len(chosen)} solved; {sum(exercise.minutes for exercise in chosen) / 60:.0f} hours in all")


@app.command()
def check(names: Annotated[list[str], typer.Argument(help="Exercises, such as 03.free_queue.")]) -> None:
    """Check what you wrote. Exit code 1 where something is not right yet."""
    from pagedlab.learn.run import check as run_check

    cards = []
    for name in names:
        cards.append(run_check(name))
        print(cards[-1])
    raise typer.Exit(int(not all(card.passed for card in cards)))


@app.command()
def hint(name: Name, again: Annotated[bool, typer.Option("--again", help="Only those you have read.")] = False) -> None:
    """The next hint: a nudge, then the idea, then nearly the code."""
    from pagedlab.learn.exercise import find
    from pagedlab.learn.progress import Progress, record_hint

    exercise = find(name)
    most = len(exercise.hints)
    seen = Progress.load().hints_seen(name) if again else record_hint(name, most)
    for number, text in enumerate(exercise.hints[:seen], start=1):
        print(f"Hint {number} of {most}\n  " + text.replace("\n", "\n  "))
    if seen == most:
        print(f"That is the last. `pagedlab learn solution {name}` shows ours.")


@app.command()
def solution(name: Name) -> None:
    """Our solution, and why it is so."""
    from pagedlab.learn.exercise import find
    from pagedlab.learn.workbook import source_of_solution

    print(source_of_solution(find(name)), end="")


@app.command()
def progress() -> None:
    """How far you have come, chapter by chapter."""
    from rich.console import Console
    from rich.progress_bar import ProgressBar
    from rich.table import Table

    from pagedlab.learn.exercise import all_exercises
    from pagedlab.learn.progress import Progress, progress_file

    known = Progress.load()
    table = Table(box=None, show_header=False)
    for name, exercises in groupby(all_exercises().values(), key=lambda exercise: exercise.chapter):
        solved = [known.is_solved(exercise.name) for exercise in exercises]
        table.add_row(
            name.replace("_", " "),
            ProgressBar(total=len(solved), completed=sum(solved), width=24),
            f"{sum(solved)} of {len(solved)}",
        )
    Console().print(table)
    print(f"kept in {progress_file()}")


@app.command()
def reset(name: Name) -> None:
    """Restore a stub. Your old file is kept beside it."""
    from pagedlab.learn.exercise import find
    from pagedlab.learn.workbook import reset as reset_stub

    exercise = find(name)
    kept = reset_stub(exercise)
    print(f"exercises/{exercise.file} is the stub again" + (f"; yours is kept as {kept.name}" if kept else ""))


@app.command()
def init(folder: Annotated[Path, typer.Argument(help="Where to write them.")] = Path("exercises")) -> None:
    """Write the stubs of all exercises into a folder, where they are not there yet."""
    from pagedlab.learn.workbook import init as write_stubs

    written = write_stubs(folder)
    print(f"{len(written)} stubs written into {folder}; what was there was left alone")


@app.command()
def export(
    chapter: Annotated[str, typer.Argument(help="Only this chapter, such as 03.")] = "",
    otter: Annotated[Path | None, typer.Option(help="Write assignments for otter-grader into this folder.")] = None,
    nbgrader: Annotated[Path | None, typer.Option(help="Write assignments for nbgrader into this folder.")] = None,
) -> None:
    """For instructors: the exercises of each chapter as a notebook that a grader hands out and grades."""
    from pagedlab.learn.export import Grader
    from pagedlab.learn.export import export as write_assignments

    if otter is None and nbgrader is None:
        raise typer.BadParameter("say for which grader, and where: --otter DIR or --nbgrader DIR")
    for grader, folder in ((Grader.OTTER, otter), (Grader.NBGRADER, nbgrader)):
        if folder is not None:
            written = write_assignments(folder, grader, chapter)
            first = written[0]
            make = f"nbgrader generate_assignment {first.stem}     (in {folder})"
            if grader is Grader.OTTER:
                make = f"otter assign {first} {folder / 'dist' / first.stem}"
            print(f"{len(written)} assignments for {grader} in {folder}. The students' version of the first:\n  {make}")
