"""The code in the documentation runs, and prints what the pages show.

The blocks of a page run in order, in an empty folder: Python as one program, shell lines in a
shell, with a server and workers where the page starts them. A line `# → text` is a line of output,
in which `…` stands for anything; a block without any may print what it likes. Comments before a
block, which no reader sees, say more:

`<!-- file: NAME -->` the block is also saved as that file.
`<!-- saved: NAME -->` the block is only saved; a shell line of the page runs the file.
`<!-- with a fleet -->` a server and a worker run; with `: NAME = ATTRIBUTE`, the worker knows that
graph of the blocks before.
`<!-- not run: reason -->` the block is not run. Its `graphstalk` commands must be right anyway.
"""

import contextlib
import io
import logging
import re
import shlex
import sys
import types
from dataclasses import dataclass
from pathlib import Path

import click
import pytest

from orchestrator.cli import cli
from tests.fixtures.newcomer import Newcomer
from tests.fixtures.own_server import server_binary

ROOT = Path(__file__).resolve().parents[2]
BLOCK = re.compile(
    r"(?P<marks>(?:<!-- [^\n]+ -->\n+)*)```(?P<language>python|sh|toml)\n(?P<code>.*?)^```",
    re.MULTILINE | re.DOTALL,
)
MARK = re.compile(r"<!-- (file|saved|with a fleet|not run)(?:: ([^\n]+))? -->")
SPARED_MAX = 8  # Blocks that are not run, in all files: they install packages or use Docker.
FILES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
GRAPHS = "graphs_of_the_page"


@dataclass(frozen=True)
class Block:
    """A block of a page."""

    language: str
    code: str
    line: int
    marks: dict[str, str]

    @property
    def promised(self):
        lines = [line.strip() for line in self.code.splitlines()]
        return [line.removeprefix("# → ") for line in lines if line.startswith("# → ")]


def blocks(path):
    """Return the blocks of a file."""
    text = path.read_text(encoding="utf-8")
    for found in BLOCK.finditer(text):
        line = text.count("\n", 0, found.start("code")) + 1
        marks = {name: value or "" for name, value in MARK.findall(found["marks"])}
        yield Block(found["language"], found["code"], line, marks)


def fits(said, printed):
    pattern = ".*".join(re.escape(part) for part in said.split("…"))
    return re.fullmatch(pattern, printed) is not None


def compare(block, output, where):
    printed, said = output.splitlines(), block.promised
    assert len(printed) == len(said) or not said, f"{where} prints {printed}"
    wrong = [(s, p) for s, p in zip(said, printed, strict=False) if not fits(s, p)]
    assert wrong == [], where


class Page:
    """A page that a newcomer works through."""

    def __init__(self, path, module, person, monkeypatch):
        self.path, self.module, self.person = path, module, person
        self.monkeypatch = monkeypatch
        self.before = []  # The Python so far.

    def run(self, block):
        where = f"{self.path.name}:{block.line}"
        if name := block.marks.get("file") or block.marks.get("saved"):
            (self.person.folder / name).write_text(block.code, encoding="utf-8")
        if {"not run", "saved"} & set(block.marks) or block.language == "toml":
            return
        if "with a fleet" in block.marks:
            self.have_fleet(block.marks["with a fleet"])
        if block.language == "sh":
            for line in filter(None, map(str.strip, block.code.splitlines())):
                if not line.startswith("#"):
                    self.person.type(line)
            return
        code = "\n" * (block.line - 1) + block.code
        compiled = compile(code, str(self.path), "exec", dont_inherit=True)
        with contextlib.redirect_stdout(io.StringIO()) as output:
            exec(compiled, self.module.__dict__)
        compare(block, output.getvalue(), where)
        self.before.append(block.code)

    def have_fleet(self, graph):
        if graph:
            name, _, attribute = (part.strip() for part in graph.partition("="))
            (self.person.folder / f"{GRAPHS}.py").write_text("\n".join(self.before))
            (self.person.folder / "pyproject.toml").write_text(
                f'[tool.graphstalk]\ngraphs = {{ "{name}" = "{GRAPHS}:{attribute}" }}\n'
            )
        self.person.start_fleet()
        self.monkeypatch.setenv("REDIS_URL", self.person.url)


@pytest.fixture
def module(monkeypatch, tmp_path):
    """The module of a program that a newcomer starts, so that classes in blocks have a home."""
    found, before = types.ModuleType("__main__"), set(sys.modules)
    monkeypatch.setitem(sys.modules, "__main__", found)
    monkeypatch.setattr(logging.getLogger("orchestrator"), "handlers", [])
    monkeypatch.syspath_prepend(tmp_path / "project")
    yield found
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(tmp_path)):
            del sys.modules[name]


def needs_server(path):
    return any(block.language == "sh" or "with a fleet" in block.marks for block in blocks(path))


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(path, marks=[pytest.mark.server] if needs_server(path) else [])
        for path in FILES
    ],
    ids=lambda path: path.name,
)
def test_the_blocks_of_a_file_run_and_print_what_they_say(path, module, tmp_path, monkeypatch):
    if needs_server(path):
        server_binary()
    with Newcomer(tmp_path) as person:
        monkeypatch.chdir(person.folder)
        module.__file__ = str(person.folder / "page.py")
        page = Page(path, module, person, monkeypatch)
        for block in blocks(path):
            page.run(block)


def test_few_blocks_are_not_run():
    spared = [b.marks["not run"] for path in FILES for b in blocks(path) if "not run" in b.marks]
    assert len(spared) <= SPARED_MAX
    assert all(spared)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_block_that_is_only_saved_is_run_by_a_shell_line(path):
    typed = "\n".join(block.code for block in blocks(path) if block.language == "sh")
    assert [b.marks["saved"] for b in blocks(path) if b.marks.get("saved", "") not in typed] == []


def commands(path):
    """Return the `graphstalk` command lines of a page: those of its shell blocks."""
    for block in blocks(path):
        if block.language == "sh":
            for line in block.code.splitlines():
                words = shlex.split(line, comments=True)
                if words[:1] == ["graphstalk"] and len(words) > 1:
                    yield f"{path.name}:{block.line}", words[1:]


@pytest.mark.parametrize(("where", "words"), [c for path in FILES for c in commands(path)], ids=str)
def test_a_command_of_a_page_has_the_options_that_it_is_given(where, words):
    context = click.Context(cli, resilient_parsing=True)
    command = cli.get_command(context, words[0])
    if words[0].startswith("-"):
        return
    assert command is not None, where
    parsed = command.make_parser(click.Context(command))
    parsed.parse_args(words[1:])


DOCUMENTS = [
    *FILES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    *(ROOT / "docs").glob("decisions/*.md"),
]
LINK = re.compile(r"\]\(([^)#:\s]*)(?:#([^)\s]*))?\)")


def anchors(path):
    """Return the anchors of a page's headings, as GitHub makes them."""
    heads = re.findall(r"^#+ (.+)$", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_links_between_documents_lead_to_a_page_and_a_heading():
    broken = []
    for path in DOCUMENTS:
        for target, anchor in LINK.findall(path.read_text(encoding="utf-8")):
            page = path.parent / target if target else path
            if not page.exists() or (anchor and anchor not in anchors(page)):
                broken.append(f"{path.relative_to(ROOT)}: {target}#{anchor}")
    assert broken == []


def test_every_guide_is_in_the_index():
    index = (ROOT / "docs/README.md").read_text(encoding="utf-8")
    names = [path.name for path in (ROOT / "docs").glob("*.md") if path.name != "README.md"]
    assert [name for name in names if f"({name})" not in index] == []
