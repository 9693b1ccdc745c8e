"""The Python files of the project, parsed."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Self

ROOT = Path(__file__).parents[2]
PACKAGES = ("orchestrator", "workers")
FOLDERS = (*PACKAGES, "examples", "benchmarks", "deploy", "tests")


@dataclass(frozen=True)
class Source:
    """One file: where it stands in the project, its text and its syntax tree."""

    path: PurePosixPath
    text: str
    tree: ast.Module

    @classmethod
    def parse(cls, path: str, text: str) -> Self:
        return cls(PurePosixPath(path), text, ast.parse(text))

    @property
    def module(self) -> str:
        parts = self.path.with_suffix("").parts
        return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @property
    def in_package(self) -> bool:
        return self.path.parts[0] in PACKAGES


def sources(*folders: str) -> Iterator[Source]:
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = path.relative_to(ROOT).as_posix()
            if not name.startswith("tests/golden/"):
                yield Source.parse(name, path.read_text(encoding="utf-8"))


def docstring_of(node: ast.AST) -> ast.Constant | None:
    """Return the node that is the docstring of a module, class or function."""
    match getattr(node, "body", None):
        case [ast.Expr(value=ast.Constant(value=str()) as found), *_]:
            return found
    return None
