"""What is stored of the values that a superstep changed: of a list that grew, what was added.

Pure. How a list came to grow does not matter: a reducer that appends, one that merges and happens
to change nothing before, or a node that returns the old list with more behind it. (INV-11)
"""

from __future__ import annotations

from typing import Any

from orchestrator import limits
from orchestrator.engine.advance import Next
from orchestrator.engine.records import Records
from orchestrator.engine.values import encoded_in
from orchestrator.errors import UnserializableValueError
from orchestrator.frozen import frozen
from orchestrator.model.checkpoint import Checkpoint, blob_key
from orchestrator.model.tails import Encoded, joined, tail_of, whole


@frozen(kw_only=False)
class Kept:
    """The values that a new checkpoint brings.

    Attributes:
        blobs: by name.
        continued: the tails among them → the names of the values that they continue.
        tails: key of the state → how many tails its value has in the new checkpoint.
    """

    blobs: dict[str, bytes]
    continued: dict[str, str]
    tails: dict[str, int]


def kept_values(records: Records, following: Next, untracked: frozenset[str]) -> Kept:
    """Return what is stored of a superstep's new values.

    Raises:
        UnserializableValueError: if one cannot be stored.
    """
    checkpoint, before = following.checkpoint, following.before
    kept = Kept({}, {}, _unchanged(following) if checkpoint.tails else {})
    for key, value in following.changed.items():
        if key in untracked:
            continue
        try:
            data = records.encode(value)
        except UnserializableValueError:
            records.check(f"the value of {key!r}", value)  # Its error names the value.
            raise
        if type(value) is list and len(data) > limits.LIST_WHOLE_BYTES_MAX:
            stored = encoded_in(before, key)
            tail = tail_of(whole(stored[1]), data) if stored else None
            if stored and tail and _keep_tail(kept, checkpoint, key, stored, tail):
                continue
        kept.blobs[blob_key(checkpoint.ns, key, checkpoint.id)] = data
    for key, items in following.appended.items():
        stored, tail = encoded_in(before, key), _encoded(records, following, key, items)
        assert stored is not None
        if not _keep_tail(kept, checkpoint, key, stored, tail):
            name = blob_key(checkpoint.ns, key, checkpoint.id)
            kept.blobs[name] = joined((whole(stored[1]), tail))
    return kept


def _unchanged(following: Next) -> dict[str, int]:
    checkpoint, news = following.checkpoint, following.news
    held = checkpoint.versions.keys() - news
    return {key: count for key, count in checkpoint.tails.items() if key in held}


def _encoded(records: Records, following: Next, key: str, items: list[Any]) -> bytes:
    try:
        return records.encode(items)
    except UnserializableValueError:
        records.check(f"the value of {key!r}", following.values[key])  # Names the place in it.
        raise


def _keep_tail(
    kept: Kept, checkpoint: Checkpoint, key: str, stored: tuple[str, Encoded], tail: bytes
) -> bool:
    """Keep the tail of a list, if the list is long enough for that."""
    before, list_ = stored
    count = checkpoint.tails.get(key, 0)
    if len(list_) <= max(limits.LIST_WHOLE_BYTES_MAX, limits.TAIL_BYTES_MIN * count):
        return False
    name = blob_key(checkpoint.ns, key, checkpoint.id)
    kept.blobs[name], kept.continued[name], kept.tails[key] = tail, before, count + 1
    return True
