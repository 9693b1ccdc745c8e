"""What one Python source holds: its lines, its definitions and how complex its functions are.

Cyclomatic complexity is McCabe's: one, and one more for each place where a function may take
another way: `if`, `elif`, a conditional expression, a loop, a comprehension's `for` and `if`, an
`except`, each further operand of `and` and `or`, a `case` and its guard. A nested function counts
for itself; a lambda counts for the function around it.

Rule: a source is data. It is parsed, never imported or run.
"""

import ast
import io
import threading
import tokenize
import warnings
from dataclasses import dataclass, field
from typing import TypedDict

__all__ = ["Findings", "Function", "SourceError", "examine"]

# The parser warns of doubtful escapes in what it is shown: no news for a worker's log, and where
# warnings are errors, a source would not parse. Filters belong to the whole process, so this one is
# for a module name that no other has, and OS threads take turns at setting it.
PARSED_AS = "<census>"
_parser_turn = threading.Lock()

LAYOUT = frozenset(
    {
        tokenize.ENCODING,
        tokenize.NL,
        tokenize.NEWLINE,
        tokenize.INDENT,
        tokenize.DEDENT,
        tokenize.ENDMARKER,
    }
)


class SourceError(ValueError):
    """A source that cannot be decoded or parsed."""


class Function(TypedDict):
    """One function or method."""

    name: str  # With its classes and outer functions: "Decoder.decode".
    file: str
    line: int
    lines: int  # From `def` to its last line; decorators are not counted.
    complexity: int


@dataclass
class Findings:
    """What `examine` found in one source."""

    lines: int = 0
    code: int = 0  # Lines that hold code or a docstring.
    comments: int = 0  # Lines that hold a comment, alone or after code.
    classes: int = 0
    documentable: int = 0  # The module, unless empty, and its public classes and functions.
    documented: int = 0  # Those of them that have a docstring.
    functions: list[Function] = field(default_factory=list)


@dataclass(frozen=True)
class _Scope:
    """The place of a node in a source."""

    names: tuple[str, ...] = ()
    function: Function | None = None  # The innermost one: decisions count for it.
    public: bool = True

    def enter(self, name: str, function: Function | None) -> "_Scope":
        # Names inside a function are not public, so they need no docstring.
        public = self.public and self.function is None and not name.startswith("_")
        return _Scope((*self.names, name), function or self.function, public)


def examine(source: bytes, file: str) -> Findings:
    """Measure one source; `file` is the name that its functions carry.

    Raises:
        SourceError: when it cannot be decoded or parsed.
    """
    findings = Findings(lines=len(source.splitlines()))
    try:
        with _parser_turn, warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=PARSED_AS)
            tree = ast.parse(source, filename=PARSED_AS)
        findings.code, findings.comments = _lines_by_kind(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        # RecursionError and MemoryError are the parser's way to say "nested too deeply".
        raise SourceError(type(error).__name__) from error
    _walk(tree, file, findings)
    return findings


def _lines_by_kind(source: bytes) -> tuple[int, int]:
    code: set[int] = set()
    comments: set[int] = set()
    for token in tokenize.tokenize(io.BytesIO(source).readline):
        if token.type == tokenize.COMMENT:
            comments.add(token.start[0])
        elif token.type not in LAYOUT:
            code.update(range(token.start[0], token.end[0] + 1))
    return len(code), len(comments)


def _walk(tree: ast.Module, file: str, findings: Findings) -> None:
    # Not by recursion: a source may nest deeper than the interpreter's stack.
    unvisited: list[tuple[ast.AST, _Scope]] = [(tree, _Scope())]
    while unvisited:
        node, scope = unvisited.pop()
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                function = _function(node, scope, file)
                findings.functions.append(function)
                scope = scope.enter(node.name, function)
                _count_docstring(node, scope, findings)
            case ast.ClassDef():
                findings.classes += 1
                scope = scope.enter(node.name, None)
                _count_docstring(node, scope, findings)
            case ast.Module(body=[_, *_]):
                _count_docstring(node, scope, findings)
            case _ if scope.function is not None:
                scope.function["complexity"] += _decisions(node)
        unvisited.extend((child, scope) for child in ast.iter_child_nodes(node))


def _function(node: ast.FunctionDef | ast.AsyncFunctionDef, scope: _Scope, file: str) -> Function:
    last_line = node.end_lineno or node.lineno
    return Function(
        name=".".join((*scope.names, node.name)),
        file=file,
        line=node.lineno,
        lines=last_line - node.lineno + 1,
        complexity=1,
    )


def _count_docstring(
    node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Module,
    scope: _Scope,
    findings: Findings,
) -> None:
    if scope.public:
        findings.documentable += 1
        findings.documented += ast.get_docstring(node, clean=False) is not None


def _decisions(node: ast.AST) -> int:
    match node:
        case (
            ast.If() | ast.IfExp() | ast.For() | ast.AsyncFor() | ast.While() | ast.ExceptHandler()
        ):
            return 1
        case ast.BoolOp(values=operands):
            return len(operands) - 1
        case ast.comprehension(ifs=conditions):
            return 1 + len(conditions)
        case ast.match_case(pattern=ast.MatchAs(pattern=None), guard=guard):
            # `case _:` and `case name:` always match: the `else` of a match decides nothing.
            return int(guard is not None)
        case ast.match_case(guard=guard):
            return 1 + (guard is not None)
    return 0
