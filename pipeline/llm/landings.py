"""Which calls have become durable a short while ago, so that the ledger need not be asked a second time."""

_KEPT = 8192


class Landings:
    """Numbers calls as they become durable and remembers the latest.

    Whoever looks for a call in the ledger, does not find it and then sends it may have been overtaken in between by
    another who sent the same. A mark taken before the look tells: only a call that landed after the mark can be there.
    Nobody else writes the ledger meanwhile, for it is under our lease.
    """

    def __init__(self) -> None:
        self._count = 0
        self._numbers: dict[str, int] = {}

    def mark(self) -> int:
        """How many calls have landed so far; from any thread."""
        return self._count

    def note(self, key: str) -> None:
        """A call is durable; to be told before anybody can take it for absent, that is before its flight ends."""
        self._count += 1
        self._numbers.pop(key, None)  # to the end, where the latest are
        self._numbers[key] = self._count
        if len(self._numbers) > _KEPT:
            del self._numbers[next(iter(self._numbers))]

    def may_hold(self, key: str, mark: int | None) -> bool:
        """Whether the ledger may hold a call that was not there when the mark was taken; None for no mark."""
        if mark is None or self._count - mark >= _KEPT:
            return True
        return self._numbers.get(key, 0) > mark
