"""The thread that writes a process's shards of the ledger, in groups that grow with the load."""

import queue
import threading
from collections.abc import Sequence

from pipeline.llm.shard import Shard, Write

_GROUP = 512


class Scribe:
    """Commits whatever has come, shard by shard; whatever comes meanwhile goes into the next round.

    A round takes as long as the disk needs to flush its shards one after the other. That is what makes groups: a
    thread for each shard would flush at once whatever single write has come, and a commit of one write costs as much
    as one of five. So the work per call falls as the load rises, and a call alone waits for its own flush only.
    One thread has time for twenty thousand calls a second; a second one only makes the groups smaller.
    """

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[Shard, Write] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._loop, daemon=True, name=name)
        self._thread.start()

    def put(self, shard: Shard, write: Write) -> None:
        """Have it written; its `done` is called from this thread."""
        self._queue.put((shard, write))

    def close(self) -> None:
        """Write what has been put, then end."""
        self._queue.put(None)
        self._thread.join()

    def _loop(self) -> None:
        ending = False
        while not ending:
            items = self._waiting()
            ending = items[-1] is None
            groups: dict[Shard, list[Write]] = {}
            for item in items:
                if item is not None:
                    groups.setdefault(item[0], []).append(item[1])
            for shard, group in groups.items():
                shard.commit(group)

    def _waiting(self) -> Sequence[tuple[Shard, Write] | None]:
        """At least one item; None, which ends it all, can only be the last."""
        items = [self._queue.get()]
        while items[-1] is not None and len(items) < _GROUP:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                break
        return items
