"""Check that each direct dependency is installed in the lowest version that is allowed.

Run by the Python of that environment: `python .ci/floors.py`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

FLOOR = re.compile(r"(?P<name>[\w.-]+)(\[[\w,]+\])?\s*>=\s*(?P<version>[\w.]+)")
ROOT = Path(__file__).resolve().parents[1]


def requirements() -> list[str]:
    """Return what the package, its extras and its dependency groups ask for."""
    with (ROOT / "pyproject.toml").open("rb") as stream:
        declared = tomllib.load(stream)
    project = declared["project"]
    extras = project["optional-dependencies"].values()
    parts = [project["dependencies"], *extras, *declared["dependency-groups"].values()]
    return [each for part in parts for each in part]


def without_zeros(version: str) -> str:
    """Return a version without the zeros at its end: 2.11.0 is 2.11."""
    return re.sub(r"(\.0)+$", "", version)


def main() -> int:
    """Print what is not installed in its lowest version; return 1 if there is any."""
    wrong = []
    for requirement in requirements():
        found = FLOOR.match(requirement)
        if found is None:
            wrong.append(f"{requirement} has no lowest version")
            continue
        installed = metadata.version(found["name"])
        if without_zeros(installed) != without_zeros(found["version"]):
            wrong.append(f"{requirement} is tested with {installed}")
    for line in wrong:
        print(f"floors: {line}", file=sys.stderr)
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
