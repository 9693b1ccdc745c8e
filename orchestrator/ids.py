"""The names of everything: checkpoints, steps, threads, runs, owners.

Rule 1: a checkpoint id orders by succession, not by clock: max(parent + 1, now).
Rule 2: a step id is a function of the step's place in the graph and in time, so that any
        process computes the same one. Together with the thread id it is the idempotency key.
Rule 3: ids that come from outside are data: bounded, printable, never part of a script's text.
"""

from __future__ import annotations

import binascii
import hashlib
import uuid
from collections.abc import Mapping
from numbers import Number

from orchestrator import limits
from orchestrator.errors import InvalidThreadIdError

__all__ = [
    "CHILD",
    "QUEUE_RULE",
    "ThreadId",
    "below",
    "check_key",
    "check_stored_thread_id",
    "check_thread_id",
    "checkpoint_text",
    "child_thread",
    "hex_bytes",
    "is_queue",
    "mint_checkpoint_id",
    "new_uuid",
    "parse_checkpoint_id",
    "partition_of",
    "root_thread",
    "short_hash",
    "shown_thread",
    "step_id",
]


ThreadId = str | int | uuid.UUID  # The types of a caller's thread id; see `check_thread_id`.
CHILD = "\x1f"  # Between a thread and a namespace; no id that a caller gives can hold it.


def mint_checkpoint_id(newest: int, now_ms: int) -> int:
    """Return an id greater than `newest`, close to microseconds since the epoch.

    Two microsecond counters an hour apart still give ids that follow each other: the clock only
    makes ids readable, succession makes them correct.
    """
    return max(newest + 1, now_ms * 1000)


def checkpoint_text(checkpoint_id: int) -> str:
    """Return the public form of a checkpoint id: 16 hex digits, which sort like the number."""
    return f"{checkpoint_id:016x}"


def parse_checkpoint_id(text: str) -> int:
    """Return the number behind a public checkpoint id.

    Raises:
        ValueError: if it is not one.
    """
    try:
        if len(text) == 16:
            return int(text, 16)
    except ValueError:
        pass
    msg = f"{text!r} is not a checkpoint id: expected 16 hexadecimal digits"
    raise ValueError(msg)


def short_hash(*parts: str | int) -> str:
    """Return 32 hex digits that identify `parts`, in this order and with these borders."""
    text = "\x00".join(map(str, parts))
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).hexdigest()


def step_id(checkpoint_id: int, ns: str, node: str, index: int) -> str:
    """Return the id of the step of `node` planned by that checkpoint (index -1: by an edge)."""
    return short_hash(checkpoint_id, ns, node, index)


def hex_bytes(text: object) -> bytes | None:
    """Return the bytes that the digits of an id mean; `None` if it is anything else."""
    if not isinstance(text, str):
        return None
    try:
        made = bytes.fromhex(text)
    except ValueError:
        return None
    return made if made.hex() == text else None


def new_uuid() -> str:
    """Return a random id for a thread or a run."""
    return str(uuid.uuid4())


def child_thread(root: str, ns: str) -> str:
    """Return the id of the thread on which the subgraph of a namespace runs."""
    return f"{root}{CHILD}{ns}" if ns else root


def root_thread(thread_id: str) -> tuple[str, str]:
    """Return the thread that a caller named, and the namespace below it ("": itself)."""
    root, _, ns = thread_id.partition(CHILD)
    return root, ns


def shown_thread(thread_id: str) -> str:
    """Return an id as people read it: `thread / namespace` for the thread of a subgraph."""
    return thread_id.replace(CHILD, " / ")


def below(thread_id: str) -> Mapping[str, str]:
    """Return the field that marks the events of a subgraph, unlike those of the graph around it."""
    _, ns = root_thread(thread_id)
    return {"ns": ns} if ns else {}


def partition_of(thread_id: str, partitions: int) -> int:
    """Return the partition of a thread: crc16 (XMODEM, as Redis Cluster) modulo their number.

    The threads of its subgraphs lie in the same one.
    """
    root, _ = root_thread(thread_id)
    return binascii.crc_hqx(root.encode("utf-8", "surrogatepass"), 0) % partitions


def check_thread_id(thread_id: object) -> str:
    """Return the text of `thread_id` if it can name a thread.

    As in LangGraph, a number, a UUID or another value with a text of its own names the thread of
    that text: 7 and "7" are the same thread.

    Raises:
        InvalidThreadIdError: if it has no such text, or the text is empty, too long or not
            printable.
    """
    text = thread_id if isinstance(thread_id, str) else _own_text(thread_id)
    return _check(text, "thread id", limits.THREAD_ID_CHARS_MAX)


def check_stored_thread_id(thread_id: object) -> str:
    """Return `thread_id` if it can name a thread or the thread of a subgraph.

    Raises:
        InvalidThreadIdError: if it cannot.
    """
    if not isinstance(thread_id, str):
        return _check(thread_id, "thread id", limits.THREAD_ID_CHARS_MAX)
    if CHILD not in thread_id:
        return check_thread_id(thread_id)
    root, ns = root_thread(thread_id)
    _check(ns, "namespace", limits.NAMESPACE_CHARS_MAX)
    return child_thread(check_thread_id(root), ns)


def check_key(key: object) -> str:
    """Return `key` if it can serve as an idempotency key.

    Raises:
        InvalidThreadIdError: as `check_thread_id`.
    """
    return _check(key, "idempotency key", limits.KEY_CHARS_MAX)


QUEUE_RULE = (
    f"queue must be a text of 1 to {limits.KEY_CHARS_MAX} printable characters without spaces and "
    f"commas, which workers take from with --queues"
)


def is_queue(name: object) -> bool:
    """Return whether a queue may have a name."""
    return (
        isinstance(name, str)
        and 0 < len(name) <= limits.KEY_CHARS_MAX
        and name.isprintable()
        and not any(char in name for char in " ,")
    )


def _own_text(value: object) -> str:
    """Return the text of a value that is no string.

    Raises:
        InvalidThreadIdError: if its text only describes it, as that of a list or of bytes, or
            names its place in memory.
    """
    cls = type(value)
    own = isinstance(value, Number) or cls.__str__ is not object.__str__
    if value is None or isinstance(value, (bytes, bytearray)) or not own:
        msg = (
            f"a thread id must be a string, or a number, a UUID or another value with a text of "
            f"its own ({cls.__name__}: {value!r:.80}): pass a string"
        )
        raise InvalidThreadIdError(msg)
    try:
        return str(value)
    except Exception as error:
        msg = f"a thread id must have a text ({cls.__name__}): {error}"
        raise InvalidThreadIdError(msg) from error


def _check(text: object, what: str, chars_max: int) -> str:
    if not isinstance(text, str):
        msg = f"a {what} must be a string ({type(text).__name__}: {text!r:.80})"
        raise InvalidThreadIdError(msg)
    text = str.__str__(text)  # Of a subclass, as an enum's member: what it is equal to.
    if not text:
        msg = f"the {what} is empty: give one to find the run again"
        raise InvalidThreadIdError(msg)
    if len(text) > chars_max:
        msg = f"the {what} has {len(text)} characters, at most {chars_max} may be: {text[:40]!r}…"
        raise InvalidThreadIdError(msg)
    if not text.isprintable():
        msg = f"the {what} {text[:40]!r} holds control or unprintable characters"
        raise InvalidThreadIdError(msg)
    return text
