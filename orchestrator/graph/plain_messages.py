"""Messages without langchain-core: plain dicts, and how lists of messages are merged by id."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

__all__ = ["PlainRemoveMessage", "merge", "plain_message"]

MessageT = TypeVar("MessageT")

# The roles there are, and the names that langchain-core gives to some of them.
_ROLES = {
    **{role: role for role in ("user", "assistant", "system", "developer", "tool", "function")},
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
        removes: returns whether a message stands for the removal of the one with its id.
        everything: the id by which a removal means all messages before it.

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
    """Return a message in its plain form, with an id; what is given is left as it is.

    Args:
        message: a dict, a pair of role and content, a string, or a `PlainRemoveMessage`.
        new_id: gives the id of a message that has none.

    Raises:
        ValueError: if it is none of these, or has no role or content.
    """
    fields = _fields(message)
    given = fields.get("role", fields.get("type"))
    role = _ROLES.get(given) if isinstance(given, str) else None
    if role is None:
        msg = f"{given!r} is no role of a message; there are {', '.join(sorted(_ROLES))}"
        raise ValueError(msg)
    if role != "remove" and "content" not in fields:
        msg = f"a message has 'role' and 'content'; this one has {sorted(fields)}"
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
        f"a {type(message).__qualname__} is no message: give a dict with 'role' and 'content', a "
        f"pair of them, a string, or install langchain-core for its messages"
    )
    raise ValueError(msg)
