"""The promises of a store: memory that outlives threads. The names are LangGraph's.

A store keeps dicts under a namespace and a key. It knows nothing of graphs, threads and runs:
values that nodes put are visible at once, to every thread, whether or not their step commits.

Rule 1: `batch` answers in the order of its operations. They all see the store as it was before;
        of several puts to one place the last one counts.
Rule 2: a loaded value equals the stored one and is a copy: changing it changes nothing here.
Rule 3: a label of a namespace is a text without periods; other labels raise in every method.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal, TypedDict, cast

from orchestrator.store.operations import (
    GetOp,
    Item,
    ListNamespacesOp,
    MatchCondition,
    Namespace,
    Op,
    PutOp,
    Result,
    SearchItem,
    SearchOp,
)


class InvalidNamespaceError(ValueError):
    """A namespace or key that cannot name a place in a store."""


class NotProvided:
    """The type of `NOT_PROVIDED`: an argument that was left out, where `None` means something."""

    def __bool__(self) -> Literal[False]:
        return False

    def __repr__(self) -> str:
        return "NOT_GIVEN"


NOT_PROVIDED = NotProvided()

Refresh = bool | None  # `None`: as the store is set.

_UNSTORABLE = re.compile("[\x00\ud800-\udfff]")


class TTLConfig(TypedDict, total=False):
    """How long items live. Expired items are never returned.

    Attributes:
        refresh_on_read: whether reading starts the time anew (default: yes).
        default_ttl: minutes for items that are put without `ttl`; `None`: for ever.
        omit_expired: always so here; it is LangGraph's.
        sweep_interval_minutes: has no effect: writing removes expired items.
    """

    refresh_on_read: bool
    omit_expired: bool
    default_ttl: float | None
    sweep_interval_minutes: int | None


class IndexConfig(TypedDict, total=False):
    """How items are found by likeness.

    Attributes:
        dims: how many numbers a vector has.
        embed: makes vectors of texts: a function of a list of texts, sync or async, or an object
            with `embed_documents` and `embed_query`.
        fields: the fields of a value that are indexed; `$` (the default): all of it, as JSON.
    """

    dims: int
    embed: Callable[[Sequence[str]], Any] | Any
    fields: list[str] | None


class BaseStore(ABC):
    """Memory across threads. A store implements `batch` and `abatch`; the rest says it in words."""

    __slots__ = ("__weakref__",)

    supports_ttl: bool = False
    ttl_config: TTLConfig | None = None

    @abstractmethod
    def batch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations; see rule 1."""

    @abstractmethod
    async def abatch(self, ops: Iterable[Op]) -> list[Result]:
        """Do all operations without blocking the event loop."""

    def get(
        self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """Return one item, or `None`."""
        return cast("Item | None", self.batch([_get(self, namespace, key, refresh_ttl)])[0])

    async def aget(
        self, namespace: Namespace, key: str, *, refresh_ttl: bool | None = None
    ) -> Item | None:
        """As `get`."""
        [item] = await self.abatch([_get(self, namespace, key, refresh_ttl)])
        return cast("Item | None", item)

    def search(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """Return items under a namespace; the arguments are those of `SearchOp`."""
        refresh = _refreshes(self, refresh_ttl)
        op = SearchOp(namespace_prefix, filter, limit, offset, query, refresh)
        return cast("list[SearchItem]", self.batch([op])[0])

    async def asearch(
        self,
        namespace_prefix: Namespace,
        /,
        *,
        query: str | None = None,
        filter: Mapping[str, Any] | None = None,  # noqa: A002 - LangGraph's name
        limit: int = 10,
        offset: int = 0,
        refresh_ttl: bool | None = None,
    ) -> list[SearchItem]:
        """As `search`."""
        refresh = _refreshes(self, refresh_ttl)
        op = SearchOp(namespace_prefix, filter, limit, offset, query, refresh)
        return cast("list[SearchItem]", (await self.abatch([op]))[0])

    def put(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """Store a value; a previous one is replaced.

        Args:
            namespace: where: labels from the outermost on, such as `("users", "1")`.
            key: its name there.
            value: a dict with texts as keys.
            index: the fields that a search by query compares; `None`: the store's; `False`: none.
            ttl: minutes until it is forgotten; `None`: never.

        Raises:
            InvalidNamespaceError: if the namespace is empty or begins with `langgraph`, or a label
                is empty, no text, or holds a period.
            NotImplementedError: if there is a `ttl`, and the store forgets nothing.
        """
        self.batch([_put(self, namespace, key, value, index, ttl)])

    async def aput(
        self,
        namespace: Namespace,
        key: str,
        value: Mapping[str, Any],
        index: Literal[False] | list[str] | None = None,
        *,
        ttl: float | NotProvided | None = NOT_PROVIDED,
    ) -> None:
        """As `put`."""
        await self.abatch([_put(self, namespace, key, value, index, ttl)])

    def delete(self, namespace: Namespace, key: str) -> None:
        """Remove an item, if it is there."""
        self.batch([PutOp(namespace, str(key), None)])

    async def adelete(self, namespace: Namespace, key: str) -> None:
        """As `delete`."""
        await self.abatch([PutOp(namespace, str(key), None)])

    def list_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """Return the namespaces that hold items, in order.

        Args:
            prefix: how they begin; `*` is any one label.
            suffix: how they end.
            max_depth: labels beyond this depth are cut off.
            limit: how many at most.
            offset: how many to skip.
        """
        op = ListNamespacesOp(_conditions(prefix, suffix), max_depth, limit, offset)
        return cast("list[Namespace]", self.batch([op])[0])

    async def alist_namespaces(
        self,
        *,
        prefix: Namespace | None = None,
        suffix: Namespace | None = None,
        max_depth: int | None = None,
        limit: int = 100,
        offset: int = 0,
    ) -> list[Namespace]:
        """As `list_namespaces`."""
        op = ListNamespacesOp(_conditions(prefix, suffix), max_depth, limit, offset)
        return cast("list[Namespace]", (await self.abatch([op]))[0])


# ---- from arguments to operations --------------------------------------------------------------


def _get(store: BaseStore, namespace: Namespace, key: str, refresh: Refresh) -> GetOp:
    return GetOp(namespace, str(key), _refreshes(store, refresh))


def _put(
    store: BaseStore,
    namespace: Namespace,
    key: str,
    value: Mapping[str, Any],
    index: Literal[False] | list[str] | None,
    ttl: float | NotProvided | None,
) -> PutOp:
    if not namespace:
        raise InvalidNamespaceError("a namespace must have at least one label (namespace=())")
    if namespace[0] == "langgraph":
        msg = f"a namespace must not begin with 'langgraph', which is reserved ({namespace})"
        raise InvalidNamespaceError(msg)
    if isinstance(ttl, NotProvided):
        ttl = (store.ttl_config or {}).get("default_ttl")
    elif ttl is not None and not store.supports_ttl:
        name = type(store).__qualname__
        raise NotImplementedError(f"ttl must be left out, since {name} expires nothing ({ttl=})")
    return PutOp(namespace, str(key), value, index, ttl)


def _conditions(prefix: Namespace | None, suffix: Namespace | None) -> tuple[MatchCondition, ...]:
    found = []
    if prefix:
        found.append(MatchCondition("prefix", prefix))
    if suffix:
        found.append(MatchCondition("suffix", suffix))
    return tuple(found)


def _refreshes(store: BaseStore, refresh: Refresh) -> bool:
    if refresh is not None:
        return refresh
    return (store.ttl_config or {}).get("refresh_on_read", True)


def validate_op_namespace(op: Op) -> None:
    """Check the labels that an operation names.

    Raises:
        InvalidNamespaceError: if one is empty, no text, or holds a period or half a character.
    """
    match op:
        case GetOp() | PutOp():
            _check_labels(op.namespace)
            _check_text(op.key, "key")
        case SearchOp():
            _check_labels(op.namespace_prefix)
        case ListNamespacesOp():
            for condition in op.match_conditions or ():
                _check_labels(condition.path)


def _check_labels(namespace: Namespace) -> None:
    if not isinstance(namespace, (tuple, list)):
        msg = f"a namespace must be a tuple of labels, such as ('users', '1') ({namespace!r})"
        raise InvalidNamespaceError(msg)
    for label in namespace:
        if not isinstance(label, str):
            kind = type(label).__name__
            msg = f"a label of a namespace must be a text ({kind} {label!r} in {namespace})"
            raise InvalidNamespaceError(msg)
        if not label:
            raise InvalidNamespaceError(f"a label of a namespace must not be empty ({namespace})")
        if "." in label:
            msg = (
                f"a label of a namespace must not hold a period ({label!r} in {namespace}): "
                f"make each part a label"
            )
            raise InvalidNamespaceError(msg)
        _check_text(label, "label")


def _check_text(text: str, what: str) -> None:
    if _UNSTORABLE.search(text):
        msg = f"the {what} must not hold a NUL or half a character ({text!r})"
        raise InvalidNamespaceError(msg)
