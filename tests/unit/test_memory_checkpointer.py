"""What is true of the memory checkpointer only."""

from orchestrator.checkpointer.memory import MemoryCheckpointer
from orchestrator.config import Settings
from orchestrator.model.commit import Refusal
from orchestrator.testing.contract.driver import Driver, guard
from orchestrator.testing.manual_clock import ManualClock


def driven(store, clock=None):
    return Driver(store, clock.sleep if clock else lambda _: None, Settings())


def test_it_works_without_any_argument():
    driver = driven(MemoryCheckpointer())
    driver.start("a")
    driver.finish("a")
    assert driver.load().head.open == 0


def test_two_of_them_share_nothing():
    one, two = driven(MemoryCheckpointer()), driven(MemoryCheckpointer())
    one.start("a")
    assert two.store.threads() == []


def test_commits_under_old_fences_are_counted():
    driver = driven(MemoryCheckpointer())
    driver.start("a", "b")
    claim = driver.claimed("a", owner="dead")
    driver.store.release("dead")
    for _ in range(3):
        refused = driver.commit(guard=guard(claim), completed=b"late").refused
        assert refused is Refusal.STALE_FENCE
    driver.complete(driver.claimed("a"))
    assert driver.store.stale_refused() == 3


def test_closing_keeps_everything():
    driver = driven(MemoryCheckpointer())
    driver.start("a")
    driver.store.close()
    driver.complete(driver.claimed("a"))


def test_what_was_loaded_does_not_change_with_the_store():
    driver = driven(MemoryCheckpointer())
    driver.start("a", "b")
    before = driver.load()
    driver.finish("a")
    driver.claimed("b")
    assert (before.head.open, before.outcomes) == (2, {})
    assert {(step.owner, step.completed) for step in before.steps.values()} == {("", False)}


def test_its_time_is_that_of_its_clock():
    clock = ManualClock()
    driver = driven(MemoryCheckpointer(clock=clock), clock)
    started = driver.start("a").now_ms
    driver.tick(60)
    assert (driver.now_ms(), driver.load().now_ms) == (started + 60_000, clock.now_ms())


def test_a_lease_lasts_to_its_last_millisecond():
    clock = ManualClock()
    settings = Settings(lease_ttl_s=1, partitions=1)
    driver = Driver(MemoryCheckpointer(settings=settings, clock=clock), clock.sleep, settings)
    driver.start("a", "b")
    driver.sweep()
    driver.claimed("a")
    clock.sleep(0.5)
    driver.sweep()
    clock.sleep(0.5)
    assert driver.sweep().released == 0
    clock.sleep(0.001)
    assert driver.sweep().released == 1
