"""The update rules of a state's keys."""

from orchestrator.channels.base import (
    MISSING,
    UNCHANGED,
    BaseChannel,
    Channel,
    Overwrite,
    overwrite_of,
    storable,
)
from orchestrator.channels.delta import DeltaChannel
from orchestrator.channels.last_value import (
    AnyValue,
    EphemeralValue,
    LastValue,
    LastValueAfterFinish,
    UntrackedValue,
)
from orchestrator.channels.reducers import (
    BinaryOperatorAggregate,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
)

__all__ = [
    "MISSING",
    "UNCHANGED",
    "AnyValue",
    "BaseChannel",
    "BinaryOperatorAggregate",
    "Channel",
    "DeltaChannel",
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
