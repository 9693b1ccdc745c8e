"""The peer: a Celery `chain` of no-op tasks, with the settings that Celery recommends."""

from __future__ import annotations

import os

from celery import Celery, chain

app = Celery("bench-chain", broker=os.environ.get("BENCH_CHAIN_URL", "redis://127.0.0.1:6379/1"))
app.conf.update(
    task_ignore_result=True,
    task_acks_late=True,  # As ours: work that a dying worker had taken is not to be lost.
    worker_prefetch_multiplier=4,  # Celery's default, and its fastest here.
    task_default_queue="bench-chain",
    broker_connection_retry_on_startup=True,
)


@app.task(name="bench.count")
def count(state: dict[str, int] | None = None) -> dict[str, int]:
    """Count one."""
    return {"count": (state or {"count": 0})["count"] + 1}


@app.task(name="bench.done")
def done(state: dict[str, int], key: str) -> None:
    """Say that a chain has ended."""
    del state
    with app.pool.acquire(block=True) as connection:
        connection.default_channel.client.incr(key)


def start(key: str, steps: int) -> None:
    """Enqueue one chain of `steps` tasks, which ends by counting up `key`."""
    tasks = [count.s({"count": 0}), *(count.s() for _ in range(steps - 2)), done.s(key)]
    chain(*tasks).apply_async()
