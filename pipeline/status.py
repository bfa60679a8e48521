"""A run as others see it: status.json, written about once a second, and control.json, which they write to steer it."""

import contextlib
import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Mapping
from copy import deepcopy
from pathlib import Path
from typing import Any

from pipeline.errors import IncompleteError, SeedmillError, UsageError
from pipeline.llm.standstill import Standstill
from pipeline.pace import Pace
from pipeline.store import write_json

PERIOD = 1.0
"""Seconds between two writings of status.json and two looks at control.json."""

_ANSWER_WITHIN = 30.0
"""Seconds that a run may take to obey; it looks once a second, but a machine may be busy."""


class Status:
    """The live state of one run; thread-safe. `watch` is called with a snapshot at every writing."""

    def __init__(self, folder: Path, names: list[str], watch: Callable[[Mapping[str, Any]], None]) -> None:
        self._folder, self._watch = folder, watch
        self._lock, self._writing = threading.Lock(), threading.Lock()
        self._wake = threading.Event()
        self._running, self._stopping = threading.Event(), False
        self._running.set()
        self._usage: Callable[[], Mapping[str, Any]] = dict
        self._batches: Callable[[], Mapping[str, Any] | None] = lambda: None
        self._halt: Callable[[], None] = lambda: None
        self._change_limits: Callable[[Mapping[str, Mapping[str, Any]]], str] = lambda wished: "no models"
        self._standstill: Callable[[], Standstill | None] = lambda: None
        self._pace = Pace()
        self._state: dict[str, Any] = {
            "run": folder.name,
            "pid": os.getpid(),
            "state": "running",
            "started": time.time(),
            "entries": [{"name": name, "state": "waiting", "done": 0, "total": None} for name in names],
        }
        (folder / "control.json").unlink(missing_ok=True)
        self._thread = threading.Thread(target=self._loop, daemon=True, name="status")
        self._thread.start()

    def entry(self, index: int, **changes: Any) -> None:
        """Change what is said of one entry."""
        with self._lock:
            self._state["entries"][index].update(changes)
        if "state" in changes:
            self._publish()

    def calls_from(self, usage: Callable[[], Mapping[str, Any]], standstill: Callable[[], Standstill | None]) -> None:
        """Where the numbers of model calls, and what they all wait for, come from from now on."""
        self._usage, self._standstill = usage, standstill

    def batches_from(self, batches: Callable[[], Mapping[str, Any] | None], halt: Callable[[], None]) -> None:
        """Where batches under way are told, and what ends the waiting for them when somebody stops the run."""
        self._batches, self._halt = batches, halt

    def limits_by(self, change: Callable[[Mapping[str, Mapping[str, Any]]], str]) -> None:
        """What changes the limits of model calls and says how; it raises UsageError for what cannot be."""
        self._change_limits = change

    def checkpoint(self) -> None:
        """Called by the run wherever it may wait or end: waits while paused.

        Raises:
            IncompleteError: somebody asked the run to stop.
        """
        self._running.wait()
        if self._stopping:
            raise IncompleteError("stopped on request", "run the same command again to go on")

    def close(self, state: str, message: str | None = None) -> None:
        """Write the last status (`done`, `failed`, `incomplete` or `stopped`) and end the thread."""
        with self._lock:
            self._state |= {"state": state, "message": message}
        self._wake.set()
        self._thread.join()
        self._publish()

    def snapshot(self) -> dict[str, Any]:
        """A copy of the state, with the present usage, pace and what is waited for."""
        with self._lock:
            state = deepcopy(self._state)
        usage, standing, batches = dict(self._usage()), self._standstill(), self._batches()
        pace = self._pace.note(state["entries"], usage, paused=state["state"] == "paused")
        waiting_for = None if standing is None or state["state"] != "running" else standing.as_dict()
        state |= {} if batches is None else {"batches": dict(batches)}
        return state | {"usage": usage, "pace": pace, "waiting_for": waiting_for, "updated": time.time()}

    def _loop(self) -> None:
        while not self._wake.wait(PERIOD):
            self._obey()
            self._publish()

    def _publish(self) -> None:
        with self._writing:
            state = self.snapshot()
            # A disk that is full for a moment is no reason to stop being watched and steered.
            with contextlib.suppress(OSError):
                write_json(self._folder / "status.json", state)
            self._watch(state)

    def _obey(self) -> None:
        path = self._folder / "control.json"
        try:
            asked = json.loads(path.read_text(encoding="utf-8"))
            command, number = asked["command"], asked.get("id")
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return
        path.unlink(missing_ok=True)
        answer: dict[str, Any] = {"id": number, "said": f"does not know what {command!r} is"}
        if command == "pause":
            self._running.clear()
            answer["said"] = "paused: what is being worked on still ends, nothing new begins"
        elif command in ("resume", "stop"):
            self._stopping = command == "stop"
            self._running.set()
            if self._stopping:
                self._halt()
            answer["said"] = "stops after what it is at" if self._stopping else "goes on"
        elif command == "set":
            try:
                answer["said"] = self._change_limits(asked["limits"])
            except UsageError as error:
                answer |= {"error": error.message, "hint": error.hint}
            except (KeyError, TypeError, AttributeError):  # not written by ctl
                answer["said"] = "does not understand these limits"
        with self._lock:
            self._state["state"] = "running" if self._running.is_set() else "paused"
            self._state["control"] = answer


def command_run(folder: Path, command: str, limits: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Ask the run in `folder` something; a number by which its answer is known. It looks about once a second."""
    number = secrets.token_hex(8)
    write_json(folder / "control.json", {"command": command, "id": number} | ({"limits": limits} if limits else {}))
    return number


def await_answer(folder: Path, number: str, alive: Callable[[], bool]) -> str:
    """What the run says to a command.

    Raises:
        UsageError: it refuses.
        SeedmillError: it has ended meanwhile, or does not answer.
    """
    until = time.monotonic() + _ANSWER_WITHIN
    while time.monotonic() < until:
        living = alive()
        with contextlib.suppress(OSError, ValueError):
            control = json.loads((folder / "status.json").read_text(encoding="utf-8")).get("control") or {}
            if control.get("id") == number:
                if "error" in control:
                    raise UsageError(control["error"], control["hint"])
                return str(control["said"])
        if not living:
            (folder / "control.json").unlink(missing_ok=True)
            raise SeedmillError(
                f"run '{folder.name}' ended before it could obey", f"see 'seedmill status {folder.name}'"
            )
        time.sleep(0.1)
    raise SeedmillError(f"run '{folder.name}' has not answered for {_ANSWER_WITHIN:.0f} s", "is its machine busy?")
