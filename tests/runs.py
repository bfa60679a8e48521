"""Running the command line as a user does, and comparing what two runs wrote."""

import hashlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).parent.parent
RECIPES = Path(__file__).parent / "recipes"

UNSET = ("LLM_BASE_URL", "LLM_MODEL", "LLM_API_KEY", "OPENAI_API_KEY", "LOCAL_MODEL", "LEDGER", "RAY_ADDRESS")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without any model settings, and with the given changes."""
    return {k: v for k, v in os.environ.items() if k not in UNSET} | changes


def seedmill(
    *arguments: object, env: Mapping[str, str] | None = None, timeout: float = 240, cwd: Path = ROOT
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end."""
    command = [sys.executable, "-m", "pipeline", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=env or environment(), timeout=timeout, cwd=cwd)


def made_bytes(run_folder: Path) -> dict[str, str]:
    """sha256 of every file whose bytes are promised to be equal: kept, drops and export."""
    files = [
        p
        for p in sorted(run_folder.rglob("*"))
        if p.is_file() and (p.suffix == ".parquet" or "export" in p.relative_to(run_folder).parts) and p.name[0] != "."
    ]
    return {
        p.relative_to(run_folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in files
        if p.name != "manifest.json"
    }


@contextmanager
def fake_provider(folder: Path, script: Path | None = None) -> Iterator[str]:
    """The shipped fake provider in its own process; its base URL."""
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    arguments = ["--port", "0", "--port-file", str(port_file), *(["--script", str(script)] if script else [])]
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.llm.fake", *arguments], cwd=ROOT, stdout=subprocess.DEVNULL, env=environment()
    )
    try:
        deadline = time.monotonic() + 30
        while not (port_file.exists() and port_file.read_text().strip()):
            assert process.poll() is None, "the fake provider did not start"
            assert time.monotonic() < deadline
            time.sleep(0.05)
        yield f"http://127.0.0.1:{int(port_file.read_text())}/v1"
    finally:
        process.kill()
        process.wait()
