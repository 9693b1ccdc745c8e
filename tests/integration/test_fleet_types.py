"""A process that has not registered a class reads threads whose values are of it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orchestrator import Client, GraphPausedError, UnknownValue
from tests.integration import typed_graphs
from tests.integration.fleet import ROOT, WAIT_S, Fleet
from tests.integration.typed_graphs import Colour, Item, Order

pytestmark = [pytest.mark.server, pytest.mark.slow]

MODULE = typed_graphs.__name__


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    folder = tmp_path_factory.mktemp("shop")
    with Fleet(folder, module=typed_graphs, names=("shop",)) as fleet:
        fleet.start(concurrency=2)
        yield fleet


def command(shop: Fleet, folder: Path, *argv: str) -> subprocess.CompletedProcess[str]:
    env = {k: v for k, v in os.environ.items() if not k.startswith("GRAPHSTALK_")}
    return subprocess.run(
        [sys.executable, "-m", "orchestrator.cli", *argv],
        cwd=folder,
        env={**env, **shop.variables, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=WAIT_S,
        check=False,
    )


def asked(shop: Fleet, thread: str) -> None:
    """Run until the thread asks."""
    with pytest.raises(GraphPausedError):
        shop.client.submit("shop", {}, thread_id=thread).result(WAIT_S)


def configured(folder: Path, target: str = f"{MODULE}:shop") -> Path:
    text = f'[tool.graphstalk]\ngraphs = {{ shop = "{target}" }}\n'
    (folder / "pyproject.toml").write_text(text, encoding="utf-8")
    return folder


def out(done: subprocess.CompletedProcess[str], code: int = 0) -> Any:
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout.splitlines()[0])


def test_commands_show_values_of_unknown_classes_by_type(shop: Fleet, tmp_path: Path) -> None:
    asked(shop, "bare")
    values = out(command(shop, tmp_path, "state", "bare", "--json"))["values"]
    tag = f"{MODULE}.Colour"
    assert values["colours"] == [{"type": tag, "value": "RED"}, {"type": tag, "value": "BLUE"}]
    item = {"type": f"{MODULE}.Item", "value": {"name": "tea", "cents": 350}}
    assert values["order"] == {"type": f"{MODULE}.Order", "value": {"items": [item]}}
    assert out(command(shop, tmp_path, "history", "bare", "--json"))["values"] == values
    shown = command(shop, tmp_path, "state", "bare")
    assert shown.returncode == 0
    assert tag in shown.stdout
    listed = command(shop, tmp_path, "threads", "--status", "paused")
    assert (listed.returncode, listed.stderr) == (0, "")
    explained = command(shop, tmp_path, "explain", "bare")
    assert explained.returncode == 0
    resumed = out(command(shop, tmp_path, "resume", "bare", '"yes"', "--wait", "--json"))
    assert resumed["status"] == "succeeded"
    assert resumed["values"] == {**values, "answer": "yes"}


def test_commands_know_the_classes_of_the_folders_graphs(shop: Fleet, tmp_path: Path) -> None:
    folder = configured(tmp_path)
    submitted = command(
        shop, folder, "submit", "shop", "{}", "--thread", "known", "--wait", "--json"
    )
    assert out(submitted, 5)["interrupts"][0]["value"] == {"name": "coffee", "cents": 400}
    values = out(command(shop, folder, "state", "known", "--json"))["values"]
    assert values["order"] == {"items": [{"name": "tea", "cents": 350}]}
    assert out(command(shop, folder, "history", "known", "--json"))["values"] == values
    resumed = out(command(shop, folder, "resume", "known", '"yes"', "--wait", "--json"))
    assert resumed["values"] == {**values, "answer": "yes"}
    given = command(shop, ROOT, "state", "known", "--json", "--graphs", f"shop={MODULE}:shop")
    assert out(given)["values"] == {**values, "answer": "yes"}


def test_a_folders_graph_that_does_not_load_is_a_message(shop: Fleet, tmp_path: Path) -> None:
    asked(shop, "broken")
    done = command(shop, configured(tmp_path, "no.such:graph"), "state", "broken", "--json")
    assert out(done)["values"]["order"]["type"] == f"{MODULE}.Order"
    assert "INVALID_CONFIGURATION" in done.stderr
    (tmp_path / "noisy.py").write_text(
        f"print('imported')\nfrom {MODULE} import shop\n", encoding="utf-8"
    )
    done = command(shop, configured(tmp_path, "noisy:shop"), "state", "broken", "--json")
    assert out(done)["values"]["order"] == {"items": [{"name": "tea", "cents": 350}]}


def test_a_client_without_the_graph_reads_and_answers(shop: Fleet) -> None:
    asked(shop, "client")
    with Client(settings=shop.settings) as client:
        state = client.get_state("client")
        order = state.values["order"]
        assert isinstance(order, UnknownValue)
        assert repr(order).startswith(f"<{MODULE}.Order {{")
        assert [c.value for c in state.values["colours"]] == ["RED", "BLUE"]
        (question,) = client.questions("client").values()
        assert (question.type, question.value) == (
            f"{MODULE}.Item",
            {"name": "coffee", "cents": 400},
        )
        assert [type(s.values) for s in client.history("client")] == [dict] * 3
        parts = client.stream("client", stream_mode=["values", "updates"], timeout_s=WAIT_S)
        seen = [part.data for part in parts]
        assert any("order" in data for data in seen)
        assert "gap" not in {part.mode for part in client.stream("client", timeout_s=WAIT_S)}
        result = client.resume("client", state.values).result(WAIT_S)
        assert result["order"].type == order.type
    # What was brought back is what it was.
    answer = shop.client.get_state("client").values["answer"]
    assert answer["order"] == Order(items=[Item("tea", 350)])
    assert answer["colours"] == [Colour.RED, Colour.BLUE]
