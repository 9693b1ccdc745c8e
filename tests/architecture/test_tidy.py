"""The whole source keeps to the rules, and each rule notices what it is there for."""

from collections.abc import Callable

import pytest

from tests.architecture import rules
from tests.architecture.readers import named_outside_python, unread
from tests.architecture.source import FOLDERS, PACKAGES, ROOT, Source, sources


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_the_source_keeps_the_rule(rule: Callable) -> None:
    breaches = [f"{each.path}: {breach}" for each in sources(*FOLDERS) for breach in rule(each)]
    assert not breaches, "\n".join(breaches)


def test_no_file_is_without_a_reader() -> None:
    alone = unread(sources(*PACKAGES), sources(*FOLDERS), named_outside_python(ROOT))
    assert not alone, "\n".join(alone)


def test_every_exception_to_a_rule_is_still_needed() -> None:
    used = {
        (str(each.path), name)
        for each in sources(*PACKAGES)
        for _, name in rules.turned_into_code(each)
    }
    assert set(rules.ALLOWED) - used == set()


_METHODS = "\n".join(f"    def m{n}(self): ..." for n in range(rules.PROTOCOL_METHODS_MAX + 1))
_BODY = "\n".join(["    pass"] * (rules.FUNCTION_LINES_MAX + 1))
_UNTIDY = [
    (rules.a_file_is_short, "\n" * (rules.FILE_LINES_MAX + 1)),
    (rules.a_function_is_short, f"async def long():\n{_BODY}"),
    (rules.a_function_takes_few_parameters, "def f(a, b, c, /, d, e, *f, g, h, **i): ..."),
    (rules.a_protocol_is_narrow, f"class Wide(typing.Protocol[T]):\n{_METHODS}"),
    (rules.a_protocol_is_narrow, f"class Wide(metaclass=abc.ABCMeta):\n{_METHODS}"),
    (rules.a_module_says_what_it_is, "import os"),
    (rules.data_is_never_code, "from pickle import loads"),
    (rules.data_is_never_code, "import os, marshal"),
    (rules.data_is_never_code, "value = eval(text)"),
    (rules.data_is_never_code, "load = __import__"),
    (rules.data_is_never_code, "importlib.import_module(name)"),
    (rules.lua_and_sql_have_their_own_files, 'S = """local n = 1\nreturn n"""'),
    (rules.lua_and_sql_have_their_own_files, 'S = f"""\nSELECT *\nFROM {table}"""'),
    (
        rules.lua_and_sql_have_their_own_files,
        'S = ("redis.call(\'GET\', KEYS[1])"\n     "return 1")',
    ),
    (rules.a_commit_is_decided_in_the_engine, "commit = Commit(thread_id=thread_id)"),
    (rules.a_commit_is_decided_in_the_engine, "commit = model.Commit(thread_id=thread_id)"),
    (rules.a_commit_is_decided_in_the_engine, "self.access.checkpointer.commit(decided)"),
    (rules.a_commit_is_decided_in_the_engine, "patiently(store.commit, decided)"),
]


@pytest.mark.parametrize(("rule", "text"), _UNTIDY)
def test_a_rule_notices_its_breach(rule: Callable, text: str) -> None:
    assert list(rule(Source.parse("orchestrator/probe.py", text)))


def test_only_a_command_may_have_an_option_for_each_parameter() -> None:
    text = "def f(a, b, c, d, e, f, g, h, i): ..."
    command = Source.parse("orchestrator/cli/probe.py", f"@click.command()\n{text}")
    other = Source.parse("orchestrator/cli/probe.py", f"@cached\n{text}")
    assert list(rules.a_function_takes_few_parameters(command)) == []
    assert list(rules.a_function_takes_few_parameters(other))


@pytest.mark.parametrize("path", ["orchestrator/utils.py", "workers/common/probe.py"])
def test_a_vague_name_is_noticed(path: str) -> None:
    assert list(rules.a_name_says_what_is_inside(Source.parse(path, "")))


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
def test_a_tidy_file_passes(rule: Callable) -> None:
    docstring = '"""Select\n a row FROM redis.call.\n' + "\n" * rules.FUNCTION_LINES_MAX + '"""'
    body = 'return client.eval("return KEYS[1]")'
    text = f'"""A tidy module."""\n\ndef f(self, a, b):\n    {docstring}\n    {body}\n'
    assert list(rule(Source.parse("orchestrator/probe.py", text))) == []


def test_a_store_and_the_engine_make_commits() -> None:
    for folder in rules.DECIDING:
        made = Source.parse(f"orchestrator/{folder}/probe.py", "self.store.commit(Commit())")
        assert list(rules.a_commit_is_decided_in_the_engine(made)) == []


def test_a_file_that_only_names_itself_is_unread() -> None:
    def module(path: str, text: str) -> Source:
        return Source.parse(f"orchestrator/{path}.py", text)

    alone = module("alone", "import orchestrator.alone")
    read = [
        module("relative/__init__", "from .one import name"),
        module("relative/one", "from . import two"),
        module("relative/two", "from ..imported import name"),
        module("imported", "LAZY = 'orchestrator.lazy:name'"),
        module("lazy", "from orchestrator import relative"),
        module("deployed", ""),
    ]
    assert unread([alone, *read], [alone, *read], ["orchestrator.deployed"]) == [str(alone.path)]
