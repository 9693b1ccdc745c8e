"""The doctor judges facts: what is well, what may hurt, what will."""

from typing import Any

import pytest

from orchestrator.cli.doctor import damage_lines
from orchestrator.cli.findings import Facts, Finding, Level, Place, judge
from orchestrator.ids import CHILD, child_thread
from orchestrator.model.audit import Damage, DamageCode

WELL: dict[str, Any] = {
    "redis_version": "7.2.4",
    "valkey_version": "9.1.2",
    "aof_enabled": 1,
    "aof_last_write_status": "ok",
    "maxmemory": 0,
    "used_memory": 1_000,
    "maxmemory_policy": "noeviction",
    "cluster_enabled": 0,
    "role": "master",
}
URL = "redis://127.0.0.1:6379/0"


def facts(info: dict[str, Any] | None = None, **changes: Any) -> Facts:
    known: dict[str, Any] = {
        "url": URL,
        "broker_url": URL,
        "info": {**WELL, **(info or {})},
        "server_ahead_s": 0.0,
        "graphs": ("census",),
        "workers": 2,
    }
    return Facts(**{**known, **changes})


def finding(code: str, found: list[Finding]) -> Finding:
    [match] = [each for each in found if each.code == code]
    return match


def test_a_healthy_deployment_has_only_good_findings() -> None:
    found = judge(facts())
    assert {each.level for each in found} == {Level.OK}
    assert {each.code for each in found} == {
        "SERVER",
        "PERSISTENCE",
        "EVICTION",
        "GRAPHS",
        "WORKERS",
    }
    assert finding("SERVER", found).what == f"Valkey 9.1.2 answers at {URL}"


@pytest.mark.parametrize(
    ("info", "code", "level"),
    [
        ({"redis_version": "6.0.16"}, "SERVER_TOO_OLD", Level.FAIL),
        ({"aof_enabled": 0}, "PERSISTENCE_OFF", Level.FAIL),
        ({"aof_enabled": 0, "connected_slaves": 1}, "PERSISTENCE_OFF", Level.WARN),
        ({"aof_last_write_status": "err"}, "PERSISTENCE_BROKEN", Level.FAIL),
        ({"maxmemory_policy": "allkeys-lru", "maxmemory": 9_000}, "EVICTION", Level.FAIL),
        ({"maxmemory_policy": "allkeys-lru"}, "EVICTION", Level.WARN),
        ({"maxmemory": 1_000, "used_memory": 950}, "MEMORY_NEARLY_FULL", Level.WARN),
        ({"role": "slave"}, "READ_ONLY_REPLICA", Level.FAIL),
        ({"cluster_enabled": 1}, "CLUSTER_AS_BROKER", Level.FAIL),
    ],
)
def test_what_the_server_says_is_judged(info: dict[str, Any], code: str, level: Level) -> None:
    assert finding(code, judge(facts(info))).level is level


@pytest.mark.parametrize(
    ("changes", "code", "level"),
    [
        ({"info": {}, "server_error": "refused"}, "SERVER_UNREACHABLE", Level.FAIL),
        ({"info": {}, "info_error": "NOPERM"}, "INFO_FORBIDDEN", Level.WARN),
        ({"broker_url": "amqp://broker"}, "SEPARATE_BROKER", Level.WARN),
        (
            {"visibility_timeout_s": 60.0, "node_timeouts_s": {"g.a": 5.0, "g.b": 90.0}},
            "VISIBILITY_TIMEOUT",
            Level.WARN,
        ),
        (
            {"places": {"workers": Place("/here/workers", "/ours/workers")}},
            "IMPORT_SHADOWED",
            Level.FAIL,
        ),
        ({"places": {"workers": Place("/o", "/o", ("rival",))}}, "IMPORT_CONTESTED", Level.WARN),
        ({"graph_errors": {"census": "no module"}}, "GRAPH_BROKEN", Level.FAIL),
        ({"graphs": ()}, "NO_GRAPHS", Level.WARN),
        ({"optimized": True}, "ASSERTIONS_OFF", Level.FAIL),
        ({"server_ahead_s": -7.0}, "CLOCK_SKEW", Level.WARN),
        ({"workers": 0}, "NO_WORKERS", Level.WARN),
        ({"halts": {0: "back by 3 min", 2: "back by 3 min"}}, "SERVER_WENT_BACK", Level.FAIL),
        ({"halts": {0: "nothing left"}, "emptied": True}, "SERVER_EMPTIED", Level.FAIL),
    ],
)
def test_every_other_fact_is_judged(changes: dict[str, Any], code: str, level: Level) -> None:
    known = {"url": URL, "broker_url": URL, "info": WELL} | changes
    assert finding(code, judge(Facts(**known))).level is level


def test_what_is_not_known_is_not_judged() -> None:
    assert judge(Facts(url=URL, broker_url=URL)) == []


def test_a_cluster_that_only_keeps_the_state_is_well() -> None:
    found = judge(facts({"cluster_enabled": 1}, broker_url="amqp://broker"))
    assert "CLUSTER_AS_BROKER" not in {each.code for each in found}


def test_a_visibility_timeout_above_every_node_is_well() -> None:
    found = judge(facts(visibility_timeout_s=3600.0, node_timeouts_s={"g.a": 60.0}))
    assert "VISIBILITY_TIMEOUT" not in {each.code for each in found}


def test_a_small_clock_skew_is_well() -> None:
    assert "CLOCK_SKEW" not in {each.code for each in judge(facts(server_ahead_s=4.0))}


def test_every_finding_that_is_not_well_says_what_to_do() -> None:
    bad = {
        "aof_enabled": 0,
        "maxmemory_policy": "allkeys-lru",
        "role": "slave",
        "cluster_enabled": 1,
    }
    found = judge(
        facts(
            bad,
            workers=0,
            optimized=True,
            server_ahead_s=99.0,
            graph_errors={"g": "broken"},
            places={"workers": Place("/a", "/b", ("rival",))},
        )
    )
    assert all(each.remedy for each in found if each.level is not Level.OK)
    assert len(found) > 8


def test_a_damaged_thread_of_a_subgraph_is_named_readably() -> None:
    thread = child_thread("t", "inner:0a")
    damage = Damage(thread_id=thread, code=DamageCode.STEP_LOST, why="it was gone")
    assert "t / inner:0a: it was gone" in damage_lines(damage)
    assert CHILD not in damage_lines(damage)
