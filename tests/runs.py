"""Running the command line as a user does, and comparing what two runs wrote."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Mapping
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
