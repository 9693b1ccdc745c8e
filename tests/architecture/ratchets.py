"""Counts that may only fall: files, lines, twin names, import rings, event literals, odd words.

`ratchets.toml` holds the limit of each. `python -m tests.architecture.ratchets` prints the table,
`--where NAME` the places behind one row, `--lower` writes every count that fell as the new limit.
A limit is raised by a `[[raised]]` entry with a reason, for a new capability only.
"""

import ast
import re
import sys
import tomllib
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath

from tests.architecture.source import PACKAGES, ROOT, Source, sources

NUMBERS = Path(__file__).with_suffix(".toml")

# A file of one of these names is one implementation of the seam that its folder is.
SEAM = {"__init__", "__main__", "base", "memory", "store", "cache", "codec"}
SEAM |= {"sqlite", "redis", "postgres", "objects"}
CONTRACT = {"conformance", "contract"}  # The suite for third-party stores counts no lines.

CATALOGUE = "orchestrator/model/events.py"  # The only place that spells the name of an event.
EVENT = re.compile(
    r"(run_(accepted|enqueued|withdrawn|paused|resumed|succeeded|failed|cancelled)"
    r"|step_(committed|failed|retry|paused|interrupted|deferred|released|handed_back)"
    r"|thread_(repaired|damaged|forked|copied)|checkpoint_(resume|set_aside)"
    r"|interrupt_answered|state_edited|task_done|commit_refused)"
)

# Each phrase hides the subject or the verb: name the process, and what it does. The standard words
# are: log, emit, notify, report, return; continue, resume; finish, pause, idle; accept, claim;
# poll, scan, inspect, read; roll back; route.
ODD = re.compile(
    r"\b(whoever|whomever|somebody|nobody|tells?|telling|told|so many|so manieth|mostly is"
    r"|(go|goes|going|went|gone) on|at rest|to rest|rests|rested|resting|salvag\w*|steer\w*"
    r"|(bring|brings|brought) along|(comes?|came|becomes?|became) of|vouch\w*|lining"
    r"|(take|takes|taken|taking|took) (in|over)|stands?|standing|stood|lies|lying"
    r"|look(s|ed|ing)?(?![ -]up))\b"
)
PROSE = ("docs/**/*.md", "*.md", "run", "*.toml", "*.yml")
PROSE += tuple(f"{folder}/**/*" for folder in (*PACKAGES, "examples", "deploy"))


def module_imports(source: Source, known: set[str]) -> Iterator[str]:
    """Yield the modules that a module imports anywhere: in functions, under TYPE_CHECKING."""
    package = source.module.split(".")
    if source.path.name != "__init__.py":
        package.pop()
    for node in ast.walk(source.tree):
        match node:
            case ast.Import(names=names):
                found = [each.name for each in names]
            case ast.ImportFrom(module=base, names=names, level=level):
                if level:
                    base = ".".join(
                        [*package[: len(package) - level + 1], *([base] if base else [])]
                    )
                names = [f"{base}.{each.name}" for each in names]
                found = [name if name in known else str(base) for name in names]
            case _:
                continue
        yield from (name for name in found if name in known and name != source.module)


def rings(graph: Mapping[str, set[str]]) -> list[list[str]]:
    """Return the groups of modules that import each other, directly or through others."""
    reach: dict[str, set[str]] = {}
    for start in graph:
        seen: set[str] = set()
        ahead = [start]
        while ahead:
            new = graph[ahead.pop()] - seen
            seen |= new
            ahead += new
        reach[start] = seen
    found = {tuple(sorted(b for b in reach[a] if a in reach[b])) for a in graph if a in reach[a]}
    return [list(ring) for ring in sorted(found)]


def import_rings(parsed: list[Source]) -> list[str]:
    # An `__init__` that hands out names is the face of its package, not a member of a ring.
    inner = {each.module: each for each in parsed if each.path.name != "__init__.py"}
    graph = {name: set(module_imports(each, set(inner))) for name, each in inner.items()}
    return [f"{len(ring)} modules: {', '.join(ring)}" for ring in rings(graph)]


def twins(parsed: list[Source]) -> list[str]:
    named = defaultdict(list)
    for each in parsed:
        if each.path.stem not in SEAM:
            named[each.path.stem].append(str(each.path))
    return [f"{name}: {', '.join(paths)}" for name, paths in named.items() if len(paths) > 1]


def event_literals(parsed: list[Source]) -> list[str]:
    found = []
    for each in parsed:
        texts = (node.value for node in ast.walk(each.tree) if isinstance(node, ast.Constant))
        names = {text for text in texts if isinstance(text, str) and EVENT.fullmatch(text)}
        if names and not str(each.path).startswith(CATALOGUE):
            found.append(f"{each.path}: {', '.join(sorted(names))}")
    return found


def plain(text: str) -> str:
    """Return a text with names split into words and wrapped lines joined."""
    text = re.sub(r"\n\s*(#+|--+|//|>)?:?\s*", " ", text)
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", text)
    return re.sub(r"[\s_]+", " ", text).lower()


def package_of(path: PurePosixPath) -> str:
    """Return the row that a file counts to: a package, a folder of documents, a page on top."""
    depth = 2 if path.parts[0] in {"orchestrator", "docs"} else 1
    return "/".join(path.parts[:-1][:depth]) or path.stem


def odd_words() -> dict[PurePosixPath, Counter[str]]:
    paths = {path for pattern in PROSE for path in ROOT.glob(pattern)}
    found = {}
    for path in sorted(paths):
        if path.is_file() and path.suffix != ".pyc":
            name = PurePosixPath(path.relative_to(ROOT).as_posix())
            text = f"{name}\n{path.read_text(encoding='utf-8')}"
            if path.suffix == ".md":
                text = re.sub(r"\btest_\w+", "", text)  # A page quotes the names of tests.
            found[name] = Counter(match[0] for match in ODD.finditer(plain(text)))
    return found


def counted() -> dict[str, tuple[int, list[str]]]:
    """Return each row's count, and the places behind it."""
    parsed = list(sources(*PACKAGES))
    lines = {e.path: len(e.text.splitlines()) for e in parsed if not CONTRACT & set(e.path.parts)}
    longest = sorted(lines, key=lambda path: -lines[path])
    rows = {
        "files": (len(parsed), [str(each.path) for each in parsed]),
        "lines": (sum(lines.values()), [f"{path}: {lines[path]}" for path in longest]),
    }
    for name, find in (
        ("twin file names", twins),
        ("import rings", import_rings),
        ("files with event literals", event_literals),
    ):
        rows[name] = (len(found := find(parsed)), found)
    words: dict[str, list[tuple[int, str]]] = defaultdict(list)
    for path, odd in odd_words().items():
        listed = ", ".join(f"{word} {n}" for word, n in odd.most_common())
        words[package_of(path)].append((odd.total(), f"{path}: {listed}"))
    for name, files in sorted(words.items()):
        places = [place for n, place in sorted(files, reverse=True) if n]
        rows[f"odd words in {name}"] = (sum(n for n, _ in files), places)
    return rows


def limits() -> dict[str, int]:
    """Return the limit of each row: what was reached, and what was raised for a reason."""
    numbers = tomllib.loads(NUMBERS.read_text(encoding="utf-8"))
    found = Counter(numbers["limits"])
    for each in numbers.get("raised", []):
        assert each["reason"].strip(), f"{each}: give the reason"
        found[each["row"]] += each["by"]
    return dict(found)


def lower() -> None:
    """Write the counts that fell; a row without a number is added, one without a file dropped."""
    rows, allowed = counted(), limits()
    raised = NUMBERS.read_text(encoding="utf-8").partition("\n[[raised]]")
    fallen = {name: min(n, allowed.get(name, n)) for name, (n, _) in rows.items()}
    base = Counter(fallen)
    for each in tomllib.loads(raised[1] + raised[2]).get("raised", []) if raised[1] else []:
        base[each["row"]] -= each["by"]
    head = raised[0].partition("[limits]")[0]
    body = "".join(f'"{name}" = {base[name]}\n' for name in fallen)
    NUMBERS.write_text(f"{head}[limits]\n{body}{raised[1]}{raised[2]}", encoding="utf-8")


def main(arguments: list[str]) -> int:
    if arguments == ["--lower"]:
        lower()
    rows, allowed = counted(), limits()
    if arguments[:1] == ["--where"]:
        print("\n".join(rows[arguments[1]][1]))
        return 0
    over = [name for name, (n, _) in rows.items() if n > allowed.get(name, 0)]
    for name, (n, _) in rows.items():
        limit = allowed.get(name, 0)
        if n or limit or not name.startswith("odd words"):
            note = "  OVER" if name in over else "  --lower" if n < limit else ""
            print(f"{name:<44}{n:>7} of {limit:>6}{note}")
    print(f"{'odd words in all':<44}{sum(n for w, (n, _) in rows.items() if 'odd' in w):>7}")
    return 1 if over else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
