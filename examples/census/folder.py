"""Which Python sources a folder holds, package by package.

A package is what carries one top-level name: a folder with sources anywhere below it, a module of
its own, or both.

Rule 1: order is by name, never by what the file system happens to return.
Rule 2: tests, installed packages, caches and hidden names are not counted (`SKIPPED_FOLDERS`): a
standard library holds more tests than all the rest, and some are broken on purpose.
Rule 3: links to folders are not followed, so a listing ends.
Rule 4: what is there and cannot be read is listed all the same, so that reading it fails and is
counted; nothing is dropped in silence.
"""

import os
import stat
import sysconfig
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

__all__ = ["SKIPPED_FOLDERS", "Package", "choose_packages", "list_packages", "resolve"]

SKIPPED_FOLDERS = frozenset(
    {"__pycache__", "dist-packages", "idle_test", "node_modules", "site-packages", "test", "tests"}
)
FILES_MAX = 50_000  # Files of one census; the list of them is part of the thread's state.


class Package(TypedDict):
    """One top-level name of the folder and the sources that belong to it."""

    name: str
    files: dict[str, int]  # Path below the folder, with "/", to its size in bytes; sorted by path.


def resolve(path: str | None) -> str:
    """Return the absolute folder to count: `path`, or the running interpreter's standard library.

    Raises:
        ValueError: when `path` is neither text nor None.
        FileNotFoundError, NotADirectoryError: when there is no such folder.
    """
    if path is not None and (not isinstance(path, str) or not path):
        message = (
            f"path must be the name of a folder, or None for the standard library, not {path!r}"
        )
        raise ValueError(message)
    root = Path(sysconfig.get_path("stdlib") if path is None else path).resolve()
    if not root.exists():
        message = f"there is no folder '{root}' to count"
        raise FileNotFoundError(message)
    if not root.is_dir():
        message = f"'{root}' is not a folder; give the folder that holds the sources"
        raise NotADirectoryError(message)
    return str(root)


def list_packages(root: str) -> list[Package]:
    """List the packages below `root`, sorted by name, each with its files sorted by path.

    Raises:
        ValueError: when there is no Python source to count, or more than `FILES_MAX` of them.
    """
    found: dict[str, dict[str, int]] = {}
    for count, (file, size) in enumerate(sorted(_sources(root))):
        if count == FILES_MAX:
            message = f"{root!r} holds more than {FILES_MAX:,} Python files; give a folder below it"
            raise ValueError(message)
        name = file.split("/", 1)[0].removesuffix(".py")
        found.setdefault(name, {})[file] = size
    if not found:
        message = f"{root!r} holds no Python source to count"
        raise ValueError(message)
    return [Package(name=name, files=found[name]) for name in sorted(found)]


def choose_packages(packages: list[Package], only: object) -> list[Package]:
    """Return the packages named in `only`, or all of them where it is None or empty.

    Raises:
        ValueError: when `only` is not a list of names, or names a package that is not there.
    """
    names = {package["name"] for package in packages}
    if not only:
        return packages
    if not isinstance(only, list) or not all(isinstance(name, str) for name in only):
        message = f"only must be a list of names of packages or top-level modules, not {only!r:.80}"
        raise ValueError(message)
    unknown = sorted(set(only) - names)
    if unknown:
        message = f"only: the folder has no package or top-level module {', '.join(unknown)!r:.400}"
        raise ValueError(message)
    return [package for package in packages if package["name"] in only]


def _sources(root: str) -> Iterator[tuple[str, int]]:
    closed: list[OSError] = []
    for folder, subfolders, files in os.walk(root, onerror=closed.append):
        subfolders[:] = [name for name in subfolders if _is_counted(name)]
        for name in files:
            path = Path(folder, name)
            size = _source_bytes(path) if name.endswith(".py") and _is_counted(name) else None
            if size is not None:
                yield _listed(path, root), size
    for error in closed:
        if error.filename == root:
            raise error
        yield _listed(error.filename, root), 0


def _is_counted(name: str) -> bool:
    return name not in SKIPPED_FOLDERS and not name.startswith(".")


def _source_bytes(path: Path) -> int | None:
    try:
        status = path.stat()
    except OSError:  # A link to nowhere, or a file removed since the folder was listed.
        return None
    # A pipe or a device with a source's name would block its reader for ever.
    return status.st_size if stat.S_ISREG(status.st_mode) else None


def _listed(path: str | Path, root: str) -> str:
    # A name that is not UTF-8 cannot be stored. With its odd bytes replaced it names no file, and
    # so it counts as unreadable.
    listed = os.fsencode(os.path.relpath(path, root)).decode("utf-8", "replace")
    return listed.replace(os.sep, "/")
