"""Running the command line as a user does, and comparing what two runs wrote."""

import contextlib
import hashlib
import io
import os
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path

from pipeline.__main__ import main

ROOT = Path(__file__).parent.parent
RECIPES = Path(__file__).parent / "recipes"

UNSET = ("LLM_BASE_URL", "LLM_MODEL", "LLM_API_KEY", "OPENAI_API_KEY", "LOCAL_MODEL", "LEDGER", "RAY_ADDRESS")


def environment(**changes: str) -> dict[str, str]:
    """This process's environment without any model settings, and with the given changes."""
    return {k: v for k, v in os.environ.items() if k not in UNSET} | changes


def seedmill(
    *arguments: object, env: Mapping[str, str] | None = None, cwd: Path = ROOT, timeout: float = 240
) -> subprocess.CompletedProcess[str]:
    """Run one command to its end: in this process, where all is imported by now, or for Ray in one of its own."""
    words = [*map(str, arguments)]
    if "ray" in words or (words[0] in ("run", "submit") and "local" not in words):
        command = [sys.executable, "-m", "pipeline", *words]
        return subprocess.run(
            command, capture_output=True, text=True, env=env or environment(), timeout=timeout, cwd=cwd
        )
    out, err = io.TextIOWrapper(io.BytesIO(), "utf-8"), io.TextIOWrapper(io.BytesIO(), "utf-8")
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(env or environment())
    try:
        with contextlib.chdir(cwd), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = _code(words)
    finally:
        os.environ.clear()
        os.environ.update(before)
    return subprocess.CompletedProcess(words, code, *(_text(said) for said in (out, err)))


def _code(words: list[str]) -> int:
    """The exit code of a command; an error that it lets through is shown as Python does."""
    try:
        return main(words)
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else 1
    except Exception:
        traceback.print_exc()
        return 1


def _text(said: io.TextIOWrapper) -> str:
    said.flush()
    written = said.detach().getvalue()  # type: ignore[attr-defined]
    return str(written, "utf-8")


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
