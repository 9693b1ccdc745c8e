"""The Python in the documentation runs, and prints what it says it prints.

The blocks of a file run in order, as one module, in an empty folder. A line `# → text` is a line of
output, in which `…` stands for anything; a block without any may print what it likes.
`<!-- not run: reason -->` before a block spares it.
"""

import contextlib
import io
import re
import sys
import types
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"(?:<!-- not run: (?P<reason>[^\n]+) -->\n+)?```python\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
SPARED_MAX = 12  # Blocks that are not run, in all files: those that need a fleet.
# Their blocks show how something is written, with names that only a reader's program has.
FRAGMENTS = {"memory.md", "caching.md"}
FILES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])


def blocks(path):
    """Return the blocks of a file: reason not to run it, first line, code."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        yield found["reason"], line, found["code"]


def promised(code):
    lines = [line.strip() for line in code.splitlines()]
    return [line.removeprefix("# → ") for line in lines if line.startswith("# → ")]


def fits(said, printed):
    pattern = ".*".join(re.escape(part) for part in said.split("…"))
    return re.fullmatch(pattern, printed) is not None


@pytest.fixture
def module():
    """A module to run blocks in, so that classes in them have a home."""
    found = types.ModuleType("graphstalk_docs")
    sys.modules[found.__name__] = found
    yield found
    del sys.modules[found.__name__]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_blocks_of_a_file_run_and_print_what_they_say(path, module, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for reason, line, code in blocks(path):
        compiled = compile("\n" * (line - 1) + code, str(path), "exec", dont_inherit=True)
        if reason is not None or path.name in FRAGMENTS:
            continue
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compiled, module.__dict__)
        printed, said = output.getvalue().splitlines(), promised(code)
        assert len(printed) == len(said) or not said, f"{path.name}:{line} prints {printed}"
        wrong = [(s, p) for s, p in zip(said, printed, strict=False) if not fits(s, p)]
        assert wrong == [], f"{path.name}:{line}"


def test_few_blocks_are_not_run():
    spared = [reason for path in FILES for reason, _, _ in blocks(path) if reason is not None]
    assert len(spared) <= SPARED_MAX


def test_links_between_documents_lead_somewhere():
    broken = []
    for path in [*FILES, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("decisions/*.md")]:
        targets = re.findall(r"\]\(([^)#:\s]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        lost = [target for target in targets if not (path.parent / target).exists()]
        broken += [f"{path.relative_to(ROOT)}: {target}" for target in lost]
    assert broken == []


def test_every_guide_stands_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert [name for name in names if f"({name})" not in index] == []
