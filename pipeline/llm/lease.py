"""One writer per ledger shard: a lock that goes with its process, and a sentence about who holds it."""

import contextlib
import fcntl
import json
import os
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import IO

from pipeline.errors import SeedmillError, UsageError

_NOTICE_AFTER = 3.0
_POLL = 0.1


class Lease:
    """The right to write some shards, held by this process until `release` or its end, however it ends.

    Attributes:
        waited: seconds until all locks were ours.
    """

    def __init__(
        self,
        paths: Sequence[Path],
        run: str,
        patience: float = 60.0,
        notice: Callable[[str], None] = lambda sentence: None,
    ) -> None:
        """Take the locks, in order, so that two runs cannot hold one half each for ever.

        Args:
            paths: the lock files.
            run: told to whoever has to wait for us.
            patience: seconds to wait for another run; a killed run's actors may work on for some seconds.
            notice: told once, after some seconds of waiting, who holds the ledger.

        Raises:
            SeedmillError: another run holds one of the locks for longer than that.
        """
        self._files: list[IO[str]] = []
        began, told = time.monotonic(), False
        try:
            for path in paths:
                file = path.open("a+", encoding="utf-8")
                self._files.append(file)
                while not _locked(file):
                    waited = time.monotonic() - began
                    if waited > patience:
                        raise SeedmillError(
                            f"the ledger {path.parent} is still in use by {_holder(path)} after {waited:.0f} s",
                            "wait for that run to end, stop it, wait longer with LEDGER_PATIENCE=SECONDS, or give this "
                            "one a ledger of its own with LEDGER=",
                        )
                    if waited > _NOTICE_AFTER and not told:
                        notice(f"the ledger {path.parent} is in use by {_holder(path)}")
                        told = True
                    time.sleep(min(_POLL, patience))
                _sign(file, run)
        except BaseException:
            self.release()
            raise
        self.waited = time.monotonic() - began

    def release(self) -> None:
        """Give the locks back."""
        while self._files:
            self._files.pop().close()

    def __enter__(self) -> "Lease":
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.release()


def whole_ledger(folder: Path, run: str, patience: float, notice: Callable[[str], None]) -> Lease:
    """The right to use a ledger at all, taken once by every process that is going to write to some of its shards.

    Whoever has it takes the leases of the shards after it, so that two runs whose actors take them in parallel cannot
    each get some of them; the latter are then only waited for when actors of a killed run are still at work.

    Args:
        folder: the ledger's; made when there is none.
        run: told to whoever has to wait for us.
        patience: seconds to wait for another run.
        notice: told once, after some seconds of waiting, who holds the ledger.

    Raises:
        SeedmillError: the folder cannot be made, or another run does not let go of it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return Lease([folder / "ledger.lease"], run, patience, notice)
    except OSError as error:
        raise SeedmillError(f"the ledger {folder} cannot be made: {error}", "choose another with LEDGER=") from error


def patience_of(environ: Mapping[str, str]) -> float:
    """Seconds to wait for another run: LEDGER_PATIENCE, 60 by default; UsageError when that is no such number."""
    text = environ.get("LEDGER_PATIENCE") or "60"
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise UsageError(f"LEDGER_PATIENCE is {text!r}, not a number of seconds", "for example LEDGER_PATIENCE=3600")
    return seconds


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sign(file: IO[str], run: str) -> None:
    """Write who holds the lock; only for people to read, so a full disk is no reason to stop."""
    facts = {"run": run, "pid": os.getpid(), "host": socket.gethostname(), "since": time.time()}
    with contextlib.suppress(OSError):
        os.ftruncate(file.fileno(), 0)
        os.write(file.fileno(), json.dumps(facts).encode())  # past the file's buffer, which would fail again at its end


def _holder(path: Path) -> str:
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
        since = datetime.fromtimestamp(facts["since"], UTC).strftime("%Y-%m-%d %H:%M:%SZ")
        return f"run '{facts['run']}' (process {facts['pid']} on {facts['host']}, since {since})"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"
