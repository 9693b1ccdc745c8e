"""Frozen records are cheap, equal and hashed by their fields, and never changed."""

import dataclasses
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator import frozen as module
from orchestrator.frozen import frozen, replace

HERE = Path(__file__).parent
# Without records of the engine, or with processes of their own; and this file.
OTHERS = tuple(
    f"test_{name}"
    for name in ("chaos", "cli", "codec", "cache", "deploy", "docs", "drawing", "frozen", "store")
)


@frozen
class Point:
    x: int
    y: int = 0
    names: list[str] = dataclasses.field(default_factory=list, compare=False)


@frozen(kw_only=False)
class Pair:
    left: int
    right: int


def test_records_are_equal_and_hashed_by_their_fields() -> None:
    assert Point(x=1) == Point(x=1, names=["a"])
    assert len({Point(x=1), Point(x=1), Point(x=2)}) == 2
    assert Pair(1, 2) != Pair(2, 1)


def test_fields_are_given_by_name_only_unless_the_class_allows_places() -> None:
    with pytest.raises(TypeError):
        Point(1)
    assert Pair(1, 2).right == 2


def test_a_copy_has_the_changes_and_leaves_the_record() -> None:
    point = Point(x=1)
    assert replace(point, y=5) == Point(x=1, y=5)
    assert point == Point(x=1)


def test_a_dataclass_that_is_no_record_is_copied_too() -> None:
    plain = dataclasses.make_dataclass("Plain", ["a"], frozen=True)
    assert replace(plain(1), a=2) == plain(2)


def test_a_change_raises_where_records_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FREEZES", True)

    @frozen
    class Checked:
        a: int

    checked = Checked(a=1)
    with pytest.raises(dataclasses.FrozenInstanceError):
        checked.a = 2
    with pytest.raises(TypeError, match="unexpected keyword"):
        replace(checked, b=2)
    assert replace(checked, a=2) == Checked(a=2)
    assert hash(checked) == hash(Checked(a=1))


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_no_unit_test_of_the_engine_changes_a_record() -> None:
    paths = [path for path in sorted(HERE.glob("test_*.py")) if not path.stem.startswith(OTHERS)]
    plugin = ["-p", "tests.fixtures.really_frozen", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *plugin, HERE / "pure", *paths],
        cwd=HERE.parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-2000:]
