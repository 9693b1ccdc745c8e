"""What a caller may say about thread and run."""

import pytest

from orchestrator.client.options import ConfigError, merged, parse_config
from orchestrator.errors import InvalidThreadIdError
from orchestrator.ids import checkpoint_text, child_thread

ID = checkpoint_text(77)


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize(
    "config",
    [
        "t",
        {"thread_id": "t"},
        {"configurable": {"thread_id": "t"}},
        {"thread_id": "t", "configurable": {"thread_id": "t", "checkpoint_id": None}},
        Text("t"),
        {"thread_id": Text("t"), "configurable": {"thread_id": "t"}},
    ],
)
def test_all_forms_name_the_same_thread(config):
    parsed = parse_config(config)
    assert (parsed.thread(), parsed.checkpoint_id) == ("t", None)


@pytest.mark.parametrize(
    "config", [{"thread_id": "t", "checkpoint_id": ID}, {"configurable": {"checkpoint_id": ID}}]
)
def test_a_checkpoint_is_named_in_either_form(config):
    assert parse_config(config).checkpoint_id == 77


@pytest.mark.parametrize("config", [None, {}, {"configurable": {}}, {"configurable": None}])
def test_without_a_thread_id_the_message_shows_both_forms(config):
    parsed = parse_config(config)
    assert parsed.thread_id is None
    with pytest.raises(ConfigError) as raised:
        parsed.thread()
    assert '{"configurable": {"thread_id": "my-thread"}}' in str(raised.value)
    assert '{"thread_id": "my-thread"}' in str(raised.value)
    assert raised.value.code == "INVALID_CONFIG"


@pytest.mark.parametrize(
    ("thread_id", "text"),
    [
        ("", "the thread id is empty"),
        ("x" * 256, "has 256 characters, at most 255 may be: 'xxx"),
        ("a\nb", "holds control or unprintable characters"),
        ("a\x00b", "holds control"),
        ("\ud800", "unprintable"),
        (b"t", "a thread id must be a string, or a number, a UUID"),
    ],
)
def test_what_cannot_name_a_thread_is_refused_in_every_form(thread_id, text):
    forms = [{"thread_id": thread_id}, {"configurable": {"thread_id": thread_id}}]
    if isinstance(thread_id, str):
        forms.append(thread_id)
    for form in forms:
        with pytest.raises(InvalidThreadIdError) as raised:
            parse_config(form)
        assert text in str(raised.value)
        assert raised.value.code == "INVALID_THREAD_ID"


@pytest.mark.parametrize("thread_id", ["x" * 255, "☃ 'quotes' {braces}", "a:b/c", " ", "0"])
def test_odd_but_printable_thread_ids_are_fine(thread_id):
    assert parse_config(thread_id).thread() == thread_id


@pytest.mark.parametrize(
    "config",
    [
        {"thread_id": "a", "configurable": {"thread_id": "b"}},
        {"checkpoint_id": ID, "configurable": {"checkpoint_id": checkpoint_text(1)}},
    ],
)
def test_a_config_that_says_two_things_is_refused(config):
    with pytest.raises(ConfigError, match="the config names two"):
        parse_config(config)


@pytest.mark.parametrize("limit", [0, -1, "5", 2.0, True])
def test_a_recursion_limit_is_a_number_of_at_least_one(limit):
    with pytest.raises(ConfigError, match=r"recursion_limit is .* at least 1"):
        parse_config({"recursion_limit": limit})


@pytest.mark.parametrize("text", ["7", "not an id", "g" * 16, "0" * 17, 5])
def test_a_checkpoint_id_that_is_none_is_refused(text):
    parsed = parse_config({"thread_id": "t", "checkpoint_id": text})
    for read in (parsed.thread, parsed.before):
        with pytest.raises(ConfigError, match="16 hexadecimal digits"):
            read()


def test_a_graph_without_threads_reads_no_checkpoint_id():
    parsed = parse_config({"thread_id": "t", "checkpoint_id": "of another library"})
    alone = parsed.without_thread()
    assert (alone.thread_id, alone.checkpoint_id) == ("t", None)
    assert alone.shown == {"thread_id": "t", "checkpoint_id": "of another library"}
    alone = parse_config({"checkpoint_id": ID}).without_thread()
    assert (alone.checkpoint_id, alone.shown) == (None, {"checkpoint_id": ID})


@pytest.mark.parametrize("config", [["thread_id"], b"t", {"configurable": "t"}, {"metadata": 3}])
def test_a_config_of_the_wrong_kind_says_what_it_should_be(config):
    with pytest.raises(ConfigError, match="mapping"):
        parse_config(config)


def test_what_else_is_configured_reaches_the_nodes_without_the_names():
    config = {"configurable": {"thread_id": "t", "user": 1}, "metadata": {"m": 2}}
    parsed = parse_config(config)
    assert (parsed.configurable, parsed.metadata) == ({"user": 1}, {"m": 2})
    assert parsed.recursion_limit is None
    assert config["configurable"]["thread_id"] == "t"


def test_what_only_this_process_can_use_is_kept_as_it_is():
    given = {"callbacks": [object()], "tags": ["a"], "run_name": "n", "run_id": object()}
    assert parse_config({"thread_id": "t", **given, "unknown": 1}).more == given


def test_names_of_the_engine_are_not_for_callers():
    config = {"configurable": {"__graphstalk_x": 1, "checkpoint_ns": "", "user": 1}}
    assert parse_config(config).configurable == {"user": 1}


def test_a_namespace_names_the_thread_of_a_subgraph():
    parsed = parse_config({"configurable": {"thread_id": "t", "checkpoint_ns": "node:id|0"}})
    assert (parsed.ns, parsed.thread()) == ("node:id|0", child_thread("t", "node:id|0"))
    assert parse_config({"thread_id": "t", "checkpoint_ns": None}).thread() == "t"


@pytest.mark.parametrize("ns", ["a\x00b", 5, ["a"]])
def test_what_cannot_be_a_namespace_is_refused(ns):
    with pytest.raises(ConfigError, match="checkpoint_ns is the namespace of a subgraph"):
        parse_config({"thread_id": "t", "checkpoint_ns": ns})


@pytest.mark.parametrize(
    ("key", "name", "least"),
    [("max_concurrency", "concurrency_max", 1), ("resumes_max", "resumes_max", 0)],
)
def test_a_bound_is_a_whole_number(key, name, least):
    assert getattr(parse_config({}), name) is None
    assert getattr(parse_config({key: least}), name) == least
    for value in (least - 1, "5", 2.0, True):
        with pytest.raises(ConfigError, match=f"{key} in a config is .* at least {least}"):
            parse_config({key: value})


# ---- a config for all calls -----------------------------------------------------------------

ALWAYS = {
    "configurable": {"thread_id": "t", "user": 1},
    "metadata": {"m": 1, "n": 1},
    "recursion_limit": 5,
}


def test_a_call_adds_to_what_holds_for_all_and_goes_before_it():
    both = merged(ALWAYS, {"configurable": {"user": 2}, "metadata": {"n": 2}, "recursion_limit": 6})
    assert (both.thread(), both.configurable) == ("t", {"user": 2})
    assert (both.metadata, both.recursion_limit) == ({"m": 1, "n": 2}, 6)
    assert ALWAYS["configurable"] == {"thread_id": "t", "user": 1}


@pytest.mark.parametrize("config", [None, {}, {"metadata": {}}])
def test_a_call_that_says_nothing_gets_what_holds_for_all(config):
    both = merged(ALWAYS, config)
    assert (both.thread(), both.configurable, both.recursion_limit) == ("t", {"user": 1}, 5)


@pytest.mark.parametrize("config", ["other", {"thread_id": "other"}])
def test_a_call_may_name_another_thread_in_any_form(config):
    both = merged(ALWAYS, config)
    assert (both.thread(), both.configurable) == ("other", {"user": 1})


def test_without_a_config_for_all_calls_a_call_stands_for_itself():
    assert merged({}, "t") == parse_config("t")
    assert merged({}, None) == parse_config(None)
