"""A damaged entry of a thread's log is told as that, and hides no other."""

from __future__ import annotations

from typing import Any

import pytest

from tests.damage.stored import RedisCells
from tests.damage.test_stored_bytes import builder

pytestmark = pytest.mark.server


@pytest.mark.parametrize(
    "changed",
    [
        {b"n": b"x"},
        {b"ts": b"x"},
        {b"sealed": b"garbage"},
        {b"sealed": b"garbage", b"n": b"9" * 18},
    ],
    ids=["how many", "when", "what", "what and how many"],
)
def test_a_damaged_entry_is_told_and_hides_no_other(
    settings: Any, changed: dict[bytes, bytes]
) -> None:
    stored = RedisCells(settings)
    builder.compile(stored.store).invoke({"log": ["in"]}, "t")
    whole = stored.store.events("t")
    key = f"{stored.store.keys.of_thread('t')[1]}ev"
    entries = stored.client.xrange(key)
    stored.client.delete(key)
    for number, (entry_id, fields) in enumerate(entries):
        stored.client.xadd(key, {**fields, **(changed if number == 1 else {})}, id=entry_id)
    found = stored.store.events("t", limit=100_000)
    assert {"damaged"} == {event.type for event in found if event not in whole}
    assert found[0] == whole[0]
    assert found[-1] == whole[-1]
