"""Schemas of answers and of state: a type as pydantic understands it, or a JSON schema."""

from __future__ import annotations

import dataclasses
import sys
import types
import typing
from collections.abc import Mapping
from functools import lru_cache
from typing import Annotated, Any, NotRequired, Required, Union, get_args, get_origin

from orchestrator.errors import InvalidAnswerError

__all__ = [
    "adapter",
    "check_answer",
    "fields_model",
    "fit",
    "is_model",
    "is_typeddict",
    "json_schema_of",
    "root_model",
]


def adapter(schema: Any) -> Any:
    """Return pydantic's `TypeAdapter` of a type."""
    try:
        return _cached(schema)
    except TypeError:  # What cannot be hashed is adapted each time.
        return _cached.__wrapped__(schema)


@lru_cache(maxsize=256)
def _cached(schema: Any) -> Any:
    from pydantic import TypeAdapter  # noqa: PLC0415 - slow to import, and seldom needed

    return TypeAdapter(_adapted(schema))


def is_model(schema: Any) -> bool:
    """Return whether a type is a pydantic model."""
    return isinstance(schema, type) and hasattr(schema, "model_json_schema")


def is_typeddict(schema: Any) -> bool:
    """Return whether a type is a TypedDict, of `typing` or of `typing_extensions`."""
    return isinstance(schema, type) and hasattr(schema, "__required_keys__")


def root_model(title: str, schema: Any, default: Any = ...) -> Any:
    """Return a model of one value of a type, under a title."""
    from pydantic import ConfigDict, Field, RootModel  # noqa: PLC0415 - slow to import

    class Root(RootModel[_adapted(schema)]):  # type: ignore[misc]
        model_config = ConfigDict(title=title, arbitrary_types_allowed=True)
        root: _adapted(schema) = Field(default)  # type: ignore[valid-type]

    return Root


def fields_model(title: str, fields: Mapping[str, tuple[Any, Any]]) -> Any:
    """Return a model of fields: name → type and default, `...` for none."""
    from pydantic import BaseModel, ConfigDict, Field, create_model  # noqa: PLC0415 - slow to import

    config = ConfigDict(arbitrary_types_allowed=True, protected_namespaces=())
    taken = {name for name in fields if name.startswith("_") or hasattr(BaseModel, name)}
    defined: dict[str, Any] = {}
    for name, (typ, default) in fields.items():
        shown = name.lstrip("_").replace("_", " ").title()
        defined[f"private_{name}" if name in taken else name] = (
            (_adapted(typ), Field(default, alias=name, title=shown))
            if name in taken
            else (_adapted(typ), default)
        )
    return create_model(title, __config__=config, **defined)


def _adapted(schema: Any) -> Any:
    return _portable(schema) if sys.version_info < (3, 12) else schema


def _portable(hint: Any) -> Any:
    """Return a type in which pydantic can read TypedDicts: before 3.12, not those of `typing`."""
    if typing.is_typeddict(hint):
        from typing_extensions import TypedDict  # noqa: PLC0415 - pydantic needs it, too

        hints = typing.get_type_hints(hint, include_extras=True)
        fields = {k: _field(v, required=k in hint.__required_keys__) for k, v in hints.items()}
        return TypedDict(hint.__name__, fields)  # type: ignore[operator]
    origin, args = get_origin(hint), get_args(hint)
    if not args or origin is typing.Literal:
        return hint
    inner = tuple(_portable(arg) for arg in args)
    if origin is Annotated:
        return Annotated[(inner[0], *hint.__metadata__)]
    if origin in {Union, types.UnionType}:
        return Union[inner]  # noqa: UP007 - of a tuple
    try:
        return origin[inner] if origin is not None else hint
    except TypeError:
        return hint


def _field(hint: Any, *, required: bool) -> Any:
    origin = get_origin(hint)
    inner = get_args(hint)[0] if origin in {Required, NotRequired} else hint
    return _portable(inner) if required else NotRequired[_portable(inner)]


def json_schema_of(schema: Any) -> dict[str, Any] | None:
    """Return a `response_schema` as a JSON schema, for a question to carry."""
    if schema is None or isinstance(schema, dict):
        return schema
    found: dict[str, Any] = adapter(schema).json_schema()
    return found


def fit(schema: Any, answer: Any) -> Any:
    """Return an answer as an instance of the type that `schema` is.

    Raises:
        InvalidAnswerError: if it is none.
    """
    if schema is None or isinstance(schema, dict):
        return answer
    from pydantic import ValidationError  # noqa: PLC0415 - slow to import, and seldom needed

    try:
        return adapter(schema).validate_python(answer)
    except ValidationError as error:
        raise InvalidAnswerError(f"the answer does not fit what was asked for: {error}") from error


def check_answer(interrupt_id: str, schema: dict[str, Any] | None, answer: Any) -> None:
    """Refuse an answer that does not fit the JSON schema of its question.

    Raises:
        InvalidAnswerError: with the place in the answer that does not fit.
    """
    if schema is None:
        return
    import jsonschema  # noqa: PLC0415 - slow to import, and seldom needed

    plain = answer
    if hasattr(answer, "model_dump"):
        plain = answer.model_dump(mode="json")
    elif dataclasses.is_dataclass(answer) and not isinstance(answer, type):
        plain = dataclasses.asdict(answer)
    try:
        jsonschema.validate(plain, schema)
    except jsonschema.ValidationError as error:
        msg = (
            f"the answer to the interrupt {interrupt_id!r} does not fit what was asked for: "
            f"{error.json_path}: {error.message}. Nothing was stored; answer again"
        )
        raise InvalidAnswerError(msg) from error
