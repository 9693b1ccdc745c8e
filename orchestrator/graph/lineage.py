"""The earlier versions of a graph: migrations of their states, and earlier names of nodes."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from orchestrator.errors import InvalidGraphError, InvalidUpdateError
from orchestrator.graph.routing import branch_channel, join_channel
from orchestrator.model.checkpoint import Checkpoint, PlannedStep

Migration = Callable[[dict[str, Any]], Any]


@dataclass(frozen=True, slots=True)
class Lineage:
    """A graph's version, with the migrations and renames that lead to it.

    Attributes:
        version: of the graph's state and structure; the graph continues threads of lower ones.
        migrations: from version → the function that returns the state of the next version.
        renames: earlier name of a node → its name now.
        channels: earlier name of a control channel → its name now.
    """

    version: int = 1
    migrations: Mapping[int, Migration] = field(default_factory=dict)
    renames: Mapping[str, str] = field(default_factory=dict)
    channels: Mapping[str, str] = field(default_factory=dict)

    def succeeds(self, version: int | None) -> bool:
        """Return whether a thread's state is of an earlier version."""
        return version is not None and version < self.version

    def node(self, name: str) -> str:
        """Return the name that a node has now."""
        return self.renames.get(name, name)

    def migrated(self, version: int, values: dict[str, Any]) -> dict[str, Any]:
        """Return the state of an earlier version, migrated to this one.

        Raises:
            InvalidUpdateError: if a migration returns no dict. Its own exceptions are not caught.
        """
        for step in range(version, self.version):
            migrate = self.migrations.get(step)
            if migrate is None:
                continue
            given = values
            values = migrate(dict(given))
            if not isinstance(values, dict):
                msg = (
                    f"the migration from version {step} must return the whole state of version "
                    f"{step + 1} as a dict (returned: {type(values).__name__})"
                )
                raise InvalidUpdateError(msg)
        return values

    def renamed(self, checkpoint: Checkpoint) -> Checkpoint:
        """Return a checkpoint in the names of this graph."""
        if not self.renames:
            return checkpoint
        node, channel = self.node, self._channel
        return replace(
            checkpoint,
            plan=tuple(self._step(step) for step in checkpoint.plan),
            writers=tuple(node(name) for name in checkpoint.writers),
            seen={
                node(name): {channel(key): version for key, version in seen.items()}
                for name, seen in checkpoint.seen.items()
            },
            versions={channel(key): version for key, version in checkpoint.versions.items()},
            control={channel(k): self._gathered(k, v) for k, v in checkpoint.control.items()},
        )

    def write(self, key: str, value: Any) -> tuple[str, Any]:
        """Return a write of an earlier version as one of this."""
        return self._channel(key), self._gathered(key, value)

    def _channel(self, key: str) -> str:
        return self.channels.get(key, key)

    def _step(self, step: PlannedStep) -> PlannedStep:
        triggers = tuple(self._channel(key) for key in step.triggers)
        return PlannedStep(self.node(step.node), step.index, triggers, step.stored or step.node)

    def _gathered(self, key: str, value: Any) -> Any:
        """Return the value of a join, names of nodes, with the present names."""
        if key not in self.channels or value is None:
            return value
        if isinstance(value, str):
            return self.node(value)
        if isinstance(value, list | tuple | set | frozenset):
            return type(value)(self.node(one) for one in value)
        return value


def channels_once(
    renames: Mapping[str, str], nodes: Iterable[str], joins: Iterable[tuple[tuple[str, ...], str]]
) -> dict[str, str]:
    """Return the control channels' names before nodes were renamed, each with its present name.

    Raises:
        InvalidGraphError: if a new name is no node, or an old name still is one.
    """
    names = set(nodes)
    before: dict[str, list[str]] = {}
    for old, new in renames.items():
        if new not in names:
            msg = f"rename({old!r}, {new!r}): there is no node {new!r}"
            raise InvalidGraphError(msg)
        if old in names:
            msg = f"rename({old!r}, {new!r}): there is still a node {old!r}; give it another name"
            raise InvalidGraphError(msg)
        before.setdefault(new, []).append(old)
    found = {branch_channel(old): branch_channel(new) for old, new in renames.items()}
    for sources, end in joins:
        choices = [[name, *before.get(name, ())] for name in (*sources, end)]
        for *others, last in itertools.product(*choices):
            found[join_channel(tuple(others), last)] = join_channel(sources, end)
    return {old: new for old, new in found.items() if old != new}
