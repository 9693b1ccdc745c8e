"""Who reads a module: another module, a test, an example, an entry point or a deployment file."""

import ast
import re
import tomllib
from collections.abc import Iterable, Iterator
from pathlib import Path

from tests.architecture.source import PACKAGES, Source

_NAME = re.compile(rf"\b(?:{'|'.join(PACKAGES)})(?:\.\w+)*")


def unread(modules: Iterable[Source], readers: Iterable[Source], named: Iterable[str]) -> list[str]:
    """Return the modules that nobody else refers to; `named` are references outside Python."""
    references = {(reader.module, name) for reader in readers for name in _references(reader)}
    references |= {("", name) for name in named}
    read = {part for reader, name in references for part in _prefixes(name) if part != reader}
    return [
        str(each.path)
        for each in modules
        if each.module not in read and each.path.name != "__main__.py"
    ]


def _prefixes(name: str) -> Iterator[str]:
    parts = name.split(".")
    return (".".join(parts[:end]) for end in range(1, len(parts) + 1))


def _references(source: Source) -> Iterator[str]:
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                yield from (each.name for each in names)
            case ast.ImportFrom(module=module, names=names, level=level):
                base = _base(source, level, module)
                yield from (f"{base}.{each.name}" for each in names)
            case ast.Constant(value=str(text)) if _NAME.fullmatch(text.partition(":")[0]):
                yield text.partition(":")[0]  # a lazy import, or a name for Celery


def _base(source: Source, level: int, module: str | None) -> str:
    if not level:
        return module or ""
    folder = source.path.parts[:-level]
    return ".".join((*folder, module) if module else folder)


def named_outside_python(root: Path) -> Iterator[str]:
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for targets in (project["scripts"], *project["entry-points"].values()):
        yield from (target.partition(":")[0] for target in targets.values())
    stub = root / "orchestrator" / "__init__.pyi"  # The public names, imported when first used.
    for path in (stub, root / "docker-compose.yml", *(root / "deploy").rglob("*")):
        if path.is_file() and path.suffix != ".py":
            yield from _NAME.findall(path.read_text(encoding="utf-8"))
