"""No count grows, a package without odd words stays so, and each count notices what it counts."""

import pytest

from tests.architecture import ratchets
from tests.architecture.source import Source

COUNTED = ratchets.counted()
LIMITS = ratchets.limits()


@pytest.mark.parametrize("row", [*COUNTED, *(name for name in LIMITS if name not in COUNTED)])
def test_the_count_is_within_its_limit(row: str) -> None:
    count, places = COUNTED.get(row, (0, []))
    limit = LIMITS.get(row, 0)
    shown = "\n".join(places[:20])
    assert count <= limit, f"{row}: {count} of {limit}; see ratchets.toml\n{shown}"
    if count == 0:
        assert limit == 0, f"{row} has reached 0: python -m tests.architecture.ratchets --lower"


@pytest.mark.parametrize(
    "text",
    [
        "Whoever waits.",
        "def tell_all(): ...",
        "class NobodyListens: ...",
        "# the run goes\n    # on",
        "-- what it takes\n-- in",
        "a path/salvaging.py",
        "It looks at the thread.",
        "a thread at rest",
    ],
)
def test_an_odd_word_is_found(text: str) -> None:
    assert ratchets.ODD.search(ratchets.plain(text))


@pytest.mark.parametrize(
    "text", ["Look up the key.", "one look-up", "the rest of them", "a teller", "overlooked"]
)
def test_a_plain_word_is_let_pass(text: str) -> None:
    assert not ratchets.ODD.search(ratchets.plain(text))


def module(path: str, text: str = "") -> Source:
    return Source.parse(f"orchestrator/{path}.py", text)


def test_imports_in_functions_and_for_types_close_a_ring() -> None:
    one = module("one", "def f():\n    from orchestrator import two")
    two = module("two", "if TYPE_CHECKING:\n    from orchestrator.three import name")
    three = module("three", "from .one import f")
    [ring] = ratchets.import_rings([one, two, three, module("four", "import orchestrator.one")])
    assert ring == "3 modules: orchestrator.one, orchestrator.three, orchestrator.two"


def test_a_face_of_a_package_is_in_no_ring() -> None:
    face = module("package/__init__", "from orchestrator.package.part import name")
    assert (
        ratchets.import_rings([face, module("package/part", "import orchestrator.package")]) == []
    )


def test_two_files_of_a_name_are_twins_outside_a_seam() -> None:
    seam = [module("cache/memory"), module("store/memory")]
    twins = [module("engine/line"), module("step/line")]
    assert ratchets.twins([*seam, *twins]) == [
        "line: orchestrator/engine/line.py, orchestrator/step/line.py"
    ]


def test_the_name_of_an_event_is_noticed_outside_the_catalogue() -> None:
    text = "NAME = 'run_accepted'"
    assert ratchets.event_literals([module("engine/line", text)])
    assert ratchets.event_literals([module("model/events", text)]) == []


def test_a_raise_needs_a_reason(tmp_path, monkeypatch) -> None:
    numbers = tmp_path / "ratchets.toml"
    monkeypatch.setattr(ratchets, "NUMBERS", numbers)
    raised = '[limits]\n"lines" = 10\n\n[[raised]]\nrow = "lines"\nby = 5\nreason = "{}"\n'
    numbers.write_text(raised.format("a store on Postgres, with its suite"))
    assert ratchets.limits() == {"lines": 15}
    numbers.write_text(raised.format(""))
    with pytest.raises(AssertionError, match="reason"):
        ratchets.limits()


def test_lowering_keeps_what_was_raised_and_raises_nothing(tmp_path, monkeypatch) -> None:
    numbers = tmp_path / "ratchets.toml"
    monkeypatch.setattr(ratchets, "NUMBERS", numbers)
    monkeypatch.setattr(ratchets, "counted", lambda: {"lines": (12, []), "files": (9, [])})
    end = '\n[[raised]]\nrow = "lines"\nby = 5\nreason = "a store on Postgres, with its suite"\n'
    numbers.write_text(f'# why\n\n[limits]\n"lines" = 10\n"files" = 8\n"gone" = 3\n{end}')
    ratchets.lower()
    assert numbers.read_text() == f'# why\n\n[limits]\n"lines" = 7\n"files" = 8\n{end}'
    assert ratchets.limits() == {"lines": 12, "files": 8}
