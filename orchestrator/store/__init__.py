"""Long-term memory: dicts by namespace and key, across threads. The names are LangGraph's.

`orchestrator.store.sqlite` and `orchestrator.store.redis` keep it beyond this process.
"""

from orchestrator.store.base import (
    BaseStore,
    IndexConfig,
    InvalidNamespaceError,
    TTLConfig,
    validate_op_namespace,
)
from orchestrator.store.memory import InMemoryStore
from orchestrator.store.operations import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)

__all__ = [
    "BaseStore",
    "GetOp",
    "InMemoryStore",
    "IndexConfig",
    "InvalidNamespaceError",
    "Item",
    "ListNamespacesOp",
    "MatchCondition",
    "Op",
    "PutOp",
    "Result",
    "SearchItem",
    "SearchOp",
    "TTLConfig",
    "validate_op_namespace",
]
