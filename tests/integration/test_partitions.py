"""Client and worker refuse another number of partitions before anything is accepted."""

from __future__ import annotations

import os
import subprocess
from dataclasses import replace

import pytest
import redis

from orchestrator import Client, Settings
from orchestrator.errors import PartitionsDifferError
from tests.fixtures.processes import resolved

pytestmark = pytest.mark.server


def test_a_client_with_another_number_accepts_nothing(
    settings: Settings, redis_client: redis.Redis
) -> None:
    with Client(settings=settings) as client:
        client.threads()
    with Client(settings=replace(settings, partitions=settings.partitions + 1)) as other:
        for call in (
            lambda: other.submit("graph", {}, thread_id="t"),
            lambda: other.resume("t", 1),
            lambda: other.get_state("t"),
            other.threads,
            other.workers,
        ):
            with pytest.raises(PartitionsDifferError, match="GRAPHSTALK_PARTITIONS=4"):
                call()
    keys = list(redis_client.scan_iter(f"{settings.namespace}*"))
    assert keys == [f"{settings.namespace}:partitions".encode()]


def test_a_worker_with_another_number_does_not_start(settings: Settings) -> None:
    with Client(settings=settings) as client:
        client.threads()
    env = {
        **os.environ,
        "REDIS_URL": settings.url,
        "GRAPHSTALK_NAMESPACE": settings.namespace,
        "GRAPHSTALK_PARTITIONS": "8",
    }
    argv = ["graphstalk", "worker", "--pool", "solo", "--graphs", "census=examples.census:graph"]
    done = subprocess.run(
        resolved(argv), env=env, capture_output=True, timeout=60, check=False, text=True
    )
    assert done.returncode == 2
    assert "[PARTITIONS_DIFFER]" in done.stderr
    assert "GRAPHSTALK_PARTITIONS=4" in done.stderr
