"""A disk of a few megabytes that a test can fill and empty."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass
class SmallDisk:
    """A mounted tmpfs with a ballast file in it."""

    folder: Path

    @property
    def room(self) -> int:
        """Bytes free."""
        facts = os.statvfs(self.folder)
        return facts.f_bavail * facts.f_bsize

    def leave(self, free: int) -> None:
        """Fill it up but for so many bytes, to a page of 4 KiB."""
        self.empty()
        with (self.folder / "ballast").open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, max(1, self.room - free))

    def empty(self) -> None:
        """Take the ballast away."""
        (self.folder / "ballast").unlink(missing_ok=True)


@contextmanager
def small_disk(folder: Path, size: int) -> Iterator[SmallDisk]:
    """Mount one; skips the test where that is not allowed."""
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "seedmill-test", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"there is no mount command: {error}")
    if done.returncode:
        pytest.skip(f"a tmpfs cannot be mounted here (that needs root): {done.stderr.strip()}")
    try:
        yield SmallDisk(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
