"""How the demo shows that it is alive: a panel that moves on a terminal, a line per month in a pipe."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol
from zoneinfo import ZoneInfo

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table

from upshot_server.demo.watch import Snapshot, Watch, Window

NEW_YORK = ZoneInfo("America/New_York")
NAMES_SHOWN = 6
NAMES_WIDTH = 13
FIGURES_WIDTH = 58
REFRESHES_PER_S = 4


class Display(Protocol):
    """Where the demo tells what it is doing."""

    def say(self, text: str) -> None:
        """A line that stays."""

    def step(self, now: datetime, scored: int) -> None:
        """The replay has come to ``now`` and has scored that many flights."""

    def close(self) -> None:
        """The replay pauses or is over."""


class Lines:
    """For pipes: what is said, and a line when a month is over."""

    def __init__(self, console: Console, look: Callable[[], Snapshot | None]) -> None:
        self._console = console
        self._look = look
        self._month = 0

    def say(self, text: str) -> None:
        """Print it."""
        self._console.print(text, highlight=False, soft_wrap=True)

    def step(self, now: datetime, scored: int) -> None:
        """Print a line at the first step of a month."""
        month = now.astimezone(NEW_YORK).month
        if month == self._month:
            return
        first, self._month = self._month == 0, month
        snapshot = None if first else self._look()
        if snapshot is not None:
            self.say(f"  {now.astimezone(NEW_YORK):%d %b}  {scored:>7,} flights  {in_a_line(snapshot)}")

    def close(self) -> None:
        """Nothing is open."""


class LivePanel:
    """For terminals: a panel redrawn in place."""

    def __init__(self, console: Console, watch: Watch, start: datetime, end: datetime) -> None:
        self._console = console
        self._watch = watch
        self._start, self._end = start, end
        self._now, self._scored = start, 0
        self._began: float | None = None
        self._live: Live | None = None

    def say(self, text: str) -> None:
        """Print it above the panel."""
        self._console.print(text, highlight=False)

    def step(self, now: datetime, scored: int) -> None:
        """Take the new position; the panel redraws itself."""
        self._now, self._scored = now, scored
        if self._live is None:
            self._began = self._began or time.monotonic()
            self._live = Live(
                get_renderable=self._panel, console=self._console, refresh_per_second=REFRESHES_PER_S, transient=True
            )
            self._live.start()
            self._watch.start()

    def close(self) -> None:
        """Take the panel away."""
        if self._live is not None:
            self._watch.close()
            self._live.stop()
            self._live = None

    def _panel(self) -> RenderableType:
        rate = self._scored / (time.monotonic() - self._began) if self._began is not None else 0.0
        now = f"{self._now.astimezone(NEW_YORK):%a %d %B %Y %H:%M}"
        whole, passed = self._end - self._start, self._now - self._start
        bar = ProgressBar(total=whole.total_seconds(), completed=passed.total_seconds(), width=FIGURES_WIDTH)
        table = figures(self._watch.latest)
        head = Table.grid(padding=(0, 2))
        head.add_column(style="dim", min_width=NAMES_WIDTH)
        head.add_row("New York", f"[bold]{now}[/]   {self._scored:,} flights, {rate:,.0f}/s")
        head.add_row("the year", bar)
        return Panel(Group(head, table), title="2013, replayed; every figure is Upshot's", expand=False)


def display_on(console: Console, watch: Watch, start: datetime, end: datetime) -> Display:
    """A panel when ``console`` is a terminal, lines otherwise."""
    return LivePanel(console, watch, start, end) if console.is_terminal else Lines(console, watch.look)


def figures(snapshot: Snapshot | None) -> RenderableType:
    """The panel's table."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim", min_width=NAMES_WIDTH)
    table.add_column(min_width=FIGURES_WIDTH)
    if snapshot is None:
        table.add_row("Upshot", "first look in two seconds")
        return table
    joined = f"{snapshot.labelled:,} of {snapshot.predictions:,} ({percent(snapshot.joined_share)})"
    table.add_row("joined", f"{joined}, {snapshot.pending:,} pending, {snapshot.orphans:,} orphans")
    table.add_row("coverage", f"{percent(snapshot.coverage)} of those whose window has closed")
    table.add_row("label delay", f"half of them within {hours(snapshot.delay_p50_s)}")
    table.add_row("AUC, matured", mature(snapshot.matured))
    table.add_row("AUC, immature", immature(snapshot.tail))
    table.add_row("drift", names(snapshot.drifted, snapshot.features))
    table.add_row("skew", names(snapshot.skewed, snapshot.features))
    return table


def in_a_line(snapshot: Snapshot) -> str:
    """The same for a pipe."""
    return (
        f"joined {percent(snapshot.joined_share)}  delay {hours(snapshot.delay_p50_s)}  "
        f"AUC {mature(snapshot.matured)}  drift {names(snapshot.drifted, snapshot.features)}"
    )


def mature(window: Window | None) -> str:
    """``0.712 (0.690 to 0.734), week of 06 May``."""
    if window is None or window.value is None:
        return "no week is mature yet"
    spread = "" if window.low is None or window.high is None else f" ({window.low:.3f} to {window.high:.3f})"
    return f"{window.value:.3f}{spread}, week of {window.start.astimezone(NEW_YORK):%d %b}, {window.rows:,} flights"


def immature(window: Window | None) -> str:
    """The newest week: what is in so far, and what Upshot estimates."""
    if window is None:
        return "none"
    value = (
        "no label yet"
        if window.value is None
        else f"{window.value:.3f} on the {window.measured:,} of {window.rows:,} whose label has come"
    )
    return value + ("" if window.estimated is None else f", estimated {window.estimated:.3f}")


def names(features: list[str], of: int) -> str:
    """``3 of 17: humid, temp, visib``."""
    shown = ", ".join(features[:NAMES_SHOWN]) + (", ..." if len(features) > NAMES_SHOWN else "")
    return f"{len(features)} of {of}" + (f": {shown}" if features else "")


def percent(share: float | None) -> str:
    """``97.4 %``."""
    return "?" if share is None else f"{share:.1%}".replace("%", " %")


def hours(seconds: float | None) -> str:
    """``3.2 h``."""
    return "?" if seconds is None else f"{seconds / timedelta(hours=1).total_seconds():.1f} h"
