"""Counting, at the server, the commands that a worker sends for the steps of one thread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

from orchestrator.checkpointer.redis import RedisCheckpointer

__all__ = ["round_trips"]

TAKES = {"BLMPOP", "BRPOP", "LMPOP", "RPOP"}


def round_trips(store: RedisCheckpointer, work: Callable[[], object]) -> float:
    """Return how many commands came over connections that committed steps.

    Every command of such a connection counts. The caller's own commit, the submission, is known by
    coming first, and its connection is left out; so are those that committed nothing: the broker's,
    the keeper's and the reader's. Taking a message is the broker's part, whoever does it.
    """
    commit = store.script_hashes()["commit"]
    sent: Counter[str] = Counter()
    committed: list[str] = []
    with store.client.monitor() as monitor:
        work()
        store.client.echo("counted")
        for entry in monitor.listen():
            command, client = str(entry["command"]), _client(entry)
            if command.startswith("ECHO counted"):
                break
            if entry["client_type"] == "lua":
                continue
            sent[client] += command.partition(" ")[0].upper() not in TAKES
            if command.startswith("EVALSHA") and commit in command:
                committed.append(client)
    return sum(sent[client] for client in set(committed[1:]) - {committed[0]})


def _client(entry: dict[str, Any]) -> str:
    return f"{entry['client_address']}:{entry['client_port']}"
