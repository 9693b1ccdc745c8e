"""What benchmarks say of numbers: percentiles, ratios of rounds, verdicts, plots."""

import ast
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from benchmarks.contests import CONTESTS
from benchmarks.page import as_page
from benchmarks.peers.contract import chunk
from benchmarks.plots import Bar, bars, short_number
from benchmarks.report import as_text, judged
from benchmarks.running import Found
from benchmarks.statistics import percentile, ratios, summary
from benchmarks.targets import ROWS, Figure, Row

PEERS = Path(__file__).resolve().parents[2] / "benchmarks" / "peers"
AT_MOST = Row("w1_a_over_b", "a over b", Figure("w1", "a", "ms"), Figure("w1", "b", "ms"), 0.5)


def _found(ours: list[float], theirs: list[float]) -> Found:
    samples = {("w1", "a"): [{"ms": v} for v in ours], ("w1", "b"): [{"ms": v} for v in theirs]}
    return Found(samples)


@pytest.mark.parametrize(
    ("percent", "value"), [(50, 50), (99, 99), (100, 100), (1, 1), (0.1, 1), (99.5, 100)]
)
def test_a_percentile_is_a_value_that_was_measured(percent: float, value: int) -> None:
    assert percentile([*range(100, 0, -1)], percent) == value


def test_of_few_values_a_high_percentile_is_the_greatest() -> None:
    assert percentile([3.0, 1.0, 2.0], 99) == 3.0


def test_a_ratio_is_of_one_round_and_rounds_of_one_side_only_are_left_out() -> None:
    assert ratios([1.0, 4.0, 9.0], [2.0, 2.0]) == [0.5, 2.0]
    assert summary([0.5, 2.0, 1.0]).median == 1.0


def test_a_row_is_the_median_of_the_rounds_ratios() -> None:
    told = judged(AT_MOST, _found([1.0, 9.0, 2.0], [4.0, 9.0, 4.0]), full=True)
    assert (told["value"], told["ok"], told["n"]) == (0.5, True, 3)
    assert told["spread"] == [0.25, 1.0]
    assert (told["top"], told["bottom"]) == (2.0, 4.0)


def test_a_row_over_its_target_is_not_ok() -> None:
    assert judged(AT_MOST, _found([1.1], [2.0]), full=True)["ok"] is False


def test_what_was_not_measured_is_neither_ok_nor_missed_and_says_why() -> None:
    found = Found({("w1", "a"): [{"ms": 1.0}]}, {("w1", "b"): "no Postgres"})
    told = judged(AT_MOST, found, full=True)
    assert (told["value"], told["ok"], told["reason"]) == (None, None, "b: no Postgres")


def test_slack_is_for_counts_and_at_least_is_the_other_way_round() -> None:
    count = Row("r", "", AT_MOST.top, None, 2.0, slack=0.2)
    assert [count.keeps(value) for value in (2.2, 2.3)] == [True, False]
    speed = Row("r", "", AT_MOST.top, AT_MOST.bottom, 1.8, "at least")
    assert [speed.keeps(value) for value in (1.8, 1.7)] == [True, False]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.key)
def test_every_row_has_a_target_and_entries_that_take_part_in_a_quick_run(row: Row) -> None:
    assert row.target > 0
    contests = {contest.name: contest for contest in CONTESTS}
    for figure in filter(None, (row.top, row.bottom)):
        entries = {entry.name: entry for entry in contests[figure.contest].entries}
        assert entries[figure.entry].how != "full"


def test_keys_and_entries_are_named_once() -> None:
    keys = [row.key for row in ROWS]
    assert len(set(keys)) == len(keys)
    for contest in CONTESTS:
        names = [entry.name for entry in contest.entries]
        assert len(set(names)) == len(names)


def test_a_quick_row_says_what_it_did_less_of() -> None:
    row = next(row for row in ROWS if row.key == "worker_memory_growth")
    found = Found({(row.top.contest, row.top.entry): [{"memory_growth": 1.01}]})
    assert judged(row, found, full=False)["reduced"] == {"depth": 10_000}
    assert "reduced" not in judged(row, found, full=True)


def test_a_plot_is_well_formed_and_longer_for_more() -> None:
    rows = [Bar("a < b", 1.0, 0.9, 1.1, ours=True), Bar("c", 100.0, 80.0, 130.0, ours=False)]
    for log in (False, True):
        svg = ET.fromstring(bars("t & u", "ms", rows, log=log))
        drawn = [each for each in svg.iter() if each.get("class") in {"o", "b"}]
        assert float(drawn[0].get("width")) < float(drawn[1].get("width"))


@pytest.mark.parametrize(
    ("value", "text"), [(0.12345, "0.123"), (123.4, "123"), (45_600, "45.6 k"), (2e8, "200 M")]
)
def test_numbers_are_short(value: float, text: str) -> None:
    assert short_number(value) == text


def test_the_page_and_the_text_hold_what_was_found_and_what_was_not() -> None:
    contest = CONTESTS[0]
    ours, theirs = contest.entries[0].name, contest.entries[1].name
    found = Found(
        {(contest.name, ours): [{contest.metric: 0.25}]}, {(contest.name, theirs): "no npm"}
    )
    told = {row.key: judged(row, found, full=True) for row in ROWS}
    machine = {"cores": 2, "machine": "m", "system": "s", "load_before": 2.5}
    page = as_page(found, {**told, "machine": machine, "versions": {}, "commit": "c", "full": True})
    assert f"| {ours} | {contest.metric} 0.25 |" in page
    assert f"| {theirs} | not measured: no npm |" in page
    assert "{" not in page
    assert "busy with other work" in page
    text = "\n".join(as_text(found, full=True))
    assert "0.250" in text
    assert "no npm" in text


def _named(peer: str) -> set[str]:
    """Read, without its packages, the workloads and metrics that a peer's program names."""
    text = (PEERS / f"{peer}.py").read_text("utf-8")
    if "workloads(SIDE)" in text:
        text += (PEERS / "graphruns.py").read_text("utf-8")
    text += (PEERS / "contract.py").read_text("utf-8") if "footprint(" in text else ""
    nodes = list(ast.walk(ast.parse(text)))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant)}
    return strings | {node.name[1:] for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("contest", CONTESTS, ids=lambda contest: contest.name)
def test_every_entry_is_of_a_program_that_does_the_work_and_says_the_metric(contest) -> None:
    for entry in contest.entries:
        names = _named(entry.peer)
        assert contest.work in names, entry.name
        assert contest.metric in names, entry.name


@pytest.mark.parametrize("peer", ["langgraph", "dbos", "celery", "prefect", "restate"])
def test_the_versions_of_a_peer_are_pinned(peer: str) -> None:
    lines = (PEERS / f"{peer}.txt").read_text("utf-8").split()
    assert lines
    assert all("==" in line for line in lines)


def test_chunks_do_not_compress_away_and_are_the_same_each_time() -> None:
    assert len(chunk(1, 10_240)) == 10_240
    assert chunk(1, 50) == chunk(1, 50) != chunk(2, 50)
