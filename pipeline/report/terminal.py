"""Progress on the terminal: bars when a person watches, plain lines when the output goes elsewhere."""

import sys
import time
from collections.abc import Mapping
from typing import Any, Protocol

from rich.console import Console
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from pipeline.llm.purse import dollars

LINE_EVERY = 10.0
"""Seconds between two progress lines of one entry when the output is not a terminal."""


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
    return Bars(console) if console.is_terminal and console.width >= 60 else Lines()


class Silent:
    """Shows nothing."""

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Ignore it."""

    def close(self) -> None:
        """Nothing to end."""


class Lines:
    """A line when an entry begins, every ten seconds while it works, and when it ends."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self._last = 0.0

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Print what is new."""
        for entry in snapshot["entries"]:
            name, state = entry["name"], entry["state"]
            if state == "waiting":
                continue
            if self._seen.get(name) != state:
                self._seen[name], self._last = state, time.monotonic()
                self._print(f"{name}: {_sentence(entry)}")
            elif state == "running" and time.monotonic() - self._last >= LINE_EVERY:
                self._last = time.monotonic()
                self._print(f"{name}: {_sentence(entry)}{_calls(snapshot)}")

    @staticmethod
    def sentences(snapshot: Mapping[str, Any]) -> list[str]:
        """One line an entry, whatever was said before."""
        return [f"{entry['name']}: {_sentence(entry)}" for entry in snapshot["entries"]]

    @staticmethod
    def _print(line: str) -> None:
        print(line, file=sys.stderr, flush=True)

    def close(self) -> None:
        """Nothing to end."""


class Bars:
    """One line an entry, with a bar for the one at work and the state of the model calls below."""

    def __init__(self, console: Console) -> None:
        self._live = Live(console=console, refresh_per_second=4, transient=False)
        self._started = False

    def __call__(self, snapshot: Mapping[str, Any]) -> None:
        """Redraw."""
        if not self._started:
            self._live.start()
            self._started = True
        table = Table.grid(padding=(0, 2))
        for entry in snapshot["entries"]:
            style = {"running": "bold", "waiting": "dim"}.get(entry["state"], "")
            bar: Any = ""
            if entry["state"] == "running":
                bar = ProgressBar(total=entry["total"], completed=entry["done"], width=24, pulse=not entry["total"])
            table.add_row(Text(entry["name"], style=style), bar, Text(_sentence(entry), style=style))
        calls = _calls(snapshot)
        if calls:
            table.add_row("", "", Text(calls.removeprefix("; "), style="dim"))
        self._live.update(table)

    def close(self) -> None:
        """Leave the last picture standing."""
        if self._started:
            self._live.stop()


def _sentence(entry: Mapping[str, Any]) -> str:
    if entry["state"] == "waiting":
        return "waiting"
    if entry["state"] == "running":
        total = f" of {entry['total']:,}" if entry["total"] else ""
        return f"{entry['done']:,}{total}"
    made = f" + {entry['derived']:,} made" if entry.get("derived") else ""
    books = f"{entry['in']:,} in{made}, {entry['kept']:,} kept, {entry['dropped']:,} dropped"
    return f"{books} (unchanged, reused)" if entry["state"] == "skipped" else books


def _money(money: Mapping[str, float | None]) -> list[str]:
    """What is spent of a budget, or at all."""
    spent, unresolved, budget = (money.get(name) or 0.0 for name in ("spent", "unresolved", "budget"))
    if not spent and money.get("budget") is None:
        return []
    limit = f" of {dollars(budget)}" if money.get("budget") is not None else ""
    lost = f", {dollars(unresolved)} unresolved" if unresolved else ""
    return [f"{dollars(spent)}{limit} spent{lost}"]


def _calls(snapshot: Mapping[str, Any]) -> str:
    usage = snapshot.get("usage") or {}
    outages = [str(sentence) for sentence in usage.get("outages") or ()]
    if not usage.get("calls"):
        return "; " + ", ".join(outages) if outages else ""
    seconds = max(1e-9, snapshot["updated"] - snapshot["started"])
    tokens = usage.get("completion_tokens", 0)
    parts = [f"{usage['calls']:,} calls", f"{usage.get('reused', 0):,} reused", f"{tokens:,} tokens out"]
    if usage.get("in_flight"):
        parts.append(f"{usage['in_flight']:,} in flight")
    if usage.get("retries"):
        parts.append(f"{usage['retries']:,} retries")
    parts.append(f"{tokens / seconds:,.0f} tokens/s")
    parts += _money(usage.get("money") or {}) + outages
    return "; " + ", ".join(parts)
