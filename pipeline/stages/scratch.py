"""A place for what is only needed while a stage runs."""

import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pipeline.stage import Tools


@contextmanager
def scratch(tools: Tools) -> Iterator[Path]:
    """A folder beside the run's, where all its workers see it; gone at the end."""
    if tools.folder is None:
        with tempfile.TemporaryDirectory(prefix="seedmill-") as temporary:
            yield Path(temporary)
        return
    place = tools.folder.with_name(f".{tools.folder.name}.scratch")
    shutil.rmtree(place, ignore_errors=True)  # left by a run that was killed
    place.mkdir(parents=True)
    try:
        yield place
    finally:
        shutil.rmtree(place, ignore_errors=True)
