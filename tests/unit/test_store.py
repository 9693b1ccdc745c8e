"""What a store promises, on every shelf there is: items, batches and namespaces."""

import asyncio
import datetime as dt

import pytest

from orchestrator.errors import UnserializableValueError
from orchestrator.store import (
    GetOp,
    InvalidNamespaceError,
    ListNamespacesOp,
    MatchCondition,
    PutOp,
    SearchOp,
)
from tests.fixtures.stores import everywhere, places

pytest_plugins = ["tests.fixtures.shelves"]


@pytest.fixture
def store(make_store):
    return make_store()


# ---- items -------------------------------------------------------------------------------------


@everywhere
def test_what_was_put_is_there_with_its_place_and_its_times(store, fake_clock):
    store.put(("users", "1"), "prefs", {"theme": "dark"})
    item = store.get(("users", "1"), "prefs")
    now = dt.datetime.fromtimestamp(fake_clock.now_ms() / 1000, dt.UTC)
    assert item.dict() == {
        "namespace": ["users", "1"],
        "key": "prefs",
        "value": {"theme": "dark"},
        "created_at": now.isoformat(),
        "updated_at": now.isoformat(),
    }


@everywhere
def test_what_is_not_there_is_none(store):
    store.put(("a",), "k", {})
    assert store.get(("a",), "other") is None
    assert store.get(("b",), "k") is None


@everywhere
def test_putting_again_replaces_the_value_and_keeps_the_time_of_creation(store, fake_clock):
    store.put(("a",), "k", {"old": 1})
    created = store.get(("a",), "k").created_at
    fake_clock.sleep(5)
    store.put(("a",), "k", {"new": 1})
    item = store.get(("a",), "k")
    assert item.value == {"new": 1}
    assert (item.created_at, item.updated_at) == (created, created + dt.timedelta(seconds=5))


@everywhere
def test_values_keep_their_types(store):
    value = {"t": (1, [2]), "d": dt.date(2026, 1, 2), "b": b"\x00", "n": None, "f": 0.1, "ü": "☃"}
    store.put(("a",), "k", value)
    loaded = store.get(("a",), "k").value
    assert loaded == value
    assert isinstance(loaded["t"], tuple)


@everywhere
def test_what_a_caller_changes_is_not_changed_in_the_store(store):
    value = {"list": [1]}
    store.put(("a",), "k", value)
    value["list"].append(2)
    store.get(("a",), "k").value["list"].append(3)
    store.search(("a",))[0].value["list"].append(4)
    assert store.get(("a",), "k").value == {"list": [1]}


@everywhere
def test_a_value_that_cannot_be_stored_is_refused_with_the_path_and_nothing_is_changed(store):
    with pytest.raises(UnserializableValueError, match=r"value\['x'\]\[0\] is a builtins.object"):
        store.batch([PutOp(("a",), "good", {}), PutOp(("a",), "bad", {"x": [object()]})])
    assert store.get(("a",), "good") is None


@everywhere
@pytest.mark.parametrize("value", [1, [], {1: 2}])
def test_a_value_that_is_no_dict_of_texts_is_refused(store, value):
    with pytest.raises(TypeError, match=r"must be a dict with texts as keys \('k' in"):
        store.put(("a",), "k", value)


@everywhere
def test_a_deleted_item_is_gone_and_deleting_nothing_is_fine(store):
    store.put(("a",), "k", {})
    store.delete(("a",), "k")
    store.delete(("a",), "k")
    store.delete(("b",), "k")
    assert store.get(("a",), "k") is None
    assert store.search(()) == []
    assert store.list_namespaces() == []


@everywhere
def test_places_that_look_alike_are_told_apart(store):
    for number, place in enumerate([(("a", "b"), "c:d"), (("a",), "b:c:d"), (("a:b",), "c:d")]):
        store.put(*place, {"n": number})
    assert store.get(("a", "b"), "c:d").value == {"n": 0}
    assert store.get(("a",), "b:c:d").value == {"n": 1}
    assert store.get(("a:b",), "c:d").value == {"n": 2}
    assert len(store.search(())) == 3
    assert len(store.search(("a",))) == 2


@everywhere
def test_a_key_may_be_any_text_and_what_is_none_becomes_one(store):
    for key in ("", ".", "a b", "ü☃", 7):
        store.put(("a",), key, {"key": str(key)})
    assert [item.key for item in store.search(("a",))] == ["", ".", "a b", "ü☃", "7"]
    assert store.get(("a",), "7").value == {"key": "7"}


@everywhere
@pytest.mark.parametrize(
    ("namespace", "reason"),
    [
        ((), "at least one label"),
        (("langgraph", "a"), "reserved"),
        (("a.b",), "must not hold a period"),
        (("",), "must not be empty"),
        ((1,), "must be a text .int 1 "),
        (("a\x00",), "a NUL or half a character"),
        (("\ud800",), "a NUL or half a character"),
        ("users", "a tuple of labels"),
    ],
)
def test_a_namespace_that_names_nothing_is_refused(store, namespace, reason):
    with pytest.raises(InvalidNamespaceError, match=reason):
        store.put(namespace, "k", {})


@everywhere
def test_every_operation_checks_its_labels_also_in_a_batch(store):
    bad = ("a.b",)
    condition = MatchCondition("prefix", bad)
    operations = [
        *(GetOp(bad, "k"), SearchOp(bad), PutOp(bad, "k", {}), PutOp(bad, "k", None)),
        ListNamespacesOp((condition,)),
    ]
    for operation in operations:
        with pytest.raises(InvalidNamespaceError, match="must not hold a period"):
            store.batch([operation])
    with pytest.raises(InvalidNamespaceError, match="the key"):
        store.put(("a",), "\ud800", {})


# ---- batches -----------------------------------------------------------------------------------


@everywhere
def test_a_batch_answers_in_order_and_sees_the_store_as_it_was(store):
    store.put(("a",), "k", {"n": 1})
    put = PutOp(("a",), "k", {"n": 2})
    got, none, found, names = store.batch(
        [GetOp(("a",), "k"), put, SearchOp(("a",)), ListNamespacesOp()]
    )
    assert (got.value, none, [item.value for item in found], names) == (
        {"n": 1},
        None,
        [{"n": 1}],
        [("a",)],
    )
    assert store.get(("a",), "k").value == {"n": 2}


@everywhere
def test_of_several_puts_to_one_place_the_last_counts(store):
    store.batch([PutOp(("a",), "k", {"n": n}) for n in (1, 2)])
    assert store.get(("a",), "k").value == {"n": 2}
    store.batch([PutOp(("a",), "k", {"n": 3}), PutOp(("a",), "k", None)])
    assert store.get(("a",), "k") is None


@everywhere
def test_what_is_no_operation_is_refused(store):
    with pytest.raises(TypeError, match=r"must be one of a store's \('get'\)"):
        store.batch(["get"])


@everywhere
def test_an_empty_batch_does_nothing(store):
    assert store.batch([]) == []


@everywhere
def test_the_async_face_does_the_same(store):
    async def use():
        await store.aput(("a", "b"), "k", {"n": 1})
        await store.aput(("a",), "gone", {})
        await store.adelete(("a",), "gone")
        return (
            await store.aget(("a", "b"), "k"),
            await store.asearch(("a",), filter={"n": 1}, limit=1),
            await store.alist_namespaces(prefix=("a",), max_depth=1),
        )

    item, found, names = asyncio.run(use())
    assert (item.value, places(found), names) == ({"n": 1}, [(("a", "b"), "k")], [("a",)])


# ---- namespaces --------------------------------------------------------------------------------


@everywhere
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, ["a b", "a c b", "b"]),
        ({"prefix": ("a",)}, ["a b", "a c b"]),
        ({"suffix": ("b",)}, ["a b", "a c b", "b"]),
        ({"prefix": ("a", "*"), "suffix": ("c", "b")}, ["a c b"]),
        ({"prefix": ("a", "*", "*", "*")}, []),
        ({"max_depth": 1}, ["a", "b"]),
        ({"limit": 1, "offset": 1}, ["a c b"]),
    ],
)
def test_namespaces_are_listed_in_order(store, options, found):
    for namespace in [("b",), ("a", "c", "b"), ("a", "b"), ("gone",)]:
        store.put(namespace, "k", {})
    store.delete(("gone",), "k")
    store.get(("never",), "k")
    assert [" ".join(labels) for labels in store.list_namespaces(**options)] == found


@everywhere
def test_a_condition_of_an_unknown_kind_is_refused(store):
    store.put(("a",), "k", {})
    with pytest.raises(ValueError, match=r"must be 'prefix' or 'suffix' \('infix'\)"):
        store.batch([ListNamespacesOp((MatchCondition("infix", ("a",)),))])
