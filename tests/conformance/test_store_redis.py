"""The store and the cache on a real server: what a fake one might be too kind about."""

import pytest

from orchestrator.cache.redis import RedisCache
from orchestrator.store.redis import RedisStore

DAY_MIN = 24 * 60


@pytest.fixture
def store(redis_client, namespace):
    return RedisStore(redis_client, prefix=f"{namespace}:{{store}}:")


def test_a_store_keeps_lists_prolongs_and_removes(store, redis_client, namespace):
    store.put(("a", "b"), "k", {"n": 1}, ttl=DAY_MIN)
    store.put(("a",), "for ever", {"n": 2})
    assert [item.value for item in store.search(("a",))] == [{"n": 1}, {"n": 2}]
    assert store.get(("a", "b"), "k").value == {"n": 1}
    assert store.list_namespaces() == [("a",), ("a", "b")]
    left = {redis_client.ttl(key) for key in redis_client.scan_iter(f"{namespace}*:item:*")}
    assert len(left) == 2
    assert -1 in left
    assert 0 < max(left) <= DAY_MIN * 60
    store.delete(("a", "b"), "k")
    store.delete(("a",), "for ever")
    assert [key.rpartition(b":")[2] for key in redis_client.scan_iter(f"{namespace}*")] == [b"seq"]


def test_reading_prolongs_an_item_on_the_server(store, redis_client, namespace):
    store.put(("a",), "k", {}, ttl=DAY_MIN)
    [item] = redis_client.scan_iter(f"{namespace}*:item:*")
    redis_client.expire(item, 60)
    assert store.get(("a",), "k", refresh_ttl=False)
    assert redis_client.ttl(item) <= 60
    assert store.get(("a",), "k")
    assert redis_client.ttl(item) > 60


def test_a_cache_keeps_ends_and_clears(redis_client, namespace):
    cache = RedisCache(redis_client, prefix=f"{namespace}:[cache]:")
    cache.set({(("g",), str(key)): (b"1", 3600) for key in range(600)})
    cache.set({(("g", "n"), "k"): (b"2", None)})
    assert len(cache.get([(("g",), str(key)) for key in range(600)])) == 600
    assert 0 < redis_client.ttl(f"{namespace}:[cache]:g/1") <= 3600
    cache.clear([("g",)])
    assert cache.get([(("g",), "1"), (("g", "n"), "k")]) == {(("g", "n"), "k"): b"2"}
    cache.clear()
    assert list(redis_client.scan_iter(f"{namespace}*")) == []
