"""The census: what is counted, how it is divided, and what a person is asked and shown."""

import itertools
import operator
import os
import sys
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgpack
import pytest

import examples.census as example
from examples.census.folder import list_packages
from examples.census.review import read_answer
from examples.census.source import SourceError, examine
from examples.census.split import PACKAGES_MAX, PACKAGES_MIN, divide, inputs
from examples.census.summary import KEPT_MAX, Threshold

THRESHOLD = Threshold(complexity=3, lines=100)
SVG = "{http://www.w3.org/2000/svg}"

CORE = '''"""Core."""


def plain():
    return 1


class Decoder:
    """Decode."""

    def decode(self, items):
        # The first that will do.
        for item in items:
            if item and item.ok:  # Two decisions.
                return item
        return None
'''


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    sources = {
        "alpha/__init__.py": b'"""Alpha."""\n',
        "alpha/core.py": CORE.encode(),
        "alpha/tests/test_core.py": b"def test(): pass\n",
        "alpha/notes.txt": b"not a source\n",
        "beta/broken.py": b"def broken(:\n",
        "beta/latin.py": b'name = "caf\xe9"\n',
        "beta/null.py": b"x = 1\0\n",
        "gamma.py": b"async def wait():\n    async for _ in source():\n        pass\n",
        "empty.py": b"",
        "site-packages/other.py": b"x = 1\n",
        ".hidden.py": b"",
    }
    for name, source in sources.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source)
    return tmp_path


def take(census_input: dict[str, Any], order: Callable[[list[Any]], Any] = list) -> dict[str, Any]:
    """Take a census by calling its nodes, the results coming in in the given order."""
    state = census_input | example.scan(census_input)
    sends = example.send_parcels(state)
    results = order([example.parse(send.arg)["results"] for send in sends])
    state["results"] = list(itertools.chain.from_iterable(results))
    return state | example.merge(state)


def modules(folder: Path, sizes: dict[str, int]) -> Path:
    for name, size in sizes.items():
        (folder / f"{name}.py").write_bytes(b"#" * size)
    return folder


def named(things: Iterable[Any]) -> str:
    return " ".join(thing["name"] for thing in things)


def test_lines_definitions_and_docstrings_are_counted() -> None:
    found = examine(CORE.encode(), "core.py")
    assert (found.lines, found.code, found.comments) == (16, 10, 2)
    assert (found.classes, found.documentable, found.documented) == (1, 4, 2)
    assert sorted(found.functions, key=operator.itemgetter("line")) == [
        {"name": "plain", "file": "core.py", "line": 4, "lines": 2, "complexity": 1},
        {"name": "Decoder.decode", "file": "core.py", "line": 11, "lines": 6, "complexity": 4},
    ]


@pytest.mark.parametrize(
    ("body", "complexity"),
    [
        ("pass", 1),
        ("if a: pass\n elif b: pass\n else: pass", 3),
        ("return lambda: 1 if a else 2", 2),
        ("while a: pass", 2),
        ("return a and b and c or d", 4),
        ("return [x for x in a if x if not x for y in x]", 5),
        ("try: pass\n except A: pass\n except B: pass\n else: pass\n finally: pass", 3),
        ("match a:\n  case 1: pass\n  case [x] if x: pass\n  case _: pass", 4),
        ("match a:\n  case x if x: pass\n  case y: pass", 2),
    ],
)
def test_complexity_is_one_and_one_for_each_decision(body: str, complexity: int) -> None:
    (function,) = examine(f"def f(a, b, c, d):\n {body}\n".encode(), "f.py").functions
    assert function["complexity"] == complexity


def test_a_nested_function_counts_for_itself() -> None:
    source = b"def outer():\n    def inner():\n        if a: pass\n    if b: pass\n    if c: pass\n"
    found = {function["name"]: function for function in examine(source, "f.py").functions}
    assert (found["outer"]["complexity"], found["outer"]["lines"]) == (3, 5)
    assert (found["outer.inner"]["complexity"], found["outer.inner"]["lines"]) == (2, 2)


def test_private_nested_and_empty_things_need_no_docstring() -> None:
    source = b"class _A:\n    def f(self): pass\ndef g():\n    def h(): pass\ndef _i(): pass\n"
    assert examine(source, "f.py").documentable == 2  # The module and g.
    assert examine(b"# Only a comment.\n", "f.py").documentable == 0


@pytest.mark.parametrize(
    "source",
    [
        b"def (",
        b'"\xff"',
        b"# coding: no-such-encoding\n",
        b"x\0",
        b"(" * 5_000 + b")" * 5_000,
        b"if x:\n        a\n    b\n",
    ],
)
def test_what_does_not_parse_is_one_kind_of_error(source: bytes) -> None:
    with pytest.raises(SourceError):
        examine(source, "f.py")


def test_a_source_that_nests_deeply_is_measured_without_recursion() -> None:
    terms = "+".join("1" for _ in range(sys.getrecursionlimit() - 100))
    assert len(examine(f"def f():\n    return {terms}\n".encode(), "f.py").functions) == 1


def test_a_doubtful_escape_warns_nobody(recwarn: pytest.WarningsRecorder) -> None:
    assert examine(b'x = "\\d"\n', "f.py").lines == 1
    assert not recwarn.list


def test_the_numbers_of_a_folder_are_those_counted_by_hand(folder: Path) -> None:
    state = take({"path": str(folder), "threshold": THRESHOLD})
    assert state["census"]["total"]["counts"] == (
        {"files": 7, "unreadable": 3, "lines": 20, "code": 14, "comments": 2}
        | {"classes": 1, "functions": 3, "complexity": 7, "over": 1}
        | {"documentable": 7, "documented": 3}
    )
    assert state["census"]["packages"] == 4
    assert named(state["census"]["largest"]) == "alpha gamma beta empty"
    assert named(state["census"]["total"]["most_complex"]) == "Decoder.decode wait plain"


def test_a_source_that_cannot_be_read_is_counted_and_named(folder: Path) -> None:
    (folder / "gone.py").touch()
    state = example.scan({"path": str(folder), "only": ["beta", "gone"]})
    (folder / "gone.py").unlink()
    sends = example.send_parcels(state)
    beta, gone = (example.parse(send.arg)["results"][0] for send in sends)
    assert beta["counts"]["unreadable"] == beta["counts"]["files"] == 3
    assert [entry.split(":")[0] for entry in beta["unreadable"]] == sends[0].arg["files"]
    assert gone["unreadable"] == ["gone.py: FileNotFoundError"]


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse such a name")
def test_a_file_whose_name_is_not_utf8_is_counted_as_unreadable(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/bad\xff.py")).write_bytes(b"x = 1\n")
    state = take({"path": str(tmp_path)})
    assert state["census"]["total"]["counts"]["unreadable"] == 1
    assert msgpack.packb(state)


def test_the_census_does_not_depend_on_the_order_of_results(folder: Path) -> None:
    census_input = {"path": str(folder), "threshold": THRESHOLD}
    assert take(census_input)["census"] == take(census_input, order=reversed)["census"]


def test_results_of_an_earlier_census_do_not_count(folder: Path) -> None:
    state = take({"path": str(folder)})
    again = take({"path": str(folder), "only": ["gamma"]})
    again["results"] = state["results"] + again["results"]
    assert example.merge(again)["census"] == again["census"]


def test_the_state_is_plain_data(folder: Path) -> None:
    state = take({"path": str(folder), "threshold": THRESHOLD})
    assert msgpack.unpackb(msgpack.packb(state)) == state


def test_a_package_names_only_its_worst_functions(tmp_path: Path) -> None:
    (tmp_path / "many.py").write_text("".join(f"def f{i}(): pass\n" for i in range(100)))
    (result,) = take({"path": str(tmp_path)})["results"]
    assert len(result["most_complex"]) == len(result["longest"]) == KEPT_MAX
    assert result["counts"]["functions"] == 100


def test_sends_are_in_the_order_of_names_one_for_each_package(folder: Path) -> None:
    sends = example.send_parcels({"path": str(folder)} | example.scan({"path": str(folder)}))
    assert {send.node for send in sends} == {"parse"}
    assert named(send.arg for send in sends) == "alpha beta empty gamma"
    assert sends[0].arg["files"] == ["alpha/__init__.py", "alpha/core.py"]


def test_a_large_package_is_sent_in_parts_that_add_up(tmp_path: Path) -> None:
    (tmp_path / "large").mkdir()
    modules(tmp_path / "large", {f"m{i}": 140_000 for i in range(5)})
    parcels = divide(str(tmp_path), list_packages(str(tmp_path)), THRESHOLD)
    assert [(parcel["part"], len(parcel["files"])) for parcel in parcels] == [
        (0, 2),
        (1, 2),
        (2, 1),
    ]
    state = take({"path": str(tmp_path)})
    assert (state["census"]["packages"], state["census"]["total"]["counts"]["files"]) == (1, 5)


def test_the_default_is_the_standard_library_without_its_tests() -> None:
    names = {package["name"] for package in example.scan({})["packages"]}
    assert {"json", "ast", "asyncio"} <= names
    assert not {"test", "site-packages", "__pycache__"} & names


@pytest.mark.parametrize(
    ("census_input", "message"),
    [
        ({"path": 3}, "path must be"),
        ({"only": ["alpha", "nowhere"]}, "no package or top-level module 'nowhere'"),
        ({"only": "alpha"}, "only must be a list"),
        ({"threshold": 3}, "threshold must be a dict"),
        ({"threshold": {"lines": 0}}, "lines must be a whole number above zero"),
        ({"threshold": {"complexity": True}}, "complexity must be a whole number above zero"),
    ],
)
def test_bad_input_is_refused_in_words(
    folder: Path, census_input: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        example.scan({"path": str(folder)} | census_input)


def test_a_folder_with_nothing_to_count_is_an_error(tmp_path: Path) -> None:
    for start in (inputs, lambda path: example.scan({"path": path})):
        with pytest.raises(ValueError, match="holds no Python source to count"):
            start(str(tmp_path))
        with pytest.raises(FileNotFoundError, match="there is no folder"):
            start(str(tmp_path / "nowhere"))
        (tmp_path / "file").touch()
        with pytest.raises(NotADirectoryError, match="is not a folder"):
            start(str(tmp_path / "file"))


def names_of(census_inputs: list[dict[str, Any]]) -> list[str]:
    return sorted(itertools.chain.from_iterable(share["only"] for share in census_inputs))


def test_inputs_share_out_every_package_once_in_about_equal_bytes(tmp_path: Path) -> None:
    sizes = {f"m{i:03}": 100 + i * i for i in range(100)}
    shares = inputs(str(modules(tmp_path, sizes)), threads=8)
    assert len(shares) == 8
    assert names_of(shares) == sorted(sizes)
    share_bytes = [sum(sizes[name] for name in share["only"]) for share in shares]
    assert max(share_bytes) < 1.1 * min(share_bytes)
    assert {share["path"] for share in shares} == {str(tmp_path.resolve())}


@pytest.mark.parametrize(
    ("packages", "threads", "expected"),
    [(1, 8, 1), (4, 8, 1), (12, 8, 2), (40, 8, 8), (41, 1, 2), (500, 8, 13)],
)
def test_the_number_of_inputs_follows_the_limits_on_their_packages(
    tmp_path: Path, packages: int, threads: int, expected: int
) -> None:
    sizes = {f"m{i:03}": 1_000_000 if i == 0 else 10 for i in range(packages)}
    shares = inputs(str(modules(tmp_path, sizes)), threads)
    assert len(shares) == expected
    assert names_of(shares) == sorted(sizes)
    fewest = min(PACKAGES_MIN, packages)
    assert all(fewest <= len(share["only"]) <= PACKAGES_MAX for share in shares)


def test_inputs_are_the_same_every_time_and_scan_accepts_them(folder: Path) -> None:
    (share,) = inputs(str(folder))
    assert [share] == inputs(str(folder))
    assert named(example.scan(share)["packages"]) == "alpha beta empty gamma"
    with pytest.raises(ValueError, match="at least one thread"):
        inputs(str(folder), threads=0)


def test_only_a_census_over_the_threshold_goes_to_review(folder: Path) -> None:
    calm = take({"path": str(folder), "threshold": {"complexity": 4}})
    assert example.needs_review(calm) == "report"
    for threshold in ({"complexity": 3}, {"lines": 5}):
        over = take({"path": str(folder), "threshold": threshold})
        assert example.needs_review(over) == "review"


def test_the_review_shows_the_evidence_and_records_the_answer(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[dict[str, Any]] = []

    def interrupt(question: dict[str, Any]) -> dict[str, str]:
        asked.append(question)
        return {"decision": "flag", "note": "Split it."}

    monkeypatch.setattr(example, "interrupt", interrupt)
    state = take({"path": str(folder), "threshold": THRESHOLD})
    assert example.review(state) == {"verdict": {"decision": "flag", "note": "Split it."}}
    (question,) = asked
    assert question["question"].startswith("1 function is over the threshold (complexity 3")
    assert named(question["functions"]) == "Decoder.decode"
    assert msgpack.unpackb(msgpack.packb(question)) == question
    assert read_answer({"decision": "accept"}) == {"decision": "accept", "note": ""}


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (None, "an answer is"),
        ("accept", "an answer is"),
        ({"decision": "accept", "by": "me"}, "an answer is"),
        ({"decision": ["accept"]}, "decision must be"),
        ({"decision": "flag", "note": 3}, "note must be text"),
        ({"decision": "flag", "note": "x" * 2_001}, "note must be text"),
    ],
)
def test_an_answer_that_is_none_is_refused_in_words(answer: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_answer(answer)


def reported(
    state: dict[str, Any], verdict: dict[str, str] | None = None
) -> tuple[str, ET.Element]:
    update = example.report(state | {"verdict": verdict})
    return update["report_markdown"], ET.fromstring(update["report_svg"])


def test_the_report_has_tables_and_the_verdict(folder: Path) -> None:
    state = take({"path": str(folder), "threshold": THRESHOLD})
    markdown, _ = reported(state, {"decision": "flag", "note": "Split it.\nSoon."})
    assert "4 packages, 7 files, 20 lines, 3 functions; over the threshold: 1." in markdown
    assert "| `alpha` | 2 | 17 | 11 | 2 | 2 | 2.5 | 60% |" in markdown
    assert "| `Decoder.decode` | `alpha/core.py:11` | 4 | 6 |" in markdown
    assert "Could not be read or parsed: 3." in markdown
    assert "**Flagged.**\n\n> Split it.\n> Soon.\n" in markdown
    calm, _ = reported(take({"path": str(folder)}))
    assert "No function is over the threshold (complexity 40, length 250 lines)." in calm


def test_the_chart_is_well_formed_and_has_a_bar_for_each_package(folder: Path) -> None:
    _, svg = reported(take({"path": str(folder), "threshold": THRESHOLD}))
    texts = [text.text for text in svg.iter(f"{SVG}text")]
    assert {"Code census", "alpha", "beta", "gamma", "empty", "over"} <= set(texts)
    assert "17 lines, 60% documented" in texts
    for bar in svg.iter(f"{SVG}rect"):
        x, y, width, height = (float(bar.get(key, 0)) for key in ("x", "y", "width", "height"))
        assert 0 <= x <= float(svg.attrib["width"]) - width
        assert 0 <= y <= float(svg.attrib["height"]) - height


def test_texts_of_the_chart_do_not_overlap(tmp_path: Path) -> None:
    modules(tmp_path, {f"{letter * 60}": 10 for letter in "MWÄ宽"})
    long_name = "x" * 300
    (tmp_path / "wide.py").write_text(f"def {long_name}():\n    pass\n" + "x = 1\n" * 9_999)
    _, svg = reported(take({"path": str(tmp_path)}))
    lines: dict[str, list[tuple[float, float]]] = {}
    for text in svg.iter(f"{SVG}text"):
        assert text.text is not None
        ems = sum(1.0 if char == "宽" else 0.6 for char in text.text)
        left, width = float(text.attrib["x"]), float(text.attrib["font-size"]) * ems
        left -= width if text.attrib["text-anchor"] == "end" else 0
        lines.setdefault(text.attrib["y"], []).append((left, left + width))
    for spans in lines.values():
        spans.sort()
        assert spans[0][0] >= 0
        assert spans[-1][1] <= float(svg.attrib["width"])
        assert all(left[1] < right[0] for left, right in itertools.pairwise(spans))


def test_odd_names_break_neither_the_table_nor_the_chart(tmp_path: Path) -> None:
    modules(tmp_path, {"a<b&c": 1, "bell\x07": 1, "pipe|`tick`": 1})
    markdown, svg = reported(take({"path": str(tmp_path)}))
    assert "| `pipe¦'tick'` | 1 |" in markdown
    texts = {text.text for text in svg.iter(f"{SVG}text")}
    assert {"a<b&c", "bell\N{REPLACEMENT CHARACTER}", "pipe|`tick`"} <= texts
