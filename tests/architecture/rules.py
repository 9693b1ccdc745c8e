"""What a tidy file keeps to. A rule takes one file and yields a sentence for each breach."""

import ast
import re
from collections.abc import Iterator

from tests.architecture.source import Source, docstring_of

# A file is as long as its noun needs. A lower limit cut files in two instead of simplifying them.
FILE_LINES_MAX = 600
FUNCTION_LINES_MAX = 70
PARAMETERS_MAX = 8
PROTOCOL_METHODS_MAX = 15

# A file is named for what it knows; these names know anything.
VAGUE_NAMES = {"util", "utils", "helper", "helpers", "common", "misc", "manager", "managers"}

# What turns data into code. Stored data is never code.
CODE_MODULES = {"pickle", "cloudpickle", "dill", "marshal", "shelve"}
CODE_BUILTINS = {"eval", "exec", "__import__"}
CODE_ATTRIBUTES = {"import_module"}

# Where one of them is needed all the same, and why.
ALLOWED = {
    ("orchestrator/__init__.py", "import_module"): "a fixed table of public names",
    (
        "orchestrator/cli/__init__.py",
        "import_module",
    ): "a fixed table of commands, imported when called",
    (
        "orchestrator/cli/command_options.py",
        "import_module",
    ): "one fixed name, from the layer above",
    ("workers/configuration.py", "import_module"): "loads the graphs that the operator configured",
}

FOREIGN = {
    "Lua": re.compile(r"\bredis\.p?call\b|\b(KEYS|ARGV)\[|\blocal \w+ ="),
    "SQL": re.compile(
        r"\bSELECT\b.+\bFROM\b|\bINSERT INTO\b|\bUPDATE\b.+\bSET\b|\bDELETE FROM\b"
        r"|\b(CREATE|ALTER|DROP) (TABLE|INDEX)\b",
        re.DOTALL,
    ),
}

Breaches = Iterator[str]
Function = ast.FunctionDef | ast.AsyncFunctionDef


def a_file_is_short(source: Source) -> Breaches:
    lines = len(source.text.splitlines())
    if lines > FILE_LINES_MAX:
        yield f"{lines} lines, over {FILE_LINES_MAX}: split it by noun"


def a_function_is_short(source: Source) -> Breaches:
    for node in ast.walk(source.tree):
        if isinstance(node, Function):
            lines = _lines(node) - _lines(docstring_of(node))
            if lines > FUNCTION_LINES_MAX:
                yield f"{_at(node)} has {lines} lines, over {FUNCTION_LINES_MAX}"


def _lines(node: ast.stmt | ast.expr | None) -> int:
    return 0 if node is None else (node.end_lineno or node.lineno) - node.lineno + 1


def _at(node: Function | ast.ClassDef) -> str:
    return f"line {node.lineno}: {node.name}"


def a_function_takes_few_parameters(source: Source) -> Breaches:
    for node in ast.walk(source.tree):
        if isinstance(node, Function) and not _is_command(node):
            given = node.args
            names = [each.arg for each in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
            names += [each.arg for each in (given.vararg, given.kwarg) if each]
            count = len([name for name in names if name not in {"self", "cls"}])
            if count > PARAMETERS_MAX:
                yield f"{_at(node)} takes {count} parameters, over {PARAMETERS_MAX}"


def _is_command(node: Function) -> bool:
    """A command of the command line: its parameters are its options, and nobody else calls it."""
    return any(ast.unparse(each).startswith("click.command(") for each in node.decorator_list)


def a_protocol_is_narrow(source: Source) -> Breaches:
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef) and _is_protocol(node):
            count = len({each.name for each in node.body if isinstance(each, Function)})
            if count > PROTOCOL_METHODS_MAX:
                yield f"{_at(node)} has {count} methods, over {PROTOCOL_METHODS_MAX}"


def _is_protocol(node: ast.ClassDef) -> bool:
    bases = [*node.bases, *(each.value for each in node.keywords if each.arg == "metaclass")]
    names = {ast.unparse(base).partition("[")[0].rpartition(".")[2] for base in bases}
    return not names.isdisjoint({"Protocol", "ABC", "ABCMeta"})


def a_name_says_what_is_inside(source: Source) -> Breaches:
    for part in source.path.with_suffix("").parts:
        if part.strip("_") in VAGUE_NAMES:
            yield f"{part!r} says nothing: name it for what it knows"


def a_module_says_what_it_is(source: Source) -> Breaches:
    if docstring_of(source.tree) is None:
        yield "no docstring at the top"


def data_is_never_code(source: Source) -> Breaches:
    if source.in_package:
        for line, name in turned_into_code(source):
            if (str(source.path), name) not in ALLOWED:
                yield f"line {line}: {name} can turn data into code"


def turned_into_code(source: Source) -> Iterator[tuple[int, str]]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Name(id=name) if name in CODE_BUILTINS | CODE_ATTRIBUTES:
                yield node.lineno, name
            case ast.Attribute(attr=name) if name in CODE_ATTRIBUTES:
                yield node.lineno, name
            case ast.Import(names=names):
                yield from ((node.lineno, each.name) for each in names if each.name in CODE_MODULES)
            case ast.ImportFrom(module=str(name)) if name in CODE_MODULES:
                yield node.lineno, name


def lua_and_sql_have_their_own_files(source: Source) -> Breaches:
    if not source.in_package:
        return
    docstrings = {docstring_of(node) for node in ast.walk(source.tree)}
    for node in ast.walk(source.tree):
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings:
                pass
            case ast.JoinedStr(values=parts):
                text = "".join(str(each.value) for each in parts if isinstance(each, ast.Constant))
            case _:
                continue
        if _lines(node) > 1 or "\n" in text.strip():
            for language, pattern in FOREIGN.items():
                if pattern.search(text):
                    yield f"line {node.lineno}: {language} belongs in a file of its own"


# Where commits are decided, and where stores make and test them.
DECIDING = ("engine", "model", "checkpointer", "testing")


def a_commit_is_decided_in_the_engine(source: Source) -> Breaches:
    """A caller gets a commit from the engine, and sends it by `commit_to`, never to a store."""
    if not source.in_package or source.path.parts[1] in DECIDING:
        return
    for node in ast.walk(source.tree):
        match node:
            case ast.Call(func=ast.Name(id="Commit") | ast.Attribute(attr="Commit")):
                yield f"line {node.lineno}: a Commit is made by a function of the engine"
            case ast.Attribute(value=value, attr="commit"):
                if ast.unparse(value).rpartition(".")[2] in {"store", "checkpointer"}:
                    yield f"line {node.lineno}: commit_to finds the log of a subgraph"


RULES = (
    a_file_is_short,
    a_function_is_short,
    a_function_takes_few_parameters,
    a_protocol_is_narrow,
    a_name_says_what_is_inside,
    a_module_says_what_it_is,
    data_is_never_code,
    lua_and_sql_have_their_own_files,
    a_commit_is_decided_in_the_engine,
)
