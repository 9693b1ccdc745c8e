"""What a caller may leave out or pass in, at every place: modes, ids, types of values."""

from __future__ import annotations

import enum
import uuid
from typing import Any

import pytest

from tests.semantics.places import Place, apart


def test_a_stream_without_a_mode_shows_what_each_node_returned(place: Place) -> None:
    graph = place.graph("plain")
    shown = list(graph.stream({"witness": place.witness}, place.thread))
    assert shown == [{"work": {"log": ["work"]}}, {"after": {"log": ["after"]}}]


GIVEN = {
    "int": lambda thread: uuid.uuid5(uuid.NAMESPACE_OID, thread).int % 10**9,
    "uuid": lambda thread: uuid.uuid5(uuid.NAMESPACE_OID, thread),
    "enum": lambda thread: enum.Enum("Name", {"ONE": thread}, type=str).ONE,
}


@pytest.mark.parametrize("type_", GIVEN)
def test_a_thread_is_found_by_its_id_and_by_the_text_of_its_id(place: Place, type_: str) -> None:
    given: Any = GIVEN[type_](f"{place.kind}-{place.thread}")
    text = given.value if isinstance(given, enum.Enum) else str(given)
    graph = place.graph("asks_late")
    long = {"configurable": {"thread_id": given}}
    before = graph.get_state(long)
    graph.invoke({"witness": place.witness}, long)
    for config in (long, {"thread_id": given}, given, text):
        snapshot = graph.get_state(config)
        assert snapshot.values["log"] == ["work"]
        assert snapshot.config["configurable"]["thread_id"] == text
    assert before.values == {}
    assert [one.next for one in graph.get_state_history(given)][-1] == ("__start__",)


@pytest.mark.parametrize("kind", apart("fleet"))
def test_a_client_takes_the_same_ids(place: Place) -> None:
    client, thread = place.fleet.client, uuid.uuid4()
    handle = client.submit("asks", {"witness": place.witness}, thread_id=thread)
    assert handle.thread_id == str(thread)
    place.wait_until(lambda: client.status(thread) == "paused", "it asks")
    (question,) = client.questions(thread)
    assert client.explain(thread).thread_id == str(thread)
    assert client.handle(thread).run_id == handle.run_id
    assert client.get_state(thread).values == client.get_state(str(thread)).values
    assert next(client.history(thread)).next == ("ask",)
    assert client.events(thread) == client.events(str(thread))
    assert list(client.stream(thread))
    assert client.resume(thread, "yes", interrupt_id=question).thread_id == str(thread)
    place.open("work")
    assert client.result(thread, 30)["log"] == ["work", "yes", "work"]
    assert client.cancel(thread) is False
    assert client.carry_on(thread).thread_id == str(thread)
