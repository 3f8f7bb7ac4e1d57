"""Three ways to show the same: live on a terminal, plain lines in a pipe, JSON lines.

Data goes to standard output, talk to standard error; with ``--json`` both are JSON lines on
standard output, the last line being the result.
"""

import dataclasses
import json
import re
import sys
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Protocol, Self

import click

from edgekit.core.events import Event, Note, StepFinished, StepProgress, StepStarted

if TYPE_CHECKING:
    from rich.progress import TaskID

    from edgekit.report.table import Table


class Output(Protocol):
    """Where a command's events and results go. A context manager: live drawing ends with it."""

    def __enter__(self) -> Self:
        """Begin to draw."""

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """End to draw."""

    def emit(self, event: Event) -> None:
        """Show an event."""

    def result(self, data: Mapping[str, Any], *shown: "Table | str") -> None:
        """Show the result: ``data`` for scripts, ``shown`` for people."""


def make_output(*, in_json: bool) -> Output:
    """Choose the way to show by ``--json`` and by what standard error is."""
    if in_json:
        return JsonOutput()
    return LiveOutput() if sys.stderr.isatty() else PlainOutput()


class JsonOutput:
    """JSON lines on standard output."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def emit(self, event: Event) -> None:
        """Print the event as one line: ``{"event": "step_started", ...}``."""
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(event).__name__).lower()
        click.echo(json.dumps({"event": name, **dataclasses.asdict(event)}))

    def result(self, data: Mapping[str, Any], *shown: "Table | str") -> None:
        """Print the whole result as one line."""
        del shown
        click.echo(json.dumps(data))


class PlainOutput:
    """One line for each finished step; for logs and pipes."""

    def __init__(self) -> None:
        self._titles: dict[str, str] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return None

    def emit(self, event: Event) -> None:
        """Print notes and finished steps; starts and progress would drown a log."""
        match event:
            case StepStarted(step, title):
                self._titles[step] = title
            case StepFinished(step, detail, ok):
                title = self._titles.get(step, step)
                click.echo(_finished(title, detail, ok=ok), err=True)
            case Note(text, warning):
                click.echo(f"{'warning' if warning else 'note'}: {text}", err=True)
            case StepProgress():
                pass

    def result(self, data: Mapping[str, Any], *shown: "Table | str") -> None:
        """Print what is for people."""
        del data
        show(*shown)


class LiveOutput:
    """A spinner and a bar for each running step, on a terminal."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

        self._console = Console(stderr=True)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeElapsedColumn(),
            console=self._console,
            transient=True,
        )
        self._tasks: dict[str, TaskID] = {}
        self._titles: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def emit(self, event: Event) -> None:
        """Draw the event."""
        match event:
            case StepStarted(step, title):
                self._titles[step] = title
                self._tasks[step] = self._progress.add_task(title, total=None, amount="")
            case StepProgress(step, done, total):
                if step in self._tasks:
                    self._progress.update(
                        self._tasks[step],
                        completed=done,
                        total=total,
                        amount=_amount(event),
                    )
            case StepFinished(step, detail, ok):
                if step in self._tasks:
                    self._progress.remove_task(self._tasks.pop(step))
                line = _finished(self._titles.get(step, step), detail, ok=ok)
                self._console.print(
                    line, style=None if ok else "red", markup=False, highlight=False
                )
            case Note(text, warning):
                kind = "warning" if warning else "note"
                style = "yellow" if warning else "dim"
                self._console.print(f"{kind}: {text}", style=style, markup=False, highlight=False)

    def result(self, data: Mapping[str, Any], *shown: "Table | str") -> None:
        """Print what is for people, below the finished steps."""
        del data
        self._progress.stop()
        show(*shown)


def show(*parts: "Table | str") -> None:
    """Print tables and lines on standard output: drawn on a terminal, plain in a pipe."""
    for part in parts:
        if isinstance(part, str):
            click.echo(part)
        elif sys.stdout.isatty():
            _draw(part)
        else:
            click.echo(part.plain())


def _draw(table: "Table") -> None:
    from rich.console import Console
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(title=table.title or None, title_justify="left")
    for column in table.columns:
        drawn.add_column(
            column.name, justify="right" if column.numeric else "left", overflow="fold"
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row))
    Console().print(drawn)


def _finished(title: str, detail: str, *, ok: bool) -> str:
    mark = "ok  " if ok else "FAIL"
    return f"{mark} {title}{': ' + detail if detail else ''}"


_BYTES_PER_MB = 1e6


def _amount(event: StepProgress) -> str:
    done, total, unit = event.done, event.total, event.unit
    if unit not in {"B", "bytes"}:
        return f"{done}{f'/{total}' if total else ''} {unit}".rstrip()
    whole = f"/{total / _BYTES_PER_MB:.1f}" if total else ""
    words = [f"{done / _BYTES_PER_MB:.1f}{whole} MB"]
    if event.rate_per_s is not None:
        words.append(f"{event.rate_per_s / _BYTES_PER_MB:.1f} MB/s")
    if event.left_s is not None:
        minutes, seconds = divmod(round(event.left_s), 60)
        words.append(f"{minutes}:{seconds:02} left")
    return ", ".join(words)
