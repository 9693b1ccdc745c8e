"""Deleting threads, and what of a thread is not its head, inside a transaction."""

from __future__ import annotations

import sqlite3
from functools import partial

from orchestrator.checkpoint.commit import Refusal
from orchestrator.checkpoint.model import RunStatus
from orchestrator.checkpointer.sqlite import reading
from orchestrator.checkpointer.sqlite.committing import find_head, is_held
from orchestrator.checkpointer.sqlite.packing import text, to_text
from orchestrator.checkpointer.sqlite.rows import HeadFields
from orchestrator.checkpointer.sqlite.statements import statements
from orchestrator.checkpointer.values import found_values
from orchestrator.ids import CHILD
from orchestrator.seal import needs

__all__ = ["children", "delete"]

_SQL = statements("deleting")
_ALL = [name for name in _SQL if name.startswith("delete_") and name != "delete_blob"]
_AFTER_CHILD = chr(ord(CHILD) + 1)


def children(connection: sqlite3.Connection, thread_id: str) -> list[str]:
    """Return the ids of the child threads of a root thread, in order."""
    bounds = to_text(thread_id + CHILD), to_text(thread_id + _AFTER_CHILD)
    return [text(name) for (name,) in connection.execute(_SQL["children"], bounds)]


def delete(
    connection: sqlite3.Connection, thread_id: str, now: int, *, keep_head: bool
) -> Refusal | None:
    """Delete a thread with its child threads, or what is not its head; or refuse."""
    number, head = _number(connection, thread_id), find_head(connection, thread_id)
    if number is None:
        return Refusal.UNKNOWN_THREAD
    if is_held(connection, thread_id, now) or (head and _is_busy(connection, head, now)):
        return Refusal.WRONG_STATUS
    if keep_head and head is not None:
        _delete_history(connection, thread_id, head)
    if keep_head:
        return None
    for name in (thread_id, *children(connection, thread_id)):
        thread = (_number(connection, name),)
        connection.execute(_SQL["raise_floor"], thread)
        for statement in _ALL:
            connection.execute(_SQL[statement], thread)
    return None


def _number(connection: sqlite3.Connection, thread_id: str) -> int | None:
    row = connection.execute(_SQL["number"], (to_text(thread_id),)).fetchone()
    return row[0] if row else None


def _is_busy(connection: sqlite3.Connection, head: HeadFields, now: int) -> bool:
    """Return whether a thread has a run that is active, or one in line."""
    thread = (head["thread"],)
    if connection.execute(reading.SQL["line"], thread).fetchone() is not None:
        return True
    if head["status"] not in {RunStatus.QUEUED, RunStatus.RUNNING}:  # It may be damaged.
        return False
    claimed = connection.execute(_SQL["any_claim"], thread).fetchone() is not None
    return not head["local"] or claimed or reading.is_alive(connection, head["owner"], now)


def _delete_history(connection: sqlite3.Connection, thread_id: str, head: HeadFields) -> None:
    plan = (head["thread"], head["checkpoint_id"])
    connection.execute(_SQL["other_checkpoints"], plan)
    connection.execute(_SQL["other_steps"], plan)
    stored = reading.find_checkpoint(connection, *plan)
    assert stored is not None
    steps = reading.steps(connection, thread_id, *plan).values()
    outcomes = (outcome for _, outcome in connection.execute(reading.SQL["outcomes"], plan))
    named = [name for record in (stored.header, *outcomes) for name in needs(record)]
    args = [step.step.arg for step in steps if step.step.arg]
    find = partial(reading.blob, connection, head["thread"])
    kept = found_values(find, (*stored.refs, *args, *named))
    for (name,) in connection.execute(_SQL["blob_names"], plan[:1]).fetchall():
        if text(name) not in kept:
            connection.execute(_SQL["delete_blob"], (head["thread"], name))
