"""Every channel gives what LangGraph's channel of that name gives, whatever is written to it.

LangGraph's channels hold their value; ours are rules over a value that the caller holds. Both are
told the same: the writes of a superstep, that a node was triggered, that the run would end.
"""

import collections.abc
import itertools
import operator
from dataclasses import dataclass
from typing import Annotated, Any

import langgraph.channels
import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.errors import EmptyChannelError
from langgraph.errors import InvalidUpdateError as TheirInvalidUpdateError
from langgraph.types import Overwrite as TheirOverwrite

import orchestrator.channels
from orchestrator.channels import MISSING, UNCHANGED, Channel, Overwrite
from orchestrator.errors import InvalidUpdateError

EMPTY, REFUSED = "empty", "refused"

numbers = st.integers(-3, 3)
lists = st.lists(numbers, max_size=3)
names = st.sampled_from(["a", "b", "c"])


@dataclass(frozen=True)
class Replaced:
    """An `Overwrite`, in one of its forms, of either library."""

    value: Any
    form: str

    def of(self, cls: type) -> Any:
        if self.form == "object":
            return cls(self.value)
        if self.form == "key":
            return {"__overwrite__": self.value}
        return {"type": "__overwrite__", "value": self.value, "more": 1}


forms = st.sampled_from(["object", "key", "json"])
some = st.builds(Replaced, lists, forms)
or_none = st.builds(Replaced, lists | st.none(), forms)


def fold(value, writes):
    """A reducer of batches that shows how its writes were batched."""
    return [*value, tuple(itertools.chain(*writes))]


def gather(value, writes):
    return {**value, len(value): writes}


CASES = {
    "last": (lambda lib: lib.LastValue(int), numbers),
    "last-after-finish": (lambda lib: lib.LastValueAfterFinish(int), numbers),
    "any": (lambda lib: lib.AnyValue(int), numbers),
    "ephemeral": (lambda lib: lib.EphemeralValue(int), numbers),
    "ephemeral-unguarded": (lambda lib: lib.EphemeralValue(int, guard=False), numbers),
    "untracked": (lambda lib: lib.UntrackedValue(int), numbers),
    "untracked-unguarded": (lambda lib: lib.UntrackedValue(int, guard=False), numbers),
    "reduced": (lambda lib: lib.BinaryOperatorAggregate(int, operator.sub), numbers),
    "reduced-list": (lambda lib: lib.BinaryOperatorAggregate(list, operator.add), lists | some),
    "reduced-abstract": (
        lambda lib: lib.BinaryOperatorAggregate(collections.abc.Sequence, operator.add),
        lists | some,
    ),
    "reduced-without-start": (
        lambda lib: lib.BinaryOperatorAggregate(int | None, operator.sub),
        numbers,
    ),
    "topic": (lambda lib: lib.Topic(int), numbers | lists),
    "topic-accumulating": (lambda lib: lib.Topic(int, accumulate=True), numbers | lists),
    "barrier": (lambda lib: lib.NamedBarrierValue(str, {"a", "b"}), names),
    "barrier-after-finish": (
        lambda lib: lib.NamedBarrierValueAfterFinish(str, {"a", "b"}),
        names,
    ),
    "delta": (lambda lib: lib.DeltaChannel(fold), lists | or_none),
    "delta-dict": (
        lambda lib: lib.DeltaChannel(gather, dict, snapshot_frequency=2),
        numbers,
    ),
}


class Ours:
    """One of our channels with the value it is applied to."""

    def __init__(self, channel: Channel) -> None:
        self.channel, self.value = channel, MISSING

    def _put(self, value: Any) -> bool:
        if value is UNCHANGED:
            return False
        self.value = value
        return True

    def look(self) -> Any:
        seen = self.channel.get(self.value)
        return EMPTY if seen is MISSING else seen

    def update(self, writes: list[Any]) -> Any:
        own = [write.of(Overwrite) if isinstance(write, Replaced) else write for write in writes]
        try:
            return self._put(self.channel.update(self.value, own))
        except InvalidUpdateError:
            return REFUSED

    def consume(self) -> bool:
        return self._put(self.channel.consume(self.value))

    def finish(self) -> bool:
        return self._put(self.channel.finish(self.value))


class Theirs:
    """One of LangGraph's channels."""

    def __init__(self, channel: Any) -> None:
        self.channel = channel.from_checkpoint(langgraph._internal._typing.MISSING)

    def look(self) -> Any:
        try:
            return self.channel.get()
        except EmptyChannelError:
            return EMPTY

    def update(self, writes: list[Any]) -> Any:
        own = [w.of(TheirOverwrite) if isinstance(w, Replaced) else w for w in writes]
        # A refused update may have been half done there; a run ends with it in both.
        before = self.channel.copy()
        try:
            return self.channel.update(own)
        except TheirInvalidUpdateError:
            self.channel = before
            return REFUSED

    def consume(self) -> bool:
        return self.channel.consume()

    def finish(self) -> bool:
        return self.channel.finish()


def steps_of(writes):
    update = st.tuples(st.just("update"), st.lists(writes, max_size=3))
    others = st.sampled_from([("consume",), ("finish",)])
    return st.lists(update | update | others, max_size=8)


@pytest.mark.parametrize("name", CASES)
@given(data=st.data())
def test_a_channel_does_what_langgraphs_does(name, data):
    make, writes = CASES[name]
    ours, theirs = Ours(make(orchestrator.channels)), Theirs(make(langgraph.channels))
    for method, *args in data.draw(steps_of(writes)):
        got, expected = getattr(ours, method)(*args), getattr(theirs, method)(*args)
        assert got == expected, f"{method}({args}) changed {got}, there {expected}"
        assert ours.look() == theirs.look()


def test_every_channel_of_langgraph_is_here_and_is_compared():
    assert set(langgraph.channels.__all__) <= set(orchestrator.channels.__all__)
    compared = {type(make(orchestrator.channels)).__name__ for make, _ in CASES.values()}
    assert compared == set(langgraph.channels.__all__) - {"BaseChannel"}


@pytest.mark.parametrize(
    ("typ", "start"),
    [(list, []), (dict[str, int], {}), (set, set()), (collections.abc.Mapping, {})],
)
def test_a_delta_channel_in_an_annotation_starts_from_the_annotated_type(typ, start):
    import langgraph.graph.state

    theirs = langgraph.graph.state._get_channel(
        "key", Annotated[typ, langgraph.channels.DeltaChannel(gather)]
    )
    ours = orchestrator.channels.DeltaChannel(gather).named("key", typ)
    assert Ours(ours).look() == Theirs(theirs).look() == start
    assert ours.key == theirs.key == "key"
