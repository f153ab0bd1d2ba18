"""A lock on object storage: one small object that lists its holders, changed by conditional writes only.

A holder renews its entry while it has the lock; one that was silent for `SILENT` seconds (a machine that died) may be put out by
the next one that wants it. All times are the storage's own clock, so clocks of machines that differ do no harm. A process that
was stopped for so long and wakes does not know that it was put out: so it asks `check` before it commits anything, and what must
never happen twice is kept from it by conditional writes of its own (see `Mirror.publish`).
"""

import json
import os
import random
import socket
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from threading import Event, Thread
from uuid import uuid4

from data_contracts.errors import BusyError, StorageError
from data_contracts.sharing.bucket import Bucket

SILENT = 90.0
"""Seconds without a sign of life after which a holder counts as dead."""
MARGIN = 15.0
"""Seconds before that from which on a holder no longer trusts its own lock."""


@dataclass(frozen=True)
class Holder:
    """Who has the lock."""

    id: str
    who: str
    since: str
    shared: bool
    until: float
    """When it counts as dead, by the storage's clock."""


class Lease:
    """One process's wish for a lock, and its hold on it."""

    def __init__(self, bucket: Bucket, key: str, *, shared: bool, silent: float = SILENT) -> None:
        self._bucket, self._key, self._silent = bucket, key, silent
        who = f"{socket.gethostname()} process {os.getpid()}"
        self._me = Holder(uuid4().hex, who, datetime.now(UTC).isoformat(timespec="seconds"), shared, 0.0)
        self._good_until = 0.0

    @contextmanager
    def held(self, *, wait: bool) -> Iterator[None]:
        """Have the lock while the block runs; a `BusyError` where others have it and none waits."""
        self._take(wait=wait)
        over = Event()
        beat = Thread(target=self._renew, args=(over,), daemon=True)
        beat.start()
        try:
            yield
        finally:
            over.set()
            beat.join()
            with suppress(StorageError):  # an entry that cannot be taken out falls silent by itself
                self._put(None)

    def check(self) -> None:
        """A `StorageError` when the lock may have been lost."""
        if time.monotonic() > self._good_until - min(MARGIN, self._silent / 2):
            what = f"the lock {self._key} could not be renewed for {self._silent:.0f} s and may be another's by now; nothing was committed"
            raise StorageError(what, where=self._bucket.url, remedy="run again; what was made before is kept")

    def _take(self, *, wait: bool) -> None:
        told = ""
        while (other := self._put(self._silent)) is not None:
            what = f"{other.who} has the lock {self._key} since {other.since}"
            if not wait:
                remedy = f"wait for its end; if it was killed, its lock is free {self._silent:.0f} s after"
                raise BusyError(f"others are at work on this store: {what}", where=self._bucket.url, remedy=remedy)
            if other.id != told:
                told = other.id
                print(f"overnight: waiting: {what} on {self._bucket.url}", file=sys.stderr, flush=True)
            time.sleep(min(self._silent / 20, 3.0) * random.uniform(0.5, 1.0))  # noqa: S311

    def _renew(self, over: Event) -> None:
        while not over.wait(self._silent / 5):
            with suppress(StorageError):  # the next beat tries again; `check` tells when it has been too long
                if self._put(self._silent, only_if_held=True) is not None:
                    self._good_until = 0.0
                    return

    def _put(self, seconds: float | None, *, only_if_held: bool = False) -> Holder | None:
        """Enter or renew this holder's entry, or take it out (None seconds); gives the holder that stands in the way, or None when done."""
        while True:
            began = time.monotonic()
            look, data = self._bucket.look_and_read(self._key)
            holders = [Holder(**entry) for entry in json.loads(data or b"[]")]
            held = any(holder.id == self._me.id for holder in holders)
            if only_if_held and not held:
                return self._me  # it was put out
            others = [holder for holder in holders if holder.id != self._me.id and holder.until > look.now]
            in_the_way = [other for other in others if not (other.shared and self._me.shared)]
            if seconds is not None and not held and in_the_way:
                return in_the_way[0]
            mine = [] if seconds is None else [replace(self._me, until=look.now + seconds)]
            text = json.dumps([asdict(holder) for holder in [*others, *mine]]).encode()
            if self._bucket.swap(self._key, text, look.version) is not None:
                self._good_until = began + (seconds or 0.0)
                return None
            time.sleep(random.uniform(0.01, 0.2))  # noqa: S311
