"""Progress on the terminal: bars when a person watches, plain lines when the output goes elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.report import live
from pipeline.report.batches import batches_text

LINE_EVERY = 10.0
"""Seconds between two progress lines when the output is not a terminal."""

_LINE_SHARE, _LINE_AT_MOST = 1 / 30, 60.0
"""A run of hours says less often that it works: after this share of its time, but every minute."""

_BAR, _NARROWEST = 20, 72


class Watcher(Protocol):
    """Is told every snapshot of a run's status."""

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Show one snapshot."""
        ...

    def close(self) -> None:
        """Show nothing more."""
        ...


def watcher(quiet: bool = False) -> Watcher:
    """Bars on a terminal, lines elsewhere, nothing when quiet."""
    if quiet:
        return Silent()
    console = Console(stderr=True)
    return Bars(console) if console.is_terminal and console.width >= _NARROWEST else Lines()


class Silent:
    """Shows nothing."""

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Nothing to end."""


class Lines:
    """A line when an entry begins, now and then while it works, when everything begins to wait, and when it ends."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._began = self._last = time.monotonic()
        self._waiting = False

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Print what is new."""
        for entry in snapshot["entries"]:
            name, state = entry["name"], entry["state"]
            if state == "waiting":
                continue
            if self._seen.get(name) != state:
                self._seen[name] = state
                self._print(f"{name}: {'begins' if state == 'running' else live.progress(entry)}")
            elif state == "running" and self._due(snapshot):
                self._print(running_line(entry, snapshot))

    def _due(self, snapshot: Mapping[str, Any]) -> bool:
        """Whether it is time for a line; a wait that begins is told at once."""
        began_to_wait = bool(snapshot.get("waiting_for")) and not self._waiting
        self._waiting = bool(snapshot.get("waiting_for"))
        now = time.monotonic()
        pause = min(_LINE_AT_MOST, max(LINE_EVERY, (now - self._began) * _LINE_SHARE))
        return began_to_wait or now - self._last >= pause

    @staticmethod
    def sentences(snapshot: Mapping[str, Any]) -> list[str]:
        """One line an entry, whatever was said before."""
        return [
            running_line(entry, snapshot) if entry["state"] == "running" else f"{entry['name']}: {live.progress(entry)}"
            for entry in snapshot["entries"]
        ]

    def _print(self, line: str) -> None:
        self._last = time.monotonic()
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to end."""


def running_line(entry: Mapping[str, Any], snapshot: Mapping[str, Any]) -> str:
    """All that is known of the entry at work, in one line."""
    parts = [f"{entry['name']}: {live.progress(entry, live.eta_of(snapshot))}"]
    if found := live.calls(snapshot):
        parts.append(", ".join(found))
    parts += standing_lines(snapshot)
    return "; ".join(parts)


class Bars:
    """One line an entry, with a bar for the one at work; below, the state of the model calls and what they wait for."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._started = False

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Redraw."""
        if not self._started:
            self._live.start()
            self._started = True
        self._live.update(picture(snapshot, self._console.width))

    def close(self) -> None:
        """Leave the last picture standing."""
        if self._started:
            self._live.stop()


def picture(snapshot: Mapping[str, Any], width: int) -> RenderableType:
    """The whole state, for a terminal so many columns wide."""
    table = Table.grid(padding=(0, 2))
    for entry in snapshot["entries"]:
        style = {"running": "bold", "waiting": "dim"}.get(entry["state"], "")
        said = Text(live.progress(entry, live.eta_of(snapshot)), style=style)
        if entry["state"] != "running":
            table.add_row(Text(entry["name"], style=style), said)
            continue
        bar = ProgressBar(total=entry["total"], completed=entry["done"], width=_BAR, pulse=not entry["total"])
        row = Table.grid(padding=(0, 2))
        row.add_row(bar, said)
        table.add_row(Text(entry["name"], style=style), row)
    lines = [Text(line, style="dim") for line in live.folded(live.calls(snapshot), width)]
    return Group(table, *lines, *(Text(line, style="yellow") for line in standing_lines(snapshot)))


def standing_lines(snapshot: Mapping[str, Any]) -> list[str]:
    """What is under way in batches, and what everything waits for."""
    return [line for line in (batches_text(snapshot), live.waiting(snapshot)) if line]
