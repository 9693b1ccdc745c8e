"""Everything that is stored can be printed as JSON, and tables fit."""

import dataclasses
import datetime as dt
import json
from pathlib import Path

import pydantic
import pytest

from orchestrator.cli.output import aligned, colour_allowed, instant, json_line, plain


@dataclasses.dataclass
class Point:
    x: int
    tags: set[str]


class Model(pydantic.BaseModel):
    when: dt.date


@pytest.mark.parametrize(
    ("value", "printed"),
    [
        (None, None),
        (True, True),
        (1.5, 1.5),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (b"\x00\xff", "AP8="),
        ((1, [2]), [1, [2]]),
        ({"b", "a"}, ["a", "b"]),
        ({1: "x", (2, 3): "y"}, {"1": "x", "(2, 3)": "y"}),
        (dt.datetime(2026, 1, 2, 3, 4, tzinfo=dt.UTC), "2026-01-02T03:04:00+00:00"),
        (dt.time(3, 4), "03:04:00"),
        (Point(1, {"b", "a"}), {"x": 1, "tags": ["a", "b"]}),
        (Model(when=dt.date(2026, 1, 2)), {"when": "2026-01-02"}),
        (Path("/x"), "/x"),
    ],
)
def test_every_value_has_a_json_form(value: object, printed: object) -> None:
    assert plain(value) == printed
    assert json.loads(json_line(value)) == printed


def test_a_json_line_is_one_line() -> None:
    assert json_line({"a": "x\ny", "ü": 1}) == '{"a":"x\\ny","ü":1}'


def test_columns_are_as_wide_as_their_widest_cell(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    assert aligned(("A", "LONG"), [("xyz", 1), ("", 22)]) == "A    LONG\nxyz  1\n     22"


def test_no_color_beats_force_color(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert colour_allowed()
    monkeypatch.setenv("NO_COLOR", "1")
    assert not colour_allowed()


def test_an_unknown_time_is_a_dash() -> None:
    assert instant(0) == instant(None) == "-"
    assert len(instant(1_700_000_000_000)) == len("2026-01-01 00:00:00")
