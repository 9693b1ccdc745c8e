"""The texts of a value that an index looks at: the path language of LangGraph.

`a.b` goes into dicts, `a[0]`, `a[-1]` and `a[*]` into lists, `*` into whatever is there, `{a,b.c}`
takes several fields, `$` is the whole value as JSON.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

__all__ = ["get_text_at_path", "tokenize_path"]

_CLOSING = {"[": "]", "{": "}"}


def tokenize_path(path: str) -> list[str]:
    """Return the parts of a path; `[…]` and `{…}` are parts of their own."""
    tokens: list[str] = []
    place, word = 0, ""
    while place < len(path):
        character = path[place]
        if character in _CLOSING:
            end = _end(path, place)
            tokens += [word] if word else []
            tokens.append(path[place:end])
            place, word = end, ""
            continue
        if character == ".":
            tokens += [word] if word else []
            word = ""
        else:
            word += character
        place += 1
    return [*tokens, word] if word else tokens


def _end(path: str, start: int) -> int:
    """Return where the bracket that opens at `start` has been closed."""
    opening, closing = path[start], _CLOSING[path[start]]
    depth = 0
    for place in range(start, len(path)):
        depth += (path[place] == opening) - (path[place] == closing)
        if not depth:
            return place + 1
    return len(path)


def get_text_at_path(value: Any, path: str | Sequence[str]) -> list[str]:
    """Return the texts that a path, or its parts, leads to; none where it leads nowhere."""
    if not path or path == "$":
        return [_json(dict(value) if isinstance(value, Mapping) else value)]
    return list(_texts(value, tokenize_path(path) if isinstance(path, str) else path))


def _texts(value: Any, tokens: Sequence[str]) -> Iterator[str]:
    if not tokens:
        yield from _text(value)
        return
    token, rest = tokens[0], tokens[1:]
    if token.startswith("[") and token.endswith("]"):
        for item in _items(value, token[1:-1]):
            yield from _texts(item, rest)
    elif token.startswith("{") and token.endswith("}"):
        for field in token[1:-1].split(","):
            yield from _field(value, tokenize_path(field.strip()))
    elif token == "*":  # noqa: S105 - a part of a path
        children = value.values() if isinstance(value, dict) else value
        if isinstance(value, (dict, list)):
            for child in children:
                yield from _texts(child, rest)
    elif isinstance(value, dict) and token in value:
        yield from _texts(value[token], rest)


def _items(value: Any, index: str) -> Sequence[Any]:
    if not isinstance(value, list):
        return ()
    if index == "*":
        return value
    try:
        return (value[int(index)],)
    except (ValueError, IndexError):
        return ()


def _field(value: Any, tokens: Sequence[str]) -> Iterator[str]:
    if not tokens:
        return
    for token in tokens:
        if not isinstance(value, dict) or token not in value:
            return
        value = value[token]
    yield from _text(value)


def _text(value: Any) -> Iterator[str]:
    if isinstance(value, (str, int, float)):
        yield str(value)
    elif isinstance(value, (list, dict)):
        yield _json(value)


def _json(value: Any) -> str:
    # What JSON does not have, such as a date, is still something to look for.
    return json.dumps(value, sort_keys=True, ensure_ascii=False, default=str)
