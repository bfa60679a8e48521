"""The thread that writes a process's shards of the ledger, in groups that grow with the load."""

import queue
import threading
from collections import deque

from pipeline.llm.shard import Shard, Write

_GROUP = 512


class Scribe:
    """Commits a shard's writes, then those of the shard that has waited longest, whatever has come meanwhile included.

    A round over the shards takes as long as the disk needs to flush them one after the other. That is what makes
    groups: a thread for each shard would flush at once whatever single write has come, and a commit of one write costs
    as much as one of five. So the work per call falls as the load rises, and a call alone waits for its own flush only.
    One thread has time for twenty thousand calls a second; a second one only makes the groups smaller.
    """

    def __init__(self, name: str) -> None:
        self._queue: queue.SimpleQueue[tuple[Shard, Write] | None] = queue.SimpleQueue()
        self._waiting: dict[Shard, deque[Write]] = {}  # in the order in which their first writes came
        self._ending = False
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
        while True:
            self._take_in()
            if not self._waiting:
                return
            shard = next(iter(self._waiting))
            writes = self._waiting.pop(shard)
            shard.commit([writes.popleft() for _ in range(min(len(writes), _GROUP))])
            if writes:
                self._waiting[shard] = writes

    def _take_in(self) -> None:
        """Sort in all that has come; wait for something when there is nothing to write, unless it is to end."""
        while not self._ending:
            try:
                item = self._queue.get(block=not self._waiting)
            except queue.Empty:
                return
            if item is None:
                self._ending = True
            else:
                self._waiting.setdefault(item[0], deque()).append(item[1])
