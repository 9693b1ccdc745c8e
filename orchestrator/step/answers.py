"""What an answer must fit: a type as pydantic understands it, or a JSON schema."""

from __future__ import annotations

import dataclasses
from typing import Any

from orchestrator.errors import InvalidAnswerError
from orchestrator.step.adapting import adapter

__all__ = ["check_answer", "fit", "json_schema_of"]


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
