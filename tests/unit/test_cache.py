"""What a cache promises, wherever it keeps its entries."""

import asyncio
import logging
from contextlib import closing

import fakeredis
import pytest

from orchestrator.cache import InMemoryCache
from orchestrator.cache.redis import RedisCache
from orchestrator.cache.sqlite import SqliteCache
from orchestrator.errors import StateCorruptedError

pytest_plugins = ["tests.fixtures.shelves"]

NS = ("graph", "node")


@pytest.fixture(params=["memory", "sqlite", "redis"])
def cache(request, tmp_path, server_clock):
    if request.param == "memory":
        yield InMemoryCache(clock=server_clock)
    elif request.param == "redis":
        yield RedisCache(fakeredis.FakeRedis(server=fakeredis.FakeServer()))
    else:
        cache = SqliteCache(tmp_path / "cache.db", clock=server_clock)
        yield cache
        cache.close()


def test_what_was_set_is_found_and_what_was_not_is_left_out(cache):
    cache.set({(NS, "a"): (b"1", None), ((), "b"): (b"", None)})
    assert cache.get([(NS, "a"), ((), "b"), (NS, "c")]) == {(NS, "a"): b"1", ((), "b"): b""}


def test_setting_again_replaces(cache):
    cache.set({(NS, "a"): (b"1", None)})
    cache.set({(NS, "a"): (b"2", None)})
    assert cache.get([(NS, "a")]) == {(NS, "a"): b"2"}


def test_nothing_asked_is_nothing_found(cache):
    cache.set({})
    assert cache.get([]) == {}


def test_an_entry_ends_with_its_time(cache, server_clock):
    cache.set({(NS, "short"): (b"1", 10), (NS, "long"): (b"2", None), (NS, "never"): (b"3", 0)})
    keys = [(NS, "short"), (NS, "long"), (NS, "never")]
    server_clock.sleep(9.9)
    assert set(cache.get(keys)) == {(NS, "short"), (NS, "long")}
    server_clock.sleep(0.2)
    assert set(cache.get(keys)) == {(NS, "long")}


def test_an_entry_that_is_set_for_no_time_is_gone(cache):
    cache.set({(NS, "a"): (b"1", None)})
    cache.set({(NS, "a"): (b"2", 0)})
    assert cache.get([(NS, "a")]) == {}


def test_setting_again_without_a_time_keeps_for_ever(cache, server_clock):
    cache.set({(NS, "a"): (b"1", 10)})
    cache.set({(NS, "a"): (b"2", None)})
    server_clock.sleep(60)
    assert cache.get([(NS, "a")]) == {(NS, "a"): b"2"}


def test_clearing_a_namespace_leaves_those_above_below_and_beside_it(cache):
    names = [("g",), ("g", "n"), ("g", "n", "m"), ("g:n",), ("g", "n*"), ()]
    cache.set({(name, "k"): (b"1", None) for name in names})
    cache.clear([("g", "n"), ("other",)])
    assert set(cache.get([(name, "k") for name in names])) == {
        (name, "k") for name in names if name != ("g", "n")
    }


def test_clearing_the_empty_namespace_clears_only_that(cache):
    cache.set({((), "k"): (b"1", None), (("",), "k"): (b"2", None), (NS, "k"): (b"3", None)})
    cache.clear([()])
    assert set(cache.get([((), "k"), (("",), "k"), (NS, "k")])) == {(("",), "k"), (NS, "k")}


def test_clearing_nothing_in_particular_clears_everything(cache):
    cache.set({(NS, "k"): (b"1", None), ((), "k"): (b"2", None)})
    cache.clear([])
    assert len(cache.get([(NS, "k"), ((), "k")])) == 2
    cache.clear()
    assert cache.get([(NS, "k"), ((), "k")]) == {}


def test_keys_that_look_alike_are_told_apart(cache):
    places = [(("a", "b"), "c"), (("a",), "b:c"), (("a:b",), "c"), (("a/b",), "c"), (("a",), "b/c")]
    cache.set({place: (str(n).encode(), None) for n, place in enumerate(places)})
    assert list(cache.get(places).values()) == [b"0", b"1", b"2", b"3", b"4"]


def test_the_async_face_does_the_same(cache):
    async def use():
        await cache.aset({(NS, "a"): (b"1", None), ((), "b"): (b"2", None)})
        await cache.aclear([()])
        return await cache.aget([(NS, "a"), ((), "b")])

    assert asyncio.run(use()) == {(NS, "a"): b"1"}


# ---- in memory ---------------------------------------------------------------------------------


def test_a_full_cache_drops_what_was_used_least_lately():
    cache = InMemoryCache(bytes_max=3)
    cache.set({(NS, key): (b"1", None) for key in "abc"})
    cache.get([(NS, "a")])
    cache.set({(NS, "d"): (b"1", None)})
    assert "".join(key for _, key in cache.get([(NS, key) for key in "abcd"])) == "acd"


def test_replacing_and_clearing_make_room():
    cache = InMemoryCache(bytes_max=3)
    for _ in range(3):
        cache.set({(NS, "a"): (b"12", None)})
    cache.set({(NS, "b"): (b"3", None)})
    assert len(cache.get([(NS, "a"), (NS, "b")])) == 2
    cache.clear()
    cache.set({(NS, "c"): (b"123", None)})
    assert len(cache.get([(NS, "c")])) == 1


def test_a_value_beyond_the_bound_is_not_kept():
    cache = InMemoryCache(bytes_max=3)
    cache.set({(NS, "a"): (b"1234", None)})
    assert cache.get([(NS, "a")]) == {}


# ---- in a file ---------------------------------------------------------------------------------


def test_what_one_cache_keeps_in_a_file_another_one_finds(tmp_path):
    with closing(SqliteCache(tmp_path / "cache.db")) as cache:
        cache.set({(NS, "a"): (b"1", None)})
    with closing(SqliteCache(tmp_path / "cache.db")) as other:
        assert other.get([(NS, "a")]) == {(NS, "a"): b"1"}


def test_writing_removes_what_has_ended(tmp_path, server_clock):
    with closing(SqliteCache(tmp_path / "cache.db", clock=server_clock)) as cache:
        cache.set({(NS, "a"): (b"1", 1)})
        server_clock.sleep(1)
        cache.set({(NS, "b"): (b"1", None)})
        with cache._file.transaction(writes=False) as connection:
            assert connection.execute("SELECT key FROM entry").fetchall() == [("b",)]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    from orchestrator.store.sqlite import SqliteStore

    with closing(SqliteStore(tmp_path / "store.db")) as store:
        store.put(("a",), "k", {})
    with pytest.raises(StateCorruptedError, match="must be new or one of this kind"):
        SqliteCache(tmp_path / "store.db")


# ---- on a server -------------------------------------------------------------------------------


@pytest.fixture
def server():
    return fakeredis.FakeServer()


def test_a_server_that_is_away_is_an_empty_cache_and_a_warning(server, caplog):
    cache = RedisCache(fakeredis.FakeRedis(server=server))
    server.connected = False
    with caplog.at_level(logging.WARNING):
        cache.set({(NS, "a"): (b"1", None)})
        assert cache.get([(NS, "a")]) == {}
        cache.clear()
    assert [record.args[0] for record in caplog.records] == ["set", "get", "clear"]


def test_clearing_leaves_the_keys_of_others_also_under_a_prefix_with_wildcards(server):
    client = fakeredis.FakeRedis(server=server)
    cache = RedisCache(client, prefix="c*[a]?:")
    client.set("cx[a]x:g/k", b"of another")
    cache.set({(("g",), str(key)): (b"1", None) for key in range(1200)})
    cache.clear([("g",)])
    assert client.keys() == [b"cx[a]x:g/k"]
    cache.set({(("g",), "k"): (b"1", None)})
    cache.clear()
    assert client.keys() == [b"cx[a]x:g/k"]


def test_a_cache_can_be_made_with_a_url_without_a_server():
    cache = RedisCache("redis://localhost:1/0")
    assert cache.get([(NS, "a")]) == {}
    cache.client.close()
