"""The fake provider as something to start and stop: in a thread of this process, or in a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any

import uvloop

from pipeline.errors import ModelError, UsageError
from pipeline.llm.fake.script import Script, load_script, parse_script
from pipeline.llm.fake.server import HOST, start

_PATIENCE = 20.0


class FakeProvider:
    """Plays a script while the `with` block lasts.

    Args:
        script: a Script, the mapping or the file of one, or None for the rehearsal's.
        port: 0 takes a free one.
        own_process: play it in a process of its own, which outlives whoever is killed in this one; the script must then
            be a mapping, a file or None.

    Raises:
        UsageError: a faulty script, or a port that is taken.
    """

    def __init__(
        self, script: Script | Mapping[str, Any] | Path | str | None = None, port: int = 0, own_process: bool = False
    ) -> None:
        self._source = script
        self._script = _script(script)
        self._own_process = own_process
        self.port = port
        self._process: subprocess.Popen[bytes] | None = None
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop: asyncio.Event | None = None
        self._error: BaseException | None = None

    @property
    def url(self) -> str:
        """The base URL to give to a client."""
        return f"http://{HOST}:{self.port}/v1"

    def __enter__(self) -> "FakeProvider":
        if self._own_process:
            self._start_process()
        else:
            self._start_thread()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(_PATIENCE)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        if self._folder is not None:
            self._folder.cleanup()
        if self._thread is not None and self._loop is not None and self._stop is not None:
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join(_PATIENCE)

    @property
    def pid(self) -> int:
        """The process that plays it."""
        return os.getpid() if self._process is None else self._process.pid

    def bill(self) -> dict[str, Any]:
        """GET /fake/bill."""
        return self._get("/fake/bill")

    def calls(self) -> dict[str, Any]:
        """GET /fake/calls: what happened to each distinct body, by its key."""
        return self._get("/fake/calls")

    def reset(self) -> None:
        """POST /fake/reset: forget all counts."""
        self._get("/fake/reset", b"")

    def _get(self, path: str, data: bytes | None = None) -> dict[str, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # never through a user's proxy
        with opener.open(f"http://{HOST}:{self.port}{path}", data, timeout=_PATIENCE) as reply:
            loaded: dict[str, Any] = json.load(reply)
        return loaded

    def _start_thread(self) -> None:
        ready = threading.Event()
        self._thread = threading.Thread(target=lambda: uvloop.run(self._play(ready)), daemon=True, name="fake provider")
        self._thread.start()
        ready.wait(_PATIENCE)
        if self._error is not None:
            raise self._error

    async def _play(self, ready: threading.Event) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        try:
            runner, _, self.port = await start(self._script, self.port)
        except OSError as error:
            self._error = port_taken(self.port, error)
            return
        finally:
            ready.set()
        await self._stop.wait()
        await runner.cleanup()

    def _start_process(self) -> None:
        if isinstance(self._source, Script):
            raise UsageError("a process of its own plays the mapping or the file of a script, not a Script")
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        port_file = folder / "port"
        command = [sys.executable, "-m", "pipeline.llm.fake", "--port", str(self.port), "--port-file", str(port_file)]
        if isinstance(self._source, Mapping):
            script = folder / "script.json"
            script.write_text(json.dumps(self._source), encoding="utf-8")
            command += ["--script", str(script)]
        elif self._source is not None:
            command += ["--script", str(Path(str(self._source)).resolve())]
        root = Path(__file__).parents[3]
        said = folder / "said"
        with said.open("wb") as log:  # a pipe that nobody reads would one day be full
            self._process = subprocess.Popen(command, cwd=root, stdout=subprocess.DEVNULL, stderr=log)
        deadline = time.monotonic() + _PATIENCE
        while not port_file.exists():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._process.kill()
                self._process.wait()
                told = said.read_text(encoding="utf-8", errors="replace").strip()
                raise ModelError(f"the fake provider did not start: {told or 'it said nothing'}")
            time.sleep(0.01)
        self.port = int(port_file.read_text())


def _script(source: Script | Mapping[str, Any] | Path | str | None) -> Script:
    if isinstance(source, Script):
        return source
    return parse_script(dict(source)) if isinstance(source, Mapping) else load_script(source)


def port_taken(port: int, error: OSError) -> UsageError:
    """The error of a port on which nobody can listen."""
    return UsageError(f"the fake provider cannot listen on port {port}: {error.strerror}", "--port 0 takes a free one")
