"""Client, executor, worker process and lease check on a shared store that is not Redis."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypedDict

import pytest

from orchestrator import (
    START,
    CeleryExecutor,
    Client,
    MemoryCheckpointer,
    SqliteCheckpointer,
    StateGraph,
)
from orchestrator.checkpointer.fleet import ClaimTimes, Halt, HeldClaim, Worker
from orchestrator.config import Settings
from orchestrator.errors import NotSupportedError
from orchestrator.model.commit import Claim, ReadyStep
from orchestrator.step.store_access import Access
from workers.keeper import Keeper
from workers.lease_check import BusyFile, LeaseCheck, busy_path
from workers.process import WorkerProcess


class State(TypedDict, total=False):
    x: int


class SharedMemory(MemoryCheckpointer):
    """A store in memory with a fleet; it is its own broker, with a list for a queue."""

    shared = True
    pushes = True

    def __init__(self) -> None:
        super().__init__()
        self.settings = Settings()
        self.released: list[HeldClaim] = []
        self.closed = False
        self._workers: dict[str, Worker] = {}
        self._graphs: dict[str, str] = {}

    @property
    def fleet(self) -> SharedMemory:
        return self

    def announce(self, worker: Worker) -> None:
        self._workers[worker.name] = worker

    def leave(self, name: str) -> None:
        del self._workers[name]

    def workers(self) -> list[Worker]:
        return list(self._workers.values())

    def publish_graphs(
        self, fingerprints: Mapping[str, str], queues: Mapping[str, str] | None = None
    ) -> None:
        self._graphs.update(fingerprints)

    def graphs(self) -> dict[str, str]:
        return self._graphs

    def queue_of(self, graph: str) -> str:
        return ""

    def claim_times(self, thread_id: str, owners: Mapping[str, str]) -> dict[str, ClaimTimes]:
        return {step: ClaimTimes(0, 0) for step in owners}

    def claims_of(self, owners: Sequence[str]) -> list[HeldClaim]:
        return [
            HeldClaim(step.owner, 0, step.step.step_id, thread_id)
            for thread_id, _ in self.threads()
            for step in self.load(thread_id).steps.values()
            if step.owner in owners
        ]

    def fenced(self, claims: Iterable[HeldClaim]) -> list[HeldClaim]:
        return list(claims)

    def lost(self, owner: str, claims: Sequence[Claim]) -> list[bool]:
        return [False for _ in claims]

    def release_forgotten(self, claim: HeldClaim) -> tuple[int, list[ReadyStep]]:
        self.released.append(claim)
        return 1, self.release(claim.owner, died=False)

    def halted_at(self, thread_id: str) -> Halt | None:
        return None

    def push(self, steps: Sequence[ReadyStep], *, again: bool = True) -> None:
        """Send nothing: `work` finds ready steps in the store."""

    def close(self) -> None:
        self.closed = True


def work(store: SharedMemory, graph: Any, thread_id: str) -> None:
    """Run the steps of a thread as a worker's process does."""
    process = WorkerProcess(
        Access(store, "host:1:0"), {"g": graph}, store.settings.queue, lambda _: None, store.pushes
    )
    while ready := [s for s in store.load(thread_id).steps.values() if not s.completed]:
        process.run(thread_id, ready[0].step.step_id, 0)


def graph() -> Any:
    builder = StateGraph(State).add_node("add", lambda state: {"x": state["x"] + 1})
    return builder.add_edge(START, "add").compile(name="g")


def worker(name: str) -> Worker:
    return Worker(
        name=name, host="h", pid=1, queues=["graphstalk"], pool="solo", concurrency=1, graphs=["g"]
    )


def test_a_run_goes_from_a_client_through_a_worker_and_back() -> None:
    store, known = SharedMemory(), graph()
    store.publish_graphs({"g": known.spec.fingerprint})
    store.announce(worker("w"))
    with Client(checkpointer=store) as client:
        handle = client.submit("g", {"x": 1}, thread_id="t")
        assert "graphstalk: 1 alive" in str(client.explain("t"))
        work(store, known, "t")
        assert handle.result(timeout=1) == {"x": 2}
        assert [each.name for each in client.workers()] == ["w"]
    assert not store.closed, "its caller has opened it"


def test_a_graph_on_such_a_fleet_reads_that_store() -> None:
    store = SharedMemory()
    executor = CeleryExecutor(checkpointer=store)
    assert executor.checkpointer() is store
    assert executor.settings is store.settings


def test_a_keeper_announces_its_worker_there(tmp_path: Path) -> None:
    store = SharedMemory()
    keeper = Keeper(tmp_path, 0, store, lambda _: None, store.settings, worker("w"))
    assert keeper.once(0) is False
    assert store.workers() == [worker("w")]


def test_a_forgotten_claim_is_released_there(tmp_path: Path) -> None:
    store, known = SharedMemory(), graph()
    store.publish_graphs({"g": known.spec.fingerprint})
    with Client(checkpointer=store) as client:
        client.submit("g", {"x": 1}, thread_id="t")
    [step] = store.load("t").steps
    assert store.claim("t", step, owner="host:1:0", token="a").step is not None
    (tmp_path / "1").write_text("host:1:0")
    BusyFile(busy_path(tmp_path, 1))
    sent: list[ReadyStep] = []
    check = LeaseCheck(tmp_path, store, sent.extend)
    assert (check.once(), check.once()) == (0, 1)
    assert [claim.step_id for claim in store.released] == [step]
    assert [each.step_id for each in sent] == [step]


@pytest.mark.parametrize("make", [MemoryCheckpointer, SqliteCheckpointer])
@pytest.mark.parametrize("user", [Client, CeleryExecutor])
def test_a_store_without_a_fleet_is_refused(user: Any, make: Any, tmp_path: Path) -> None:
    store = make() if make is MemoryCheckpointer else make(str(tmp_path / "t.db"))
    with pytest.raises(NotSupportedError, match=rf"must be one .* share \({make.__name__}\)"):
        user(checkpointer=store)
