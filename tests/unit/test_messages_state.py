"""Conversations: with langchain-core as LangGraph's, without it as plain dicts."""

import subprocess
import sys
import typing
import uuid

import langchain_core.messages as lc
import langgraph.graph.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from orchestrator import START, InMemorySaver, StateGraph
from orchestrator.channels import MISSING, BinaryOperatorAggregate
from orchestrator.graph import conversation
from orchestrator.graph.conversation import (
    REMOVE_ALL_MESSAGES,
    MessagesState,
    add_messages,
    message_sink,
    push_message,
)
from orchestrator.graph.schema import channels_of
from orchestrator.serde.codec import Codec

# ---- with langchain-core -----------------------------------------------------------------------

ids = st.sampled_from(["1", "2", "3", REMOVE_ALL_MESSAGES])
texts = st.sampled_from(["hi", "there", ""])


@st.composite
def forms(draw):
    """A message in any form, as a function that makes it anew: merging gives objects their ids."""
    text, name = draw(texts), draw(st.none() | ids)
    return draw(
        st.sampled_from(
            [
                lambda: text,
                lambda: ("ai", text),
                lambda: ["system", text],
                lambda: {"role": "user", "content": text, "id": name},
                lambda: {"type": "ai", "content": text, "id": name},
                lambda: lc.HumanMessage(text, id=name),
                lambda: lc.AIMessageChunk(text, id=name),
                lambda: lc.RemoveMessage(id=name or "1"),
                lambda: {"role": "remove", "content": "", "id": name or "2"},
                lambda: {"role": "nobody", "content": text},
            ]
        )
    )


lists = st.lists(forms(), max_size=4).map(lambda made: lambda: [make() for make in made])


def outcome(merge, *args, format=None):  # noqa: A002
    """What a merge gives, without the ids that are random, or that LangGraph's format loses."""
    try:
        merged = merge(*args, format=format)
    except ValueError:
        return ValueError
    given_ids = set() if format else {"1", "2", "3", REMOVE_ALL_MESSAGES}
    for message in merged:
        if message.id not in given_ids and not format:
            assert uuid.UUID(message.id).version == 4
    return [m.model_copy(update={"id": m.id if m.id in given_ids else "random"}) for m in merged]


def removes_all(message):
    if isinstance(message, dict):
        return (message.get("role"), message.get("id")) == ("remove", REMOVE_ALL_MESSAGES)
    return isinstance(message, lc.RemoveMessage) and message.id == REMOVE_ALL_MESSAGES


@given(
    left=lists | forms(), right=lists | forms(), form=st.sampled_from([None, "langchain-openai"])
)
def test_merging_gives_what_langgraph_gives(left, right, form):
    theirs = outcome(langgraph.graph.message.add_messages, left(), right(), format=form)
    news = right() if isinstance(right(), list) else [right()]
    ends = [place for place, message in enumerate(news) if removes_all(message)]
    if ends and theirs is not ValueError:  # Here what follows is merged, too.
        after = news[ends[-1] + 1 :]
        theirs = outcome(langgraph.graph.message.add_messages, [], after, format=form)
    assert outcome(add_messages, left(), right(), format=form) == theirs


def test_what_follows_the_removal_of_all_messages_is_merged():
    everything, gone = lc.RemoveMessage(REMOVE_ALL_MESSAGES), lc.RemoveMessage("3")
    news = [lc.AIMessage("lost"), everything, lc.HumanMessage("a", id="2"), lc.AIMessage("b")]
    more = [lc.HumanMessage("instead", id="2"), lc.AIMessage("c", id="3"), gone]
    merged = add_messages([lc.HumanMessage("old", id="1")], [*news, *more])
    assert [(m.content, m.id) for m in merged] == [("instead", "2"), ("b", merged[1].id)]
    assert merged[1].id
    with pytest.raises(ValueError, match="doesn't exist"):
        add_messages([lc.HumanMessage("old", id="1")], [everything, lc.RemoveMessage("1")])


@pytest.mark.parametrize("begins_anew", [False, True])
def test_a_format_keeps_ids_and_applies_to_all(begins_anew):
    image = {"type": "image", "source": {"type": "base64", "media_type": "i/j", "data": "12"}}
    result = {"type": "tool_result", "tool_use_id": "call", "content": "42"}
    said = lc.HumanMessage([{"type": "text", "text": "see"}, image, result], id="said")
    left = [lc.SystemMessage("be kind", id="rules")]
    right = [*([lc.RemoveMessage(REMOVE_ALL_MESSAGES)] if begins_anew else []), said]
    merged = add_messages(left, right, format="langchain-openai")
    kept = [] if begins_anew else ["rules"]
    assert [m.id for m in merged if not isinstance(m, lc.ToolMessage)] == [*kept, "said"]
    assert next(m for m in merged if m.id == "said").content[1]["type"] == "image_url"
    [tool] = [m for m in merged if isinstance(m, lc.ToolMessage)]
    assert (tool.content, tool.tool_call_id) == ("42", "call")
    again = add_messages(merged, [], format="langchain-openai")
    assert [m.id for m in again] == [m.id for m in merged]


def test_a_merge_leaves_the_messages_it_was_given():
    said = lc.HumanMessage("hi")
    first, second = add_messages([], [said]), add_messages([], [said])
    assert said.id is None
    assert first[0].id != second[0].id


def test_a_conversation_can_go_on_for_many_merges():
    merged = []
    for text in ("a", "b", "c"):
        merged = add_messages(merged, ("user", text))
    assert [m.content for m in merged] == ["a", "b", "c"]
    assert len({m.id for m in merged}) == 3


def test_a_merge_leaves_the_lists_it_was_given():
    left, right = [lc.HumanMessage("a", id="1")], [lc.HumanMessage("b", id="1")]
    assert add_messages(left, right)[0].content == "b"
    assert left[0].content == "a"


def test_what_cannot_be_merged_is_refused_with_the_reason():
    with pytest.raises(ValueError, match=r"delete a message with an ID that doesn't exist \('9'\)"):
        add_messages([], [lc.RemoveMessage(id="9")])
    with pytest.raises(ValueError, match=r"only 'right' was given"):
        add_messages(None, [])
    with pytest.raises(ValueError, match="only 'left' was given"):
        add_messages([], None)
    with pytest.raises(ValueError, match=r"Unrecognized format='xml'"):
        add_messages([], [], format="xml")


def test_without_messages_it_is_a_reducer_with_that_format():
    reduce = add_messages(format="langchain-openai")
    image = {"type": "image", "source": {"type": "base64", "media_type": "i/j", "data": "12"}}
    [message] = reduce([], [{"role": "user", "content": [image]}])
    assert message.content == [{"type": "image_url", "image_url": {"url": "data:i/j;base64,12"}}]


def test_both_forms_are_reducers_of_a_state():
    class State(MessagesState):
        formatted: typing.Annotated[list, add_messages(format="langchain-openai")]

    channels = channels_of(State)
    assert all(isinstance(channel, BinaryOperatorAggregate) for channel in channels.values())
    [message] = channels["messages"].update(MISSING, ["hi"])
    assert message.content == "hi"
    assert channels["formatted"].update(MISSING, ["hi"])[0].content == "hi"


def test_remove_message_is_langchains():
    assert conversation.RemoveMessage is lc.RemoveMessage
    assert REMOVE_ALL_MESSAGES == langgraph.graph.message.REMOVE_ALL_MESSAGES


def test_another_name_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = conversation.Nothing


def test_a_codec_stores_every_kind_of_message():
    codec = Codec()
    call = {"name": "f", "args": {"a": 1}, "id": "c", "type": "tool_call"}
    for message in (
        lc.HumanMessage([{"type": "text", "text": "b"}], id="1", name="n"),
        lc.AIMessage("a", id="2", tool_calls=[call]),
        lc.AIMessageChunk("a", id="3"),
        lc.ToolMessage("a", tool_call_id="c", artifact={"a": (1, 2)}),
        lc.SystemMessage("a"),
        lc.RemoveMessage(id="1"),
    ):
        loaded = codec.decode(codec.encode(message))
        assert (type(loaded), loaded) == (type(message), message)


def test_importing_the_module_does_not_import_langchain():
    code = (
        "import sys, typing\n"
        "from orchestrator.graph.conversation import MessagesState\n"
        "typing.get_type_hints(MessagesState, include_extras=True)\n"
        "assert 'langchain_core' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- without langchain-core --------------------------------------------------------------------


@pytest.fixture
def plain(monkeypatch):
    monkeypatch.setitem(sys.modules, "langchain_core", None)


def test_every_form_of_a_message_becomes_a_dict(plain):
    merged = add_messages(
        [],
        [
            "hi",
            ("ai", "there"),
            ["system", "be kind"],
            {"role": "developer", "content": "x", "id": "4", "name": "n"},
            {"type": "human", "content": None, "id": "5"},
            {"role": "user", "type": "kept", "content": "y", "id": "6"},
        ],
    )
    named, random = merged[3:], merged[:3]
    assert [(m["role"], m["content"]) for m in random] == [
        ("user", "hi"),
        ("assistant", "there"),
        ("system", "be kind"),
    ]
    assert all(uuid.UUID(message["id"]).version == 4 for message in random)
    assert named == [
        {"role": "developer", "content": "x", "id": "4", "name": "n"},
        {"role": "user", "content": "", "id": "5"},
        {"role": "user", "content": "y", "id": "6", "type": "kept"},
    ]


def test_plain_messages_are_merged_by_id(plain):
    left = [{"role": "user", "content": c, "id": c} for c in "abc"]
    merged = add_messages(left, [("ai", "new"), {"role": "user", "content": "B", "id": "b"}])
    assert [m["content"] for m in merged] == ["a", "B", "c", "new"]
    assert left[1]["content"] == "b"


def test_plain_messages_are_removed_by_id(plain):
    left = [{"role": "user", "content": c, "id": c} for c in "abc"]
    merged = add_messages(left, [conversation.RemoveMessage("a"), {"role": "remove", "id": "c"}])
    assert [m["id"] for m in merged] == ["b"]


def test_a_message_that_is_removed_and_comes_again_stays_in_its_place(plain):
    left = [{"role": "user", "content": c, "id": c} for c in "ab"]
    again = {"role": "user", "content": "A", "id": "a"}
    merged = add_messages(left, [conversation.RemoveMessage("a"), again])
    assert [m["content"] for m in merged] == ["A", "b"]


def test_removing_all_keeps_what_comes_after(plain):
    removal = conversation.RemoveMessage(REMOVE_ALL_MESSAGES)
    assert [m["content"] for m in add_messages(["a"], ["b", removal, "c"])] == ["c"]


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        (1, r"a message must be .*\(int\)"),
        (("user", "a", "b"), r"a message must be .*\(tuple\)"),
        ({"role": "nobody", "content": "a"}, "must be one of .*'nobody'"),
        ({"role": ["user"], "content": "a"}, "the role of a message must be one of"),
        ({"content": "a"}, "role=None"),
        ({"role": "user"}, r"must have 'role' and 'content' \(its keys: \['role'\]\)"),
        ({"role": "remove", "id": "9"}, r"an ID that doesn't exist \('9'\)"),
    ],
)
def test_a_plain_message_that_cannot_be_understood_is_refused(plain, message, reason):
    with pytest.raises(ValueError, match=reason):
        add_messages([], [message])


def test_a_format_of_langchains_needs_langchain(plain):
    with pytest.raises(ImportError, match="pip install langchain-core"):
        add_messages([], [], format="langchain-openai")


def test_the_removal_of_a_plain_message_can_be_stored(plain):
    codec = Codec()
    removal = conversation.RemoveMessage("a")
    assert codec.decode(codec.encode(removal)) == removal


def test_a_node_removes_a_plain_message_of_a_thread(plain):
    builder = StateGraph(conversation.MessagesState)
    builder.add_node("drop", lambda state: {"messages": [conversation.RemoveMessage(id="1")]})
    graph = builder.add_edge(START, "drop").compile(InMemorySaver())
    said = [{"role": "user", "content": text, "id": id_} for id_, text in (("1", "a"), ("2", "b"))]
    assert [m["id"] for m in graph.invoke({"messages": said}, "t")["messages"]] == ["2"]


def test_plain_merging_agrees_with_langgraphs_on_roles_and_contents(monkeypatch):
    rounds = [["a", ("ai", "b")], {"role": "user", "content": "c", "id": "1"}, ("system", "d")]
    theirs, ours = [], []
    for news in rounds:
        theirs = langgraph.graph.message.add_messages(theirs, news)
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    for news in rounds:
        ours = add_messages(ours, news)
    roles = {"human": "user", "ai": "assistant", "system": "system"}
    assert [(m["role"], m["content"]) for m in ours] == [(roles[m.type], m.content) for m in theirs]


# ---- pushing -----------------------------------------------------------------------------------


@pytest.fixture
def pushed():
    seen = []
    token = message_sink.set(lambda *args: seen.append(args))
    yield seen
    message_sink.reset(token)


def test_a_pushed_message_is_shown_and_written(pushed):
    message = push_message({"role": "ai", "content": "a", "id": "1"})
    assert message == lc.AIMessage("a", id="1")
    assert pushed == [(message, "messages")]


def test_a_pushed_message_may_be_shown_only(pushed):
    push_message(lc.AIMessage("a", id="1"), state_key=None)
    assert [key for _, key in pushed] == [None]


def test_a_plain_message_is_pushed_as_a_dict(pushed, plain):
    push_message({"type": "ai", "content": "a", "id": "1"}, state_key="log")
    assert pushed == [({"role": "assistant", "content": "a", "id": "1"}, "log")]


def test_a_message_without_an_id_cannot_be_pushed(pushed, monkeypatch):
    with pytest.raises(ValueError, match="Message ID is required"):
        push_message("a")
    monkeypatch.setitem(sys.modules, "langchain_core", None)
    with pytest.raises(ValueError, match="Message ID is required"):
        push_message("a")
    assert pushed == []


def test_pushing_outside_a_node_is_refused():
    with pytest.raises(RuntimeError, match="only inside a node"):
        push_message(lc.AIMessage("a", id="1"))
