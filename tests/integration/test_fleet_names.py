"""People find a step by its names: the task id says where it is, Flower shows graph and node."""

from __future__ import annotations

import json
import urllib.request
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli.embedded import HOST, free_port
from tests.fixtures.processes import running
from tests.integration.fleet import Fleet

pytestmark = [pytest.mark.server, pytest.mark.slow]


def test_a_message_bears_the_place_of_its_step_and_the_name_of_its_node(fleet: Fleet) -> None:
    fleet.submit("fan", width=2)
    (message,) = [json.loads(m) for m in fleet.queues.lrange(fleet.queue, 0, -1)]
    headers = message["headers"]
    assert (headers["id"], headers["shadow"]) == ("t:0:__start__", "fan.__start__")
    worker = fleet.start()
    fleet.result()
    names = ["fan.__start__[t:0:__start__]", "fan.split[t:1:split]", "fan.gather[t:3:gather]"]
    names += [f"fan.piece[t:2:piece:{index}]" for index in range(2)]

    def logged() -> bool:  # The client may be told first that the run has ended.
        log = worker.log.read_text("utf-8")
        return all(f"Task {name} " in log for name in names)

    fleet.wait_until(logged, "the worker tells of each step")


def listed_by_flower(
    fleet: Fleet, folder: Path, count_: int, graph: str, **state: Any
) -> dict[str, str]:
    """Return the steps of a run that Flower lists as done, once there are so many."""
    port = free_port()
    command = ["-m", "celery", f"--broker={fleet.server.url}", "flower"]
    command += [f"--address={HOST}", f"--port={port}"]
    env = {"FLOWER_UNAUTHENTICATED_API": "true"}
    with running(["python", *command], env, folder / "flower.log") as flower:
        fleet.start(events=True)
        before = (f"before{number}" for number in count())

        def listens() -> bool:
            fleet.result(fleet.submit("row", next(before)))
            return bool(shown(port, ""))

        flower.wait_until(listens)
        fleet.result(fleet.submit(graph, **state))
        flower.wait_until(lambda: len(done(port)) == count_)
        return done(port)


def test_flower_lists_every_step_as_graph_and_node(fleet: Fleet, tmp_path: Path) -> None:
    assert listed_by_flower(fleet, tmp_path, 5, "fan", width=2) == {
        "t:0:__start__": "fan.__start__",
        "t:1:split": "fan.split",
        "t:2:piece:0": "fan.piece",
        "t:2:piece:1": "fan.piece",
        "t:3:gather": "fan.gather",
    }


def done(port: int) -> dict[str, str]:
    """Return the names of the steps of thread `t` that Flower shows as done."""
    tasks = shown(port, "t:")
    return {id_: task["name"] for id_, task in tasks.items() if task["state"] == "SUCCESS"}


def shown(port: int, prefix: str) -> dict[str, Any]:
    """Return the tasks that Flower's API lists, nothing while it does not answer."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}/api/tasks", timeout=5) as answer:
            return {id_: task for id_, task in json.load(answer).items() if id_.startswith(prefix)}
    except OSError:
        return {}
