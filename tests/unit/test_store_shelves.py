"""How long a store keeps items, and what lies behind it."""

import threading

import fakeredis
import pytest

from orchestrator.errors import GraphstalkError, StateCorruptedError
from orchestrator.store import BaseStore
from orchestrator.store.redis import RedisStore
from orchestrator.store.sqlite import SqliteStore
from tests.fixtures.stores import everywhere, letters, on, places

pytest_plugins = ["tests.fixtures.shelves"]


@pytest.fixture
def store(make_store):
    return make_store()


# ---- time to live ------------------------------------------------------------------------------


@everywhere
def test_an_item_ends_with_its_time_wherever_one_looks(store, fake_clock):
    store.put(("a",), "k", {}, ttl=1)
    fake_clock.sleep(59)
    assert places(store.search((), refresh_ttl=False)) == [(("a",), "k")]
    fake_clock.sleep(1)
    assert store.get(("a",), "k") is None
    assert store.search(()) == []
    assert store.list_namespaces() == []


@everywhere
@pytest.mark.parametrize("look", ["get", "search"])
def test_reading_an_item_starts_its_time_anew(store, fake_clock, look):
    store.put(("a",), "k", {}, ttl=1)
    for _ in range(3):
        fake_clock.sleep(40)
        assert store.get(("a",), "k") if look == "get" else store.search(("a",))
    fake_clock.sleep(60)
    assert store.get(("a",), "k") is None


@everywhere
def test_reading_may_leave_the_time_as_it_is(store, make_store, fake_clock):
    store.put(("a",), "k", {}, ttl=1)
    fake_clock.sleep(40)
    assert store.get(("a",), "k", refresh_ttl=False)
    fake_clock.sleep(20)
    assert store.get(("a",), "k") is None
    still = make_store(ttl={"refresh_on_read": False, "default_ttl": 1})
    still.put(("a",), "k", {})
    fake_clock.sleep(40)
    assert still.get(("a",), "k")
    fake_clock.sleep(20)
    assert still.get(("a",), "k") is None


@everywhere
def test_a_default_time_can_be_lifted_for_one_item(make_store, fake_clock):
    store = make_store(ttl={"default_ttl": 1})
    store.put(("a",), "short", {})
    store.put(("a",), "long", {}, ttl=None)
    fake_clock.sleep(61)
    assert places(store.search(())) == [(("a",), "long")]


@everywhere
def test_putting_again_without_a_time_keeps_an_item_for_ever(store, fake_clock):
    store.put(("a",), "k", {}, ttl=1)
    store.put(("a",), "k", {})
    store.get(("a",), "k")
    fake_clock.sleep(3600)
    assert store.get(("a",), "k")


@everywhere
def test_what_was_put_for_ever_gets_no_end_from_an_earlier_read(store, fake_clock):
    store.put(("a",), "k", {})  # After the read that is about to prolong it.
    with store._shelf.session(writes=True) as session:
        session.touch(("a",), "k", fake_clock.now_ms() + 1000)
        session.touch(("a",), "gone", fake_clock.now_ms() + 1000)
    fake_clock.sleep(60)
    assert places(store.search(())) == [(("a",), "k")]


@everywhere
def test_what_ended_and_is_put_again_is_new(store, fake_clock):
    store.put(("a",), "k", {}, ttl=1)
    store.put(("b",), "k", {})
    fake_clock.sleep(61)
    store.search(())
    store.put(("a",), "k", {})
    item = store.get(("a",), "k")
    assert item.created_at == item.updated_at
    assert places(store.search(())) == [(("b",), "k"), (("a",), "k")]


def test_a_store_that_forgets_nothing_refuses_a_time():
    class Lasting(BaseStore):
        def batch(self, ops):
            return [None for _ in ops]

        async def abatch(self, ops):
            return self.batch(ops)

    Lasting().put(("a",), "k", {})
    with pytest.raises(NotImplementedError, match="Lasting expires nothing"):
        Lasting().put(("a",), "k", {}, ttl=1)


# ---- shelves -----------------------------------------------------------------------------------


@on("sqlite", "redis")
def test_what_one_store_keeps_another_one_finds(make_store):
    make_store(index={"embed": letters}).put(("a",), "k", {"t": "a"})
    other = make_store(index={"embed": letters})
    assert other.get(("a",), "k").value == {"t": "a"}
    assert other.search((), query="a")[0].score == 1.0


@everywhere
def test_os_threads_may_use_one_store(store):
    def put(number):
        for key in range(20):
            store.put(("a", str(number)), str(key), {"n": key})

    threads = [threading.Thread(target=put, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(store.search((), limit=100)) == 80


@on("sqlite")
def test_a_closed_file_is_opened_again(store):
    store.put(("a",), "k", {})
    store.close()
    assert store.get(("a",), "k")


@on("sqlite")
def test_a_database_of_something_else_is_left_alone(make_store, tmp_path):
    import sqlite3

    with sqlite3.connect(tmp_path / "store.db") as connection:
        connection.execute("CREATE TABLE other (n)")
    connection.close()
    with pytest.raises(StateCorruptedError, match="must be new or one of this kind"):
        make_store()


@on("sqlite")
def test_what_is_no_database_is_an_error_of_ours(make_store, tmp_path):
    (tmp_path / "store.db").write_bytes(b"no database" * 100)
    with pytest.raises(StateCorruptedError, match="must be an intact SQLite database"):
        make_store()


def test_a_file_that_cannot_be_made_is_an_error_of_ours(tmp_path):
    with pytest.raises(GraphstalkError, match="cannot be used now"):
        SqliteStore(tmp_path / "nowhere" / "store.db")


def test_a_server_that_is_away_is_an_error_of_ours():
    client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
    client.connection_pool.connection_kwargs["server"].connected = False
    with pytest.raises(GraphstalkError, match="does not answer"):
        RedisStore(client).get(("a",), "k")


@on("redis")
def test_nothing_is_left_of_what_was_deleted_or_ended(make_store, fake_clock):
    store = make_store()
    client = store._shelf._client
    store.put(("a",), "k", {})
    store.put(("b",), "k", {}, ttl=1)
    store.delete(("a",), "k")
    fake_clock.sleep(61)
    store.search(())
    assert client.keys() == [b"{graphstalk:store}:seq"]
