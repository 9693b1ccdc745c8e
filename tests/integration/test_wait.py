"""A commit returns when it is as safe as the settings ask for, and says so if it is not."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from orchestrator import limits
from orchestrator.checkpointer.redis.rollback_guard import Epochs, halts
from orchestrator.checkpointer.redis.store import RedisCheckpointer
from orchestrator.cli.embedded import HOST
from orchestrator.config import Settings
from orchestrator.errors import NotReplicatedError
from orchestrator.testing.contract import drafts
from tests.fixtures.own_server import OwnServer, own_server

pytestmark = [pytest.mark.server, pytest.mark.slow]

AOF = ["--appendonly", "yes", "--appendfsync", "everysec"]
SYNC_WAIT_S = 20.0


@pytest.fixture
def primary(tmp_path: Path) -> Iterator[OwnServer]:
    folder = tmp_path / "primary"
    folder.mkdir()
    with own_server(folder, [*AOF, "--repl-diskless-sync-delay", "0"]) as server:
        yield server


def replica_of(primary: OwnServer, folder: Path, closing: ExitStack) -> OwnServer:
    folder.mkdir(exist_ok=True)
    follows = [*AOF, "--replicaof", "127.0.0.1", str(primary.port)]
    server = closing.enter_context(own_server(folder, follows))
    end = time.monotonic() + SYNC_WAIT_S
    while server.client().info("replication")["master_link_status"] != "up":
        assert time.monotonic() < end
        time.sleep(0.05)
    return server


def store(primary: OwnServer, **wanted: int) -> RedisCheckpointer:
    url = primary.url()
    given = {"wait_ms": 300, **wanted}  # `everysec` may take its second.
    return RedisCheckpointer(settings=Settings(url=url, broker_url=url, **given))


def test_a_commit_waits_for_replicas_and_says_if_there_are_too_few(
    primary: OwnServer, tmp_path: Path
) -> None:
    mine = store(primary, wait_replicas=1)
    with pytest.raises(NotReplicatedError, match=r"the commit is made, but .* 0 of 1 replicas"):
        mine.commit(drafts.starting("alone", "a"))
    assert mine.load("alone") is not None
    with ExitStack() as closing:
        replica = replica_of(primary, tmp_path / "replica", closing)
        assert mine.commit(drafts.starting("t", "a")).refused is None
        client = replica.client()
        assert client.hget(mine.keys.of_thread("t")[1] + "head", "run_id") == drafts.RUN
    with pytest.raises(NotReplicatedError):
        mine.commit(drafts.starting("u", "a"))
    mine.close()


def test_a_replica_without_the_latest_sweeps_takes_over_and_nothing_is_halted(
    primary: OwnServer, tmp_path: Path
) -> None:
    with ExitStack() as closing:
        replica = replica_of(primary, tmp_path / "replica", closing)
        mine = store(primary, wait_replicas=1)
        mine.epochs = Epochs()
        assert mine.commit(drafts.starting("t", "a")).refused is None
        sweep(mine)
        replica.client().replicaof(HOST, 1)  # It is cut off, and commits wait in vain.
        end = time.monotonic() + (limits.LOSS_MS_MAX + 1_000) / 1000
        while time.monotonic() < end:
            sweep(mine)
        replica.client().replicaof("NO", "ONE")
        after = store(replica, wait_replicas=0)
        after.epochs = mine.epochs
        sweep(after)
        assert halts(after) == {}
        assert after.load("t") is not None
        for each in (mine, after):
            each.close()


def sweep(store: RedisCheckpointer) -> None:
    """Sweep all partitions once."""
    for partition in range(store.partitions):
        store.sweep(partition, leader="me")


@pytest.mark.parametrize("replicas", [0, 1])
def test_a_commit_waits_for_the_disk(primary: OwnServer, tmp_path: Path, replicas: int) -> None:
    with ExitStack() as closing:
        if replicas:
            replica_of(primary, tmp_path / "replica", closing)
        mine = store(primary, wait_fsync=1, wait_replicas=replicas, wait_ms=5_000)
        assert mine.commit(drafts.starting("t", "a")).refused is None
        mine.close()


def test_a_server_without_an_append_only_file_cannot_promise_its_disk(tmp_path: Path) -> None:
    with own_server(tmp_path, ["--appendonly", "no"]) as server:
        mine = store(server, wait_fsync=1)
        with pytest.raises(NotReplicatedError, match="appendonly"):
            mine.commit(drafts.starting("t", "a"))
        mine.close()
