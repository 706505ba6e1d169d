"""How a run is watched: one live view on a terminal, plain lines elsewhere, nothing with ``--quiet``.

All of it goes to stderr, so that stdout holds results alone.
"""

import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Self

import click

if TYPE_CHECKING:
    from rich.console import Console, RenderableType
    from rich.text import Text

MARKS = {
    "waiting": ("·", "dim"),
    "running": ("▶", "cyan"),
    "completed": ("✓", "green"),
    "pruned": ("○", "yellow"),
    "collapsed": ("!", "yellow"),
    "interrupted": ("‖", "yellow"),
    "diverged": ("✗", "red"),
    "failed": ("✗", "red"),
}
LINE_SECONDS = 15.0
_ROOM_BELOW = 6  # terminal lines kept free of trial rows: title, counts, best, borders


class Pace:
    """Steps a second so far, hence the time left: the first quarter, with its compilation and caches, is left out."""

    def __init__(self, clock: Callable[[], float] = lambda: time.monotonic()) -> None:
        self._clock = clock
        self._origin = 0
        self._seen: deque[tuple[float, int]] = deque()

    def note(self, step: int) -> None:
        """Record that ``step`` steps are done now; a step before the last one means a new loop."""
        if self._seen and step < self._seen[-1][1]:
            self._seen.clear()
        if not self._seen:
            self._origin = step
        self._seen.append((self._clock(), step))
        quarter = self._origin + (step - self._origin) / 4
        while len(self._seen) > 2 and self._seen[1][1] <= quarter:
            self._seen.popleft()

    def left(self, steps: int) -> float | None:
        """Return the seconds until ``steps`` steps are done, or None while that cannot be known."""
        if len(self._seen) < 2 or self._seen[-1][1] == self._seen[0][1]:
            return None
        (began, first), (at, last) = self._seen[0], self._seen[-1]
        return max(0.0, (steps - last) * (at - began) / (last - first) - (self._clock() - at))


@dataclass
class Row:
    """One thing that advances: a trial of a study, or a phase of a single run."""

    label: str
    state: str = "waiting"
    phase: str = ""
    step: int = 0
    steps: int = 0
    note: str = ""
    pace: Pace = field(default_factory=Pace)


@dataclass
class Board:
    """All that a view shows."""

    title: str
    rows: dict[str, Row] = field(default_factory=dict)
    began: float = field(default_factory=lambda: time.monotonic())
    done: int | None = None
    total: int | None = None
    left: float | None = None
    left_at: float = 0.0
    best: str = ""

    def remaining(self) -> float | None:
        """Return the seconds left by now: the last estimate counts down until the next one."""
        return None if self.left is None else max(0.0, self.left - (time.monotonic() - self.left_at))

    def elapsed(self) -> float:
        return time.monotonic() - self.began


class View:
    """Where a verb reports to; this one keeps the board and shows nothing of it.

    Args:
        title: What runs, in a few words.
    """

    def __init__(self, title: str) -> None:
        self.board = Board(title)

    def update(
        self, key: str, *, phase: str = "", step: int = 0, steps: int = 0, note: str = "", state: str = "running"
    ) -> None:
        """Set what is known of row ``key``, which is made where it is new."""
        row = self.board.rows.setdefault(key, Row(key))
        if phase and phase != row.phase:
            row.phase, row.pace = phase, Pace()
        row.state, row.step, row.steps, row.note = state, step, steps, note
        row.pace.note(step)
        self._changed(row)

    def summary(
        self, *, done: int | None = None, total: int | None = None, left: float | None = None, best: str = ""
    ) -> None:
        """Set what is known of the whole."""
        advanced = done is not None and done > (self.board.done or 0)
        self.board.done, self.board.total = done, total
        self.board.left, self.board.left_at = left, time.monotonic()
        if best and best != self.board.best:
            self.board.best = best
            self._improved()
        elif advanced:
            self._advanced()

    def rename(self, title: str) -> None:
        """Give the view a better title, once it is known what runs."""
        self.board.title = title

    def message(self, text: str) -> None:
        """Say something once."""

    def close(self) -> None:
        """End the view; what it showed stays."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _changed(self, row: Row) -> None:
        """React to a changed row."""

    def _improved(self) -> None:
        """React to a new best."""

    def _advanced(self) -> None:
        """React to a trial that ended without one."""


class PlainView(View):
    """A line where something begins, ends or is news, and one a while in between."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        self._said: dict[str, tuple[str, str, float]] = {}
        self._titled = False

    def rename(self, title: str) -> None:
        super().rename(title)
        self.message("")

    def message(self, text: str) -> None:
        # The title comes with the first news, so that a mistake in what was typed is answered by its error alone.
        for line in [text] if self._titled else [self.board.title, text]:
            if line:
                click.echo(f"{duration(self.board.elapsed())}  {line}", err=True)
        self._titled = True

    def _changed(self, row: Row) -> None:
        now = time.monotonic()
        phase, state, at = self._said.get(row.label, ("", "waiting", now))
        news = (row.phase, row.state) != (phase, state)
        if news or (row.state == "running" and now - at >= LINE_SECONDS):
            self._said[row.label] = (row.phase, row.state, now)
            self.message(describe_row(row))

    def _advanced(self) -> None:
        self.message(describe_counts(self.board))

    def _improved(self) -> None:
        counts = describe_counts(self.board)
        self.message(f"best so far: {self.board.best}" + (f" ({counts})" if counts else ""))


class LiveView(View):
    """The board, drawn in place on a terminal."""

    def __init__(self, title: str) -> None:
        super().__init__(title)
        from rich.console import Console
        from rich.live import Live

        self._console = Console(stderr=True, highlight=False)
        self._live = Live(
            console=self._console,
            get_renderable=lambda: draw(self.board, self._console),
            refresh_per_second=4,
            vertical_overflow="crop",
        )
        self._live.start(refresh=True)

    def message(self, text: str) -> None:
        self._console.print(text, markup=False)

    def close(self) -> None:
        self._live.stop()


def open_view(title: str, *, quiet: bool) -> View:
    """Return the view that fits: none, live on a terminal, or lines."""
    if quiet:
        return View(title)
    return LiveView(title) if sys.stderr.isatty() else PlainView(title)


def duration(seconds: float) -> str:
    """Return ``mm:ss``, or ``h:mm:ss`` from an hour on."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    return f"{hours}:{minute:02d}:{second:02d}" if hours else f"{minute:02d}:{second:02d}"


def describe_metrics(metrics: Mapping[str, float], limit: int = 3) -> str:
    """Return the first few metrics in words, such as ``loss 0.312, alpha entropy 0.87``."""
    return ", ".join(f"{name.replace('_', ' ')} {value:.3g}" for name, value in list(metrics.items())[:limit])


def describe_row(row: Row) -> str:
    """Return a row as one line of text."""
    parts = [row.label]
    if row.state == "running":
        parts.append(f"{row.phase} {row.step}/{row.steps}" if row.steps else row.phase or "begins")
        left = row.pace.left(row.steps) if row.steps else None
        if left is not None and row.step < row.steps:
            parts.append(f"{duration(left)} left")
    else:
        parts.append(row.state)
    if row.note:
        parts.append(row.note)
    return "  ".join(parts)


def describe_counts(board: Board) -> str:
    """Return how much of a study is done and how long the rest takes."""
    parts = []
    if board.total is not None:
        parts.append(f"{board.done or 0} of {board.total} trials")
    left = board.remaining()
    if left is not None:
        parts.append(f"{duration(left)} left")
    return " · ".join(parts)


def draw(board: Board, console: "Console") -> "RenderableType":
    """Return the board as a panel that fits the terminal: the running rows first where not all have room."""
    from rich import box
    from rich.console import Group
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    grid = Table.grid(padding=(0, 1), expand=True)
    for width, ratio in ((1, None), (None, None), (18, None), (14, None), (None, 1)):
        grid.add_column(width=width, ratio=ratio, no_wrap=True, overflow="ellipsis")
    shown = _fitting(list(board.rows.values()), max(3, console.height - _ROOM_BELOW))
    for row in shown:
        mark, style = MARKS[row.state]
        grid.add_row(Text(mark, style), row.label, _bar(row), _stage(row), _note(row))
    lines: list[RenderableType] = [grid if shown else Text("starting", "dim")]
    hidden = len(board.rows) - len(shown)
    if hidden:
        lines.append(Text(f"  and {hidden} more", "dim"))
    if board.best:
        lines.append(Text.assemble(("best  ", "bold green"), board.best, no_wrap=True, overflow="ellipsis"))
    counts = [describe_counts(board), f"{duration(board.elapsed())} elapsed"]
    return Panel(
        Group(*lines),
        title=Text(board.title, "bold"),
        subtitle=Text(" · ".join(part for part in counts if part)),
        title_align="left",
        subtitle_align="right",
        box=box.ROUNDED,
        border_style="dim",
    )


def _fitting(rows: list[Row], room: int) -> list[Row]:
    if len(rows) <= room:
        return rows
    running = [row for row in rows if row.state == "running"]
    others = [row for row in rows if row.state != "running"]
    kept = {id(row) for row in running[:room] + others[len(others) - max(0, room - len(running)) :]}
    return [row for row in rows if id(row) in kept]


def _bar(row: Row) -> "RenderableType":
    from rich.progress_bar import ProgressBar

    if row.state == "running":
        total = row.steps or None
        return ProgressBar(total=total, completed=row.step, width=18, pulse=total is None)
    return ProgressBar(total=1, completed=1 if row.state == "completed" else 0, width=18)


def _stage(row: Row) -> "Text":
    from rich.text import Text

    if row.state != "running":
        return Text(row.state, MARKS[row.state][1])
    return Text(row.phase or "begins")


def _note(row: Row) -> "Text":
    from rich.text import Text

    left = row.pace.left(row.steps) if row.state == "running" and row.steps else None
    parts = [f"{row.step}/{row.steps}"] if row.state == "running" and row.steps else []
    if left is not None:
        parts.append(f"{duration(left)} left")
    return Text("  ".join([*parts, row.note]).strip())
