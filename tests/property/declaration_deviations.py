"""What of a schema differs from LangGraph, by the path to it, with reasons."""

from __future__ import annotations

from tests.property.call_deviations import Known
from tests.property.declaring import SchemaPlan

DECLARATIONS: tuple[Known[SchemaPlan], ...] = (
    Known(
        "nothing returned",
        "A call returns the output as it is. LangGraph returns None where no key of it changed.",
        r"^\.returned",
        values=lambda _, theirs: theirs is None,
    ),
    Known(
        "state of a model",
        "get_state always works. LangGraph validates what the state has, and raises where a field "
        "that is required has no value.",
        r"^\.state$",
        values=lambda _, theirs: str(theirs).startswith("<error "),
    ),
    Known(
        "types that come back",
        "Values come back with the types they had. LangGraph brings tuples back as lists.",
        r"^\.(state|seen)",
        values=lambda ours, theirs: isinstance(ours, tuple) and isinstance(theirs, list),
    ),
    Known("cause 21", "Pending.", r"jsonschema"),
    Known(
        "declared defaults",
        "A key begins with the default that its schema declares. LangGraph forgets it where there "
        "is a reducer.",
        r"^\.(returned|state|seen)",
        lambda plan: any(f.default for f in plan.fields) and not plan.kind.endswith("TypedDict"),
    ),
    Known(
        "lambdas in two schemas",
        "Pending.",
        when=lambda plan: bool(plan.extra) and "lambda" in plan.fields[0].reducer,
    ),
)
