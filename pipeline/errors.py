"""The errors a user can meet, each a sentence with a next step; anything else that escapes is a bug."""

import errno


class SeedmillError(Exception):
    """A foreseeable mistake or failure: shown as one sentence and a hint, never as a traceback."""

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return self.message if self.hint is None else f"{self.message}\nhint: {self.hint}"

    def __reduce__(self) -> tuple[type["SeedmillError"], tuple[str, str | None]]:
        return type(self), (self.message, self.hint)


class UsageError(SeedmillError):
    """The command, recipe or environment asks for something that cannot be done (exit code 2)."""

    exit_code = 2


class DataError(SeedmillError):
    """An input file cannot be read at all (exit code 1); single bad rows are drops instead."""


class ModelError(SeedmillError):
    """A model endpoint refuses us for good: wrong key, wrong model name, no server (exit code 1)."""


class IncompleteError(SeedmillError):
    """What is wanted is not all there: rows without a reply in time, a stop, a budget used up; a re-run goes on (1)."""


_NO_ROOM = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "a file has reached the largest size allowed here (see ulimit -f)",
}


def no_room(error: OSError, place: object) -> SeedmillError | None:
    """The sentence for a file that could not be written for want of room, or None when it was something else."""
    reason = _NO_ROOM.get(error.errno or 0)
    if reason is None:
        return None
    hint = "free some space and run the same command again: what is finished is kept"
    return SeedmillError(f"{place} cannot be written: {reason}", hint)
