"""Problems of a deployment, judged from facts. Pure: the facts are gathered elsewhere.

Rule 1: a check that lacks its fact says nothing. Servers that forbid a question are not suspects.
Rule 2: `fail` means that work will be lost or will not run; `warn` means that it may, or that it is
        slower.
Rule 3: every finding that is not `ok` has a remedy that one can do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import StrEnum

VERSION_MIN = (6, 2)
CLOCK_SKEW_MAX_S = 5.0
MEMORY_USED_MAX = 0.9  # Of maxmemory; beyond it a server with noeviction soon refuses commits.


class Level(StrEnum):
    """How bad a finding is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """The result of one check."""

    level: Level
    code: str  # Stable, for programs.
    what: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Place:
    """The place that an import name leads to, and the right one."""

    found: str  # The file or folder that a process started here would import; empty: none.
    expected: str
    others: tuple[str, ...] = ()  # Other installed distributions that bring the same name.


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """The facts of a deployment; `None` or empty means unknown."""

    url: str  # Without its password.
    broker_url: str
    server_error: str | None = None
    info_error: str | None = None
    info: Mapping[str, object] = field(default_factory=dict)  # The fields of INFO.
    server_ahead_s: float | None = None  # Server time minus ours.
    visibility_timeout_s: float | None = None  # None: the broker never redelivers by time.
    # "graph.node" → its timeout.
    node_timeouts_s: Mapping[str, float] = field(default_factory=dict)
    graphs: tuple[str, ...] | None = None  # Names of the configured graphs.
    graph_errors: Mapping[str, str] = field(default_factory=dict)
    places: Mapping[str, Place] = field(default_factory=dict)  # Import name → where it leads.
    optimized: bool = False
    workers: int | None = None
    brokers_read: frozenset[str] = frozenset()  # By the workers that are alive; "": not known.
    broker_trouble: str = ""  # Why a broker of its own accepts no messages.
    broker_name: str = ""  # The one that is configured here, by the same names.
    partitions_error: str | None = None  # Why the store and the settings here do not agree.
    halts: Mapping[int, str] = field(default_factory=dict)  # Partition → the reason.
    emptied: bool = False  # Whether the halted partitions are empty.


Check = Callable[[Facts], Iterator[Finding]]


def server_answers(facts: Facts) -> Iterator[Finding]:
    """Check that a server answers."""
    if facts.server_error is not None:
        what = f"no server answers at {facts.url}: {facts.server_error}"
        remedy = "start one (graphstalk dev does), or set REDIS_URL to one that runs"
        yield Finding(Level.FAIL, "SERVER_UNREACHABLE", what, remedy)
    elif facts.info_error is not None:
        what = (
            f"the server answers at {facts.url} but forbids INFO ({facts.info_error}): its "
            "settings are unknown"
        )
        remedy = "allow INFO, or check persistence and eviction policy at your provider"
        yield Finding(Level.WARN, "INFO_FORBIDDEN", what, remedy)


def partitions_agree(facts: Facts) -> Iterator[Finding]:
    """Check that the store has as many partitions as the settings say."""
    if facts.partitions_error is not None:
        remedy = "set GRAPHSTALK_PARTITIONS to the number of the store, in every process"
        yield Finding(Level.FAIL, "PARTITIONS_DIFFER", facts.partitions_error, remedy)


def server_has_what_it_had(facts: Facts) -> Iterator[Finding]:
    """Check that the server still holds all commits that workers have seen; else nothing runs."""
    if not facts.halts:
        return
    halts = "; ".join(dict.fromkeys(facts.halts.values()))
    where = ", ".join(str(partition) for partition in facts.halts)
    what = f"{halts}. Nothing of the partitions {where} runs"
    better = "connect the server that was there" if facts.emptied else "put a newer copy back"
    remedy = (
        f"{better}, and everything continues; or accept that later commits are lost, so that their "
        "steps may run again: graphstalk doctor --accept-loss"
    )
    yield Finding(
        Level.FAIL, "SERVER_EMPTIED" if facts.emptied else "SERVER_WENT_BACK", what, remedy
    )


def version_is_enough(facts: Facts) -> Iterator[Finding]:
    """Check that the server knows the commands that commits use."""
    version = facts.info.get("redis_version")
    if version is None:
        return
    valkey = facts.info.get("valkey_version")
    name = f"Valkey {valkey}" if valkey else f"Redis {version}"
    numbers = tuple(int(part) for part in str(version).split(".")[:2] if part.isdigit())
    if numbers < VERSION_MIN:
        yield Finding(
            Level.FAIL,
            "SERVER_TOO_OLD",
            f"{name} at {facts.url}",
            "upgrade to Redis 6.2 or Valkey 7.2 at least",
        )
    else:
        yield Finding(Level.OK, "SERVER", f"{name} answers at {facts.url}")


def state_survives_a_restart(facts: Facts) -> Iterator[Finding]:
    """Check that commits reach a disk."""
    enabled = facts.info.get("aof_enabled")
    if enabled is None:
        return
    if str(enabled) == "1":
        yield Finding(Level.OK, "PERSISTENCE", "the append-only file is on")
    else:
        replicas = int(str(facts.info.get("connected_slaves", 0)))
        what = (
            "the append-only file is off: a restart of the server loses commits "
            "since its last snapshot"
        )
        if replicas:
            what += f" (unless one of its {replicas} replicas is promoted)"
        level = Level.WARN if replicas else Level.FAIL
        remedy = "start the server with --appendonly yes --appendfsync everysec"
        yield Finding(level, "PERSISTENCE_OFF", what, remedy)
    if str(facts.info.get("aof_last_write_status", "ok")) != "ok":
        yield Finding(
            Level.FAIL,
            "PERSISTENCE_BROKEN",
            "the last write to the append-only file failed",
            "check the disk of the server",
        )


def nothing_is_evicted(facts: Facts) -> Iterator[Finding]:
    """Check that the server evicts no keys when its memory is full."""
    policy = facts.info.get("maxmemory_policy")
    if policy is None:
        return
    limit, used = (float(str(facts.info.get(name, 0))) for name in ("maxmemory", "used_memory"))
    if policy != "noeviction":
        what = (
            f"the eviction policy is {policy}: when its memory is full, the server deletes threads"
        )
        remedy = "set maxmemory-policy to noeviction"
        if not limit:
            what = f"the eviction policy is {policy}; without a maxmemory it has no effect yet"
        yield Finding(Level.FAIL if limit else Level.WARN, "EVICTION", what, remedy)
    else:
        yield Finding(Level.OK, "EVICTION", "the eviction policy is noeviction")
    if limit and used > limit * MEMORY_USED_MAX:
        what = f"{used / limit:.0%} of maxmemory is used: once it is full, commits are refused"
        yield Finding(
            Level.WARN,
            "MEMORY_NEARLY_FULL",
            what,
            "give the server more memory, or delete threads: graphstalk threads delete ID...",
        )


def server_takes_writes(facts: Facts) -> Iterator[Finding]:
    """Check that the server is a primary."""
    if facts.info.get("role") == "slave":
        what = f"the server at {facts.url} is a read-only replica"
        yield Finding(Level.FAIL, "READ_ONLY_REPLICA", what, "use the address of the primary")


def broker_is_no_cluster(facts: Facts) -> Iterator[Finding]:
    """Check that the broker is no Redis Cluster, which Celery's transport cannot use."""
    if facts.broker_url == facts.url and str(facts.info.get("cluster_enabled", 0)) == "1":
        what = (
            f"the server at {facts.url} is in cluster mode, which serves as checkpointer but "
            "not as Celery's broker"
        )
        remedy = "set GRAPHSTALK_BROKER_URL to a single Redis, or to RabbitMQ"
        yield Finding(Level.FAIL, "CLUSTER_AS_BROKER", what, remedy)


def broker_accepts_messages(facts: Facts) -> Iterator[Finding]:
    """Check that a broker of its own can be reached, and does not refuse what is sent."""
    if facts.broker_trouble:
        what = f"the broker ({facts.broker_url}) accepts no messages: {facts.broker_trouble}"
        remedy = (
            "steps are stored and wait for it. Start it, or check GRAPHSTALK_BROKER_URL; of a "
            "RabbitMQ check memory and disk: rabbitmq-diagnostics alarms"
        )
        yield Finding(Level.FAIL, "BROKER_UNAVAILABLE", what, remedy)


def broker_is_the_checkpointer(facts: Facts) -> Iterator[Finding]:
    """Check whether commits can push messages themselves."""
    if facts.broker_url != facts.url:
        what = (
            f"the broker ({facts.broker_url}) is not the checkpointer: each hop costs one more "
            "round trip"
        )
        remedy = "for speed use one Redis for both; correctness is the same"
        yield Finding(Level.WARN, "SEPARATE_BROKER", what, remedy)


def redelivery_waits_for_nodes(facts: Facts) -> Iterator[Finding]:
    """Check that the broker does not repeat messages of nodes that still run."""
    if facts.visibility_timeout_s is None or not facts.node_timeouts_s:
        return
    name, longest = max(facts.node_timeouts_s.items(), key=lambda item: item[1])
    if longest >= facts.visibility_timeout_s:
        what = (
            f"the broker's visibility timeout ({facts.visibility_timeout_s:g} s) is not above "
            "the timeout of "
            f"{name} ({longest:g} s): its message is delivered again while it runs"
        )
        remedy = "give the node a shorter timeout, or use Redis or RabbitMQ as the broker"
        yield Finding(Level.WARN, "VISIBILITY_TIMEOUT", what, remedy)


def names_lead_to_us(facts: Facts) -> Iterator[Finding]:
    """Check that the names of our packages import our packages."""
    for name, place in facts.places.items():
        if place.found and place.found != place.expected:
            what = (
                f"a process started here imports {name} from {place.found}, not from "
                f"{place.expected}"
            )
            remedy = f"rename that {name}, or start the command in another folder"
            yield Finding(Level.FAIL, "IMPORT_SHADOWED", what, remedy)
        if place.others:
            what = f"the name {name} is also installed by {', '.join(place.others)}"
            yield Finding(
                Level.WARN,
                "IMPORT_CONTESTED",
                what,
                "uninstall it, or use a virtual environment of its own",
            )


def graphs_can_be_imported(facts: Facts) -> Iterator[Finding]:
    """Check that workers started here can import their graphs."""
    for name, error in facts.graph_errors.items():
        remedy = "mend it; a worker that lacks a graph leaves its steps to others"
        yield Finding(Level.FAIL, "GRAPH_BROKEN", f"graph {name}: {error}", remedy)
    if facts.graphs:
        good = [name for name in facts.graphs if name not in facts.graph_errors]
        if good:
            yield Finding(Level.OK, "GRAPHS", f"graphs: {', '.join(good)}")
    elif facts.graphs is not None and not facts.graph_errors:
        remedy = 'name one: [tool.graphstalk] graphs = {name = "module:attr"} in pyproject.toml'
        yield Finding(Level.WARN, "NO_GRAPHS", "no graph is configured in this folder", remedy)


def assertions_are_on(facts: Facts) -> Iterator[Finding]:
    """Check that Python keeps the assertions that the engine relies on."""
    if facts.optimized:
        what = (
            "Python runs with -O (or PYTHONOPTIMIZE), which removes assertions: workers refuse "
            "to start"
        )
        yield Finding(Level.FAIL, "ASSERTIONS_OFF", what, "start Python without it")


def clocks_agree(facts: Facts) -> Iterator[Finding]:
    """Check that the clocks of this machine and the server agree."""
    ahead = facts.server_ahead_s
    if ahead is not None and abs(ahead) > CLOCK_SKEW_MAX_S:
        side = "ahead of" if ahead > 0 else "behind"
        what = (
            f"the server's clock is {abs(ahead):.0f} s {side} this machine's: leases are safe, "
            "times seem wrong"
        )
        yield Finding(Level.WARN, "CLOCK_SKEW", what, "run a time service (NTP) on both machines")


def workers_are_alive(facts: Facts) -> Iterator[Finding]:
    """Check that workers are alive."""
    if facts.workers == 0:
        what = "no worker is alive: submitted runs wait"
        yield Finding(
            Level.WARN, "NO_WORKERS", what, "start one: graphstalk worker, or graphstalk dev"
        )
    elif facts.workers:
        yield Finding(Level.OK, "WORKERS", f"workers alive: {facts.workers}")


def broker_is_read(facts: Facts) -> Iterator[Finding]:
    """Check that a worker reads the broker to which processes configured as this one send."""
    read = facts.brokers_read
    if read and "" not in read and facts.broker_name not in read:
        names = ", ".join(sorted(read))
        what = f"no worker reads the broker {facts.broker_name}; those that are alive read {names}"
        remedy = "set GRAPHSTALK_BROKER_URL to the same broker in every process"
        yield Finding(Level.FAIL, "BROKER_NOT_READ", what, remedy)


CHECKS: tuple[Check, ...] = (
    server_answers,
    partitions_agree,
    server_has_what_it_had,
    version_is_enough,
    state_survives_a_restart,
    nothing_is_evicted,
    server_takes_writes,
    broker_is_no_cluster,
    broker_accepts_messages,
    broker_is_the_checkpointer,
    broker_is_read,
    redelivery_waits_for_nodes,
    names_lead_to_us,
    graphs_can_be_imported,
    assertions_are_on,
    clocks_agree,
    workers_are_alive,
)


def judge(facts: Facts) -> list[Finding]:
    """Return the findings of all checks."""
    return [finding for check in CHECKS for finding in check(facts)]
