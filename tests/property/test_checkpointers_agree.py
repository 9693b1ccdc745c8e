"""Whatever is done to them, in whatever order: a checkpointer does as the memory one.

Two kinds of worlds. In SQLite and on the fake server time belongs to the test, so everything that
waits for a time is compared to the millisecond. On the real server time passes by itself, so leases
and graces are an hour long and times are left out of what is compared.
"""

import uuid

import fakeredis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.checkpointer.sqlite import SqliteCheckpointer
from orchestrator.config import Settings
from tests.property.pair import World
from tests.property.two_stores import Agreement

_SHORT = Settings(partitions=1, lease_ttl_s=0.4, hint_grace_s=0.2)
_HOUR_S = 3600.0


def check(world, examples):
    limits = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        suppress_health_check=[HealthCheck.too_slow],
        # Without Phase.shrink: with a server it takes minutes. Add it to look into a failure.
        phases=(Phase.explicit, Phase.reuse, Phase.generate),
    )
    run_state_machine_as_test(lambda: Agreement(world()), settings=limits)


def test_memory_agrees_with_itself(fake_clock):
    def world():
        store = MemoryCheckpointer(settings=_SHORT, clock=fake_clock)
        return World(store, _SHORT, fake_clock.now_ms, store.close, fake_clock)

    check(world, 100)


def test_redis_agrees_with_memory_to_the_millisecond(fake_clock):
    def world():
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        store = RedisCheckpointer(settings=_SHORT, client=client)
        return World(store, _SHORT, fake_clock.now_ms, store.close, fake_clock)

    check(world, 60)


def test_sqlite_agrees_with_memory_to_the_millisecond(fake_clock):
    def world():
        store = SqliteCheckpointer(":memory:", settings=_SHORT, clock=fake_clock)
        return World(store, _SHORT, fake_clock.now_ms, store.close, fake_clock)

    check(world, 60)


def test_redis_agrees_with_memory_on_a_real_server(redis_url, namespace):
    long = {"partitions": 1, "lease_ttl_s": _HOUR_S, "hint_grace_s": _HOUR_S}

    def world():
        name = f"{namespace}-{uuid.uuid4().hex[:6]}"
        own = Settings(url=redis_url, namespace=name, **long)
        store = RedisCheckpointer(settings=own)
        return World(store, own, store.now_ms, store.close)

    check(world, 60)
