"""What the workers of a host have seen of servers, in a file that outlives them."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

from orchestrator.checkpointer.redis.epochs import Known
from orchestrator.config import Settings

__all__ = ["EpochFile"]

_log = logging.getLogger(__name__)
_KEEP_S = 1.0  # Between two writes.
_EPOCHS_MAX = 1_000  # That it remembers; those not seen for longest are forgotten.


class EpochFile:
    """The greatest mark of each epoch that was seen from this host.

    It is one file for all deployments: epochs are found by their ids wherever they are, so a copy
    that is put on another machine is known, too.
    """

    def __init__(self, folder: Path, settings: Settings) -> None:
        """Keep it in `folder`, which is made if it is missing.

        Where nothing can be kept the log says so, and what each process sees itself must do.
        """
        self._path, self._lock = folder / "epochs.json", folder / "epochs.lock"
        parts = urlsplit(settings.url)
        self._place = (
            f"{parts.hostname}:{parts.port}{parts.path}"  # By which an emptied one is noticed.
        )
        self._marks: dict[str, int] = {}  # Epoch → the greatest mark that this process has seen.
        self._places: dict[str, str] = {}  # Address and partition → its epoch.
        self._kept_s = float("-inf")
        self._works = True

    def find(self, prefix: str, current: str) -> Known:
        """Return what is known of the partition whose epoch is `current`."""
        marks, places = self._read()
        if current in marks:
            return Known(current, marks[current])
        before = places.get(f"{self._place} {prefix}", "")
        return Known(before, marks.get(before, 0), seen=False)

    def saw(self, prefix: str, epoch: str, mark_ms: int) -> None:
        """Remember what was seen; it is written about once a second."""
        place = f"{self._place} {prefix}"
        urgent = self._places.get(place) != epoch
        self._places[place] = epoch
        self._marks[epoch] = max(mark_ms, self._marks.get(epoch, 0))
        if urgent or time.monotonic() - self._kept_s > _KEEP_S:
            self._kept_s = time.monotonic()
            self._safely(self._write)

    def _safely(self, change: Callable[[], None]) -> None:
        """Do something to the files, while no other process of this host does."""
        if not self._works:
            return
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._lock.open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                change()
        except OSError as error:
            self._works = False
            what = "what was seen of the server is not kept (%s): set GRAPHSTALK_STATE_DIR"
            _log.warning(what, error)

    def _write(self) -> None:
        marks, places = self._read()
        for seen, mark in self._marks.items():
            marks[seen] = max(mark, marks.get(seen, 0))
        newest = sorted(marks, key=lambda epoch: marks[epoch])[-_EPOCHS_MAX:]
        kept = {epoch: marks[epoch] for epoch in newest}
        places = {at: e for at, e in {**places, **self._places}.items() if e in kept}
        draft = self._path.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps({"marks": kept, "places": places}), "utf-8")
        draft.replace(self._path)

    def _read(self) -> tuple[dict[str, int], dict[str, str]]:
        """Return what is kept; nothing if there is no file, or one that makes no sense."""
        try:
            content = json.loads(self._path.read_text("utf-8"))
            marks = {str(epoch): int(mark) for epoch, mark in content["marks"].items()}
            places = {str(at): str(epoch) for at, epoch in content["places"].items()}
        except (OSError, ValueError, AttributeError, TypeError, KeyError):
            return {}, {}
        return marks, places
