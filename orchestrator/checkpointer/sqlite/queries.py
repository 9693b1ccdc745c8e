"""Reading threads, checkpoints and events, inside a transaction."""

from __future__ import annotations

import sqlite3
from functools import partial

from orchestrator.checkpointer.sqlite.database import statements
from orchestrator.checkpointer.sqlite.rows import (
    HeadRow,
    StepRow,
    head_row,
    text,
    to_text,
    unpack_fields,
    unpack_names,
)
from orchestrator.envelope.list_tails import found_values, named_values
from orchestrator.envelope.sealed_records import readable
from orchestrator.model.checkpoint import Head, RunStatus
from orchestrator.model.commit import Event, LoadedStep, LoadedThread, StoredCheckpoint

SQL = statements("reads")
_MAX = 2**63 - 1  # The greatest number there is in SQLite; ids from outside may be greater.


def load(
    connection: sqlite3.Connection,
    thread_id: str,
    checkpoint_id: int | None,
    *,
    values: bool,
    now: int,
) -> tuple[LoadedThread, dict[str, bytes]] | None:
    """Return a thread at its head or at another checkpoint, and the values that outcomes name.

    `None` if there is none.
    """
    found = head(connection, thread_id)
    if found is None:
        return None
    number, newest = found.fields["thread"], found.fields["checkpoint_id"]
    wanted = newest if checkpoint_id is None else checkpoint_id
    stored = find_checkpoint(connection, number, wanted)
    if stored is None and checkpoint_id is None:
        raise LookupError("the head names a checkpoint that is not there")
    if stored is None:
        return None
    plan = (number, wanted)
    planned = steps(connection, thread_id, *plan) if wanted == newest else {}
    args = [step.step.arg for step in planned.values() if step.step.arg]
    outcomes = dict(connection.execute(SQL["outcomes"], plan).fetchall())
    find = partial(blob, connection, number)
    loaded = LoadedThread(
        head=found.head(thread_id),
        checkpoint=stored,
        blobs=found_values(find, (*stored.refs, *args) if values else ()),
        steps=planned,
        outcomes={text(step_id): outcome for step_id, outcome in outcomes.items()},
        line=_line(connection, number),
        owner_alive=is_alive(connection, found.fields["owner"], now),
        seq=found.fields["seq"],
        now_ms=now,
    )
    return loaded, named_values(find, outcomes.values())


def _line(connection: sqlite3.Connection, thread: int) -> dict[str, bytes]:
    """Return the runs that wait, first first."""
    return {text(run_id): begins for run_id, begins in connection.execute(SQL["line"], (thread,))}


def is_alive(connection: sqlite3.Connection, owner: str | bytes, now: int) -> bool:
    """Return whether a process has a lease that has not run out."""
    row = connection.execute(SQL["lease"], (owner,)).fetchone() if owner else None
    return row is not None and row[0] >= now


def head(connection: sqlite3.Connection, thread_id: str) -> HeadRow | None:
    """Return the head of a thread."""
    row = connection.execute(SQL["head"], (to_text(thread_id),)).fetchone()
    return head_row(row) if row else None


def find_checkpoint(
    connection: sqlite3.Connection, thread: int, checkpoint_id: int
) -> StoredCheckpoint | None:
    """Return a checkpoint as it is stored; `None` if there is none."""
    key = (thread, min(checkpoint_id, _MAX))
    row = connection.execute(SQL["checkpoint"], key).fetchone()
    if row is None:
        return None
    ns, header_, plan, refs = row
    return StoredCheckpoint(
        id=checkpoint_id, ns=text(ns), header=header_, plan=plan, refs=unpack_names(refs)
    )


def steps(
    connection: sqlite3.Connection, thread_id: str, thread: int, plan: int
) -> dict[str, LoadedStep]:
    """Return the steps of a plan, by id."""
    asks: dict[str, dict[str, bytes]] = {}
    answers: dict[str, dict[str, bytes]] = {}
    for step, name, ask, answer in connection.execute(SQL["questions"], (thread, plan)):
        asks.setdefault(step, {})[text(name)] = ask
        if answer is not None:
            answers.setdefault(step, {})[text(name)] = answer
    notes: dict[str, dict[str, bytes]] = {}
    for step, name, value in connection.execute(SQL["notes"], (thread, plan)):
        notes.setdefault(step, {})[text(name)] = value
    rows = map(StepRow._make, connection.execute(SQL["steps"], (thread, plan)))
    return {
        text(row.id): row.loaded(
            thread_id,
            asks=asks.get(row.id, {}),
            answers=answers.get(row.id, {}),
            notes=notes.get(row.id, {}),
        )
        for row in rows
    }


def blob(connection: sqlite3.Connection, thread: int, name: str) -> bytes | None:
    """Return the value kept under a name, if there is one."""
    row = connection.execute(SQL["blob"], (thread, to_text(name))).fetchone()
    return row[0] if row is not None else None


def header(connection: sqlite3.Connection, thread: int, plan: int) -> tuple[bytes, tuple[str, ...]]:
    """Return a checkpoint's header and the names of its values."""
    header_, refs = connection.execute(SQL["header"], (thread, plan)).fetchone()
    return header_, unpack_names(refs)


def history(
    connection: sqlite3.Connection, thread_id: str, before: int | None, limit: int
) -> list[int]:
    """Return checkpoint ids below `before`, newest first."""
    below = _MAX if before is None else min(before, _MAX)
    found = connection.execute(SQL["history"], (to_text(thread_id), below, limit))
    return [id_ for (id_,) in found]


def threads(
    connection: sqlite3.Connection, status: RunStatus | None, limit: int
) -> list[tuple[str, Head]]:
    """Return threads, the latest changed first."""
    if status is None:
        found = connection.execute(SQL["threads"], (limit,))
    else:
        found = connection.execute(SQL["threads_of_status"], (status.value, limit))
    rows = ((text(name), row) for name, *row in found)
    return list(readable(rows, lambda name, row: head_row(row).head(name)))


def events(connection: sqlite3.Connection, thread_id: str, after: int, limit: int) -> list[Event]:
    """Return events after number `after`."""
    found = connection.execute(SQL["events"], (to_text(thread_id), min(after, _MAX), limit))
    return [
        Event(seq, ts_ms, text(type_), unpack_fields(fields)) for seq, ts_ms, type_, fields in found
    ]


def stat(connection: sqlite3.Connection, name: str) -> int:
    """Return a counter."""
    found = connection.execute(SQL["stat"], (name,)).fetchone()
    return int(found[0]) if found else 0
