"""A conversation as a key of the state: messages with ids, merged by id. The names are LangGraph's.

langchain-core is never required. Where it is installed, messages become its objects, exactly as in
LangGraph. Where it is not, a message is a plain dict of `role`, `content`, `id` and further keys of
its author.

Rule 1: importing this module does not import langchain-core, which takes long; merging does.
Rule 2: a message without an id gets one before its step is committed, the same in each attempt at
        the step; so streamed and stored messages are equal. (INV-6)
Rule 3: a merge changes none of its arguments: a message that gets an id is a copy.
Rule 4: a text or a pair becomes a message when it is merged, with a random id. A repeated merge
        gives another id, but only one is ever committed. (INV-2)
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from operator import is_
from typing import Annotated, Any, Literal, TypedDict, TypeVar
from uuid import UUID

from orchestrator.ids import new_uuid, short_hash

MessageT = TypeVar("MessageT")

_PLAIN_ROLES = ("user", "assistant", "system", "developer", "tool", "function")
# The roles there are, and the names that langchain-core gives to some of them.
_ROLES = {role: role for role in _PLAIN_ROLES} | {
    "human": "user",
    "ai": "assistant",
    "remove": "remove",
}


@dataclass(frozen=True, slots=True)
class PlainRemoveMessage:
    """Removes the message with this id from the conversation."""

    id: str


def merge(
    left: Sequence[MessageT],
    right: Sequence[MessageT],
    *,
    name: Callable[[MessageT], Any],
    removes: Callable[[MessageT], bool],
    everything: str,
) -> list[MessageT]:
    """Return `left` with `right` merged in, by id.

    Args:
        left: the messages so far.
        right: messages that replace, extend or remove them.
        name: returns the id of a message.
        removes: returns whether a message removes the one with its id.
        everything: the id with which a removal removes all messages before it.

    Raises:
        ValueError: if a message to remove is not there.
    """
    for place in reversed(range(len(right))):
        if removes(right[place]) and name(right[place]) == everything:
            left, right = (), right[place + 1 :]
            break
    merged = list(left)
    places = {name(message): place for place, message in enumerate(merged)}
    gone = set()
    for message in right:
        key = name(message)
        if removes(message):
            if key not in places:
                msg = (
                    f"Attempting to delete a message with an ID that doesn't exist ({key!r}): a "
                    f"RemoveMessage must name a message of the state"
                )
                raise ValueError(msg)
            gone.add(key)
        elif key in places:
            gone.discard(key)
            merged[places[key]] = message
        else:
            places[key] = len(merged)
            merged.append(message)
    return [message for message in merged if name(message) not in gone] if gone else merged


def plain_message(message: Any, new_id: Callable[[], str | None]) -> dict[str, Any]:
    """Return a message in its plain form, with an id; the argument is not changed.

    Args:
        message: a dict, a pair of role and content, a string, or a `PlainRemoveMessage`.
        new_id: returns the id for a message without one.

    Raises:
        ValueError: if it has another type, or no role or content.
    """
    fields = _fields(message)
    given = fields.get("role", fields.get("type"))
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        msg = f"the role of a message must be one of {', '.join(sorted(_ROLES))} (role={given!r})"
        raise ValueError(msg)
    if role != "remove" and "content" not in fields:
        msg = f"a message must have 'role' and 'content' (its keys: {sorted(fields)})"
        raise ValueError(msg)
    rest = {key: value for key, value in fields.items() if key not in {"role", "content", "id"}}
    if "role" not in fields:
        del rest["type"]  # It was the role.
    content = fields.get("content")
    key = fields.get("id")
    return {
        "role": role,
        "content": "" if content is None else content,
        "id": new_id() if key is None else key,
        **rest,
    }


def _fields(message: Any) -> Mapping[str, Any]:
    if isinstance(message, str):
        return {"role": "user", "content": message}
    if isinstance(message, PlainRemoveMessage):
        return {"role": "remove", "id": message.id}
    if isinstance(message, Mapping):
        return message
    if isinstance(message, Sequence) and len(message) == 2:
        return {"role": message[0], "content": message[1]}
    msg = (
        f"a message must be a dict with 'role' and 'content', a pair of them or a string, or "
        f"langchain-core must be installed for its messages ({type(message).__qualname__})"
    )
    raise ValueError(msg)


REMOVE_ALL_MESSAGES = "__remove_all__"

AnyMessage = Any  # One of langchain-core's messages, or a dict.

_Format = Literal["langchain-openai"] | None


def __getattr__(name: str) -> Any:
    if name == "RemoveMessage":
        langchain = _langchain()
        return PlainRemoveMessage if langchain is None else langchain.RemoveMessage
    msg = f"module {__name__!r} has no attribute {name!r}"
    raise AttributeError(msg)


def add_messages(left: Any = None, right: Any = None, *, format: _Format = None) -> Any:  # noqa: A002 - LangGraph's name
    """Merge messages: one with the id of an earlier one takes its place, others are appended.

    Serves as a reducer: `Annotated[list, add_messages]`. Without messages it returns a reducer with
    that format: `Annotated[list, add_messages(format="langchain-openai")]`.

    Args:
        left: the messages so far, or one.
        right: the messages to merge in, or one. A message is one of langchain-core's, a dict with
            `role` (or `type`) and `content`, a pair of role and content, or a string: a message of
            the user. `RemoveMessage(id)` removes one, `RemoveMessage(REMOVE_ALL_MESSAGES)` all
            before it.
        format: `langchain-openai` gives contents the form of OpenAI's API. It needs
            langchain-core.

    Raises:
        ValueError: if a message to remove is not there, a message cannot be understood, or only one
            of `left` and `right` is given.
        ImportError: if the format needs langchain-core, which is not installed.
    """
    if left is not None and right is not None:
        return _merged(left, right, format=format)
    if left is None and right is None:
        return partial(_merged, format=format)
    only = "left" if left is not None else "right"
    msg = f"add_messages needs both 'left' and 'right' (only {only!r} was given, the other is None)"
    raise ValueError(msg)


def _merged(left: Any, right: Any, *, format: _Format = None) -> list[Any]:  # noqa: A002 - LangGraph's name
    if format and format != "langchain-openai":
        msg = f"Unrecognized {format=}: it must be 'langchain-openai' or None"
        raise ValueError(msg)
    before = left if isinstance(left, list) else [left]
    news = right if isinstance(right, list) else [right]
    langchain = _langchain()
    if langchain is not None:
        return _merged_objects(langchain, before, news, format)
    if format:
        msg = f"{format=} needs langchain-core: pip install langchain-core, or omit the format"
        raise ImportError(msg)
    return merge(
        [plain_message(each, new_uuid) for each in before],
        [plain_message(each, new_uuid) for each in news],
        name=lambda message: message["id"],
        removes=lambda message: message["role"] == "remove",
        everything=REMOVE_ALL_MESSAGES,
    )


def _merged_objects(langchain: Any, left: list[Any], right: list[Any], form: _Format) -> list[Any]:
    left, right = _objects(langchain, left), _objects(langchain, right)
    left, right = ([_named(message) for message in each] for each in (left, right))
    removal = langchain.RemoveMessage
    merged = merge(
        left,
        right,
        name=lambda message: message.id,
        removes=lambda message: isinstance(message, removal),
        everything=REMOVE_ALL_MESSAGES,
    )
    return [each for message in merged for each in _openai(langchain, message)] if form else merged


def _openai(langchain: Any, message: Any) -> list[Any]:
    """Return a message in the form of OpenAI, with its id; results of tools become messages."""
    parts = langchain.convert_to_messages(langchain.convert_to_openai_messages([message]))
    main = next((part for part in parts if part.type == message.type), None)
    others = (str(UUID(short_hash(message.id, place))) for place in range(len(parts)))
    return [
        part if part.id else _with_id(part, message.id if part is main else next(others))
        for part in parts
    ]


def _objects(langchain: Any, messages: list[Any]) -> list[Any]:
    # A long history holds messages already: test its few types, not each item.
    base, chunk = langchain.BaseMessage, langchain.BaseMessageChunk
    if all(
        issubclass(cls, base) and not issubclass(cls, chunk) for cls in set(map(type, messages))
    ):
        return messages
    convert = langchain.message_chunk_to_message
    return [convert(message) for message in langchain.convert_to_messages(messages)]


def _langchain() -> Any:
    try:
        from langchain_core import messages  # noqa: PLC0415 - optional, and slow to import
    except ImportError:
        return None
    return messages


def merges_messages(reducer: Any) -> bool:
    """Return whether a reducer is `add_messages`, with a format or without."""
    return reducer is add_messages or (isinstance(reducer, partial) and reducer.func is _merged)


class MessageIds:
    """Ids for messages that a step returns without one, the same in each of its attempts."""

    def __init__(self, seed: str) -> None:
        """Start counting; `seed` names the step among all steps of all threads."""
        self._seed = seed
        self._counts: dict[str, int] = {}
        self._named: dict[int, tuple[Any, Any]] = {}  # By identity: the message, and its copy.

    def given(self, key: str, value: Any, *, converts: bool = False) -> Any:
        """Return the value for a key, with messages without an id replaced by copies with one.

        Args:
            key: the key.
            value: the value that the step writes to it.
            converts: whether dicts in the form of messages become messages.
        """
        if isinstance(value, list):
            named = [self._message(key, item, converts) for item in value]
            return value if all(map(is_, named, value)) else named
        return self._message(key, value, converts)

    def taken(self, value: Any) -> Any:
        """Return a value of a key without the changes of `given`."""
        before = {id(copy): message for message, copy in self._named.values()}
        if isinstance(value, list):
            return [before.get(id(item), item) for item in value]
        return before.get(id(value), value)

    def _message(self, key: str, item: Any, converts: bool) -> Any:  # noqa: FBT001 - as in `given`
        langchain = _langchain() if converts and _is_plain(item) else None
        if not (langchain is not None or _lacks_id(item)):
            return item
        if id(item) not in self._named:
            [message] = [item] if langchain is None else langchain.convert_to_messages([item])
            count = self._counts[key] = self._counts.get(key, 0) + 1
            name = str(UUID(short_hash(self._seed, "message", key, count)))
            if isinstance(message, dict):
                message = {**message, "id": name}
            elif message.id is None:
                message = _with_id(message, name)
            self._named[id(item)] = item, message
        return self._named[id(item)][1]


_TYPES = frozenset({"human", "ai", "system", "tool", "function"})


def _is_plain(item: Any) -> bool:
    """Return whether an item is a dict in the form of a message."""
    if not isinstance(item, dict) or "content" not in item:
        return False
    return item.get("role") in _PLAIN_ROLES or item.get("type") in _TYPES


def _lacks_id(item: Any) -> bool:
    """Return whether an item is a message without an id."""
    langchain = sys.modules.get("langchain_core.messages")
    if langchain is not None and isinstance(item, langchain.BaseMessage):
        return item.id is None
    if not _is_plain(item) or item.get("id") is not None:
        return False
    return find_spec("langchain_core") is None  # Else it becomes an object.


def _named(message: Any) -> Any:
    return message if message.id is not None else _with_id(message, new_uuid())


def _with_id(message: Any, name: str) -> Any:
    return message.model_copy(update={"id": name})


class MessagesState(TypedDict):
    """A state that is a conversation; inherit from it to add keys."""

    messages: Annotated[list[AnyMessage], add_messages]


# ---- from inside a node -----------------------------------------------------------------------

MessageSink = Callable[[Any, str | None], None]

# Of the running step: receives each pushed message, and the key it is written to.
message_sink: ContextVar[MessageSink | None] = ContextVar("graphstalk_message_sink", default=None)


def push_message(message: Any, *, state_key: str | None = "messages") -> Any:
    """Show a message in the stream mode `messages` at once, and write it to the state.

    Args:
        message: in any form that `add_messages` takes, with an id.
        state_key: the key it is written to; `None`: it is only shown.

    Returns:
        The message as it is written.

    Raises:
        ValueError: if the message has no id, by which readers match the shown message to the
            stored one.
        RuntimeError: if called outside a node.
    """
    sink = message_sink.get()
    if sink is None:
        msg = "push_message() works only inside a node of a running graph"
        raise RuntimeError(msg)
    langchain = _langchain()
    if langchain is None:
        pushed = plain_message(message, lambda: None)
        name = pushed["id"]
    else:
        [pushed] = langchain.convert_to_messages([message])
        name = pushed.id
    if name is None:
        msg = (
            "Message ID is required: push_message() shows a message before it is stored, and "
            "readers match the two by the id"
        )
        raise ValueError(msg)
    sink(pushed, state_key)
    return pushed
