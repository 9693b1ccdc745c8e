"""The update rules of a state's keys."""

from orchestrator.channels.base import (
    MISSING,
    UNCHANGED,
    Channel,
    Overwrite,
    overwrite_of,
    storable,
)
from orchestrator.channels.last_value import (
    AnyValue,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    UntrackedValue,
)
from orchestrator.channels.reduced import (
    BinaryOperatorAggregate,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
)

__all__ = [
    "MISSING",
    "UNCHANGED",
    "AnyValue",
    "BinaryOperatorAggregate",
    "Channel",
    "EphemeralValue",
    "LastValue",
    "LastValueAfterFinish",
    "NamedBarrierValue",
    "NamedBarrierValueAfterFinish",
    "Overwrite",
    "Topic",
    "UntrackedValue",
    "overwrite_of",
    "storable",
]
