"""Which names of LangGraph there are here: `python -m tests.compat.names --markdown`.

A name is the *same* if it is here and takes the same parameters. What differs or is missing has a
reason in `reasons.py`; a name without a verdict, and a reason that is no longer true, are errors.
"""

import argparse
import importlib
import importlib.metadata
import inspect
import sys
import warnings
from dataclasses import dataclass
from typing import Any

from orchestrator.client.options import CallOptions, CompileOptions
from orchestrator.graph.compile import NodeSettings
from tests.compat.reasons import DIFFERS, MISSING, PARAMETERS

# LangGraph's modules, and where the same names are here.
MODULES = {
    "langgraph.graph": "orchestrator",
    "langgraph.graph.message": "orchestrator",
    "langgraph.graph.state": "orchestrator",
    "langgraph.graph.ui": "orchestrator",
    "langgraph.types": "orchestrator",
    "langgraph.func": "orchestrator",
    "langgraph.runtime": "orchestrator",
    "langgraph.errors": "orchestrator",
    "langgraph.config": "orchestrator",
    "langgraph.channels": "orchestrator",
    "langgraph.managed": "orchestrator",
    "langgraph.callbacks": "orchestrator",
    "langgraph.constants": "orchestrator",
    "langgraph.pregel": "orchestrator",
    "langgraph.store.base": "orchestrator.store",
    "langgraph.store.memory": "orchestrator.store",
    "langgraph.store.sqlite": "orchestrator.store.sqlite",
    "langgraph.cache.base": "orchestrator.cache",
    "langgraph.cache.memory": "orchestrator.cache",
    "langgraph.cache.sqlite": "orchestrator.cache.sqlite",
    "langgraph.cache.redis": "orchestrator.cache.redis",
    "langgraph.checkpoint.memory": "orchestrator",
    "langgraph.checkpoint.sqlite": "orchestrator",
    "langgraph.checkpoint.base": "orchestrator",
}
# Classes whose methods are compared, too.
CLASSES = (
    "langgraph.graph.StateGraph",
    "langgraph.graph.state.CompiledStateGraph",
    "langgraph.func.entrypoint",
    "langgraph.runtime.Runtime",
    "langgraph.runtime.RunControl",
    "langgraph.store.base.BaseStore",
    "langgraph.cache.base.BaseCache",
    "langgraph.checkpoint.base.BaseCheckpointSaver",
)
HEAD = """\
# LangGraph's names

Made by `python -m tests.compat.names --markdown`, which compares names and parameters with those of
LangGraph {version}: {same} are the same, {differs} differ, {missing} are missing. *Same* means that
the name is here and takes the same parameters; the tests in `tests/property` compare what graphs
do.
"""
OPTIONS = {
    "Unpack[CallOptions]": CallOptions,
    "Unpack[CompileOptions]": CompileOptions,
    "Unpack[NodeSettings]": NodeSettings,
}


@dataclass(frozen=True)
class Row:
    name: str
    verdict: str
    why: str


class NoVerdictError(Exception):
    """Names that nobody has looked at, or reasons that are no longer true."""


def public(module: Any) -> list[str]:
    """Return the names a module offers: `__all__`, or what it defines without an underscore."""
    listed = getattr(module, "__all__", None)
    if listed:
        return sorted(listed)
    return sorted(
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and getattr(value, "__module__", None) == module.__name__
    )


def methods(cls: type) -> list[str]:
    return sorted(
        name for name in dir(cls) if not name.startswith("_") and callable(getattr(cls, name))
    )


def parameters(called: Any) -> tuple[set[str], bool]:
    """Return the names of parameters, and whether others are taken as well."""
    try:
        found = inspect.signature(called).parameters.values()
    except (ValueError, TypeError):
        return set(), True
    names: set[str] = set()
    is_open = False
    for parameter in found:
        if parameter.kind is parameter.VAR_KEYWORD:
            options = OPTIONS.get(str(parameter.annotation))
            names |= set(options.__annotations__) if options else set()
            is_open = is_open or options is None
        elif parameter.kind is parameter.VAR_POSITIONAL:
            is_open = True
        elif not parameter.name.startswith("_") and parameter.name != "self":
            names.add(parameter.name)
    return names, is_open


def lacking(theirs: Any, ours: Any) -> list[str]:
    """Return the parameters that theirs takes and ours does not."""
    if not callable(theirs) or not callable(ours):
        return []
    if isinstance(theirs, type) and not own(theirs):
        return []
    wanted, _ = parameters(theirs)
    known, is_open = parameters(ours)
    return [] if is_open else sorted(wanted - known)


def moved(theirs: Any, ours: Any) -> list[str]:
    """Return the parameters that both take by position, if their order is another."""
    orders = [
        [p for p in positional(f) if p in {*positional(theirs)} & {*positional(ours)}]
        for f in (theirs, ours)
    ]
    return [] if orders[0] == orders[1] else orders[1]


def positional(called: Any) -> list[str]:
    try:
        found = inspect.signature(called).parameters.values()
    except (ValueError, TypeError):
        return []
    return [p.name for p in found if p.kind is p.POSITIONAL_OR_KEYWORD]


def own(cls: type) -> bool:
    """Return whether the parameters of a class say something: those of an Exception do not."""
    return "__init__" in vars(cls) or "__new__" in vars(cls)


def judged(name: str, theirs: Any, ours: Any, where: str) -> tuple[Row | None, list[str]]:
    """Return the verdict on a name, and what is wrong with it."""
    if name in MISSING:
        wrong = [] if ours is None else [f"{name}: said to be missing, but it is {where}"]
        return Row(name, "missing", MISSING[name]), wrong
    if ours is None and name not in DIFFERS:
        return None, [f"{name}: no verdict"]
    lacks = lacking(theirs, ours) if ours is not None else []
    known = PARAMETERS.get(name, {})
    wrong = [f"{name}({p}=…): no verdict" for p in lacks if p not in known]
    wrong += [f"{name}({p}=…): has a reason, but is not lacking" for p in known if p not in lacks]
    wrong += [f"{name}({p}, …): has another place" for p in moved(theirs, ours)]
    why = [DIFFERS[name]] if name in DIFFERS else []
    why += [f"`{p}` is missing: {known[p]}" for p in lacks if p in known]
    return Row(name, "differs" if why else "same", "; ".join(why)), wrong


def table() -> list[Row]:
    """Return the verdicts on all names.

    Raises:
        NoVerdictError: if one has none, or a reason does not hold.
    """
    rows: list[Row] = []
    wrong: list[str] = []
    seen: set[str] = set()
    for module_name, home in MODULES.items():
        module = importlib.import_module(module_name)
        for name in public(module):
            theirs, ours = getattr(module, name), found_in(home, name)
            full = f"{module_name}.{name}"
            pairs = [(full, theirs, ours, home)]
            if full in CLASSES and ours is not None:
                pairs += [
                    (f"{full}.{m}", getattr(theirs, m), getattr(ours, m, None), home)
                    for m in methods(theirs)
                ]
            for one, their, our, where in pairs:
                row, errors = judged(one, their, our, where)
                wrong += errors
                seen.add(one)
                rows += [row] if row else []
    reasons = {*DIFFERS, *MISSING, *PARAMETERS}
    wrong += [f"{name}: has a reason, but LangGraph has no such name" for name in reasons - seen]
    if wrong:
        raise NoVerdictError("\n".join(wrong))
    return rows


def found_in(home: str, name: str) -> Any:
    try:
        return getattr(importlib.import_module(home), name, None)
    except ImportError:
        return None


def markdown(rows: list[Row]) -> str:
    """Return the table as a document."""
    counts = {v: sum(row.verdict == v for row in rows) for v in ("same", "differs", "missing")}
    version = importlib.metadata.version("langgraph")
    lines = [HEAD.format(version=version, **counts).rstrip()]
    for module, home in MODULES.items():
        mine = [row for row in rows if home_of(row.name) == module]
        same = [row.name.removeprefix(f"{module}.") for row in mine if row.verdict == "same"]
        others = [row for row in mine if row.verdict != "same"]
        lines += ["", f"## `{module}`", "", f"Here: `{home}`."]
        if same:
            lines += ["", f"Same: {', '.join(f'`{name}`' for name in same)}."]
        if others:
            lines += ["", "| name | | why |", "|---|---|---|"]
            lines += [
                f"| `{row.name.removeprefix(f'{module}.')}` | {row.verdict} | {row.why} |"
                for row in others
            ]
    return "\n".join(lines) + "\n"


def home_of(name: str) -> str:
    """Return the module of a full name."""
    return max((m for m in MODULES if name.startswith(f"{m}.")), key=len)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.compat.names", description=__doc__)
    parser.add_argument("--markdown", action="store_true", help="print the table as a document")
    options = parser.parse_args()
    try:
        rows = table()
    except NoVerdictError as error:
        sys.stderr.write(f"{error}\n")
        return 1
    if options.markdown:
        sys.stdout.write(markdown(rows))
    else:
        for row in rows:
            sys.stdout.write(f"{row.verdict:8}{row.name}  {row.why}\n")
    return 0


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # LangGraph's own, about what it will remove.
    sys.exit(main())
