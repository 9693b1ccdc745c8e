"""The pure transition and the Lua script decide the same: refusal, detail, open steps, status."""

import fakeredis
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from orchestrator.checkpointer.memory_thread import Thread, new_head
from orchestrator.checkpointer.redis import RedisCheckpointer
from orchestrator.checkpointer.transition import Refused, transition
from orchestrator.config import Settings
from orchestrator.envelope.sealed_records import sealed
from orchestrator.frozen import replace
from orchestrator.model.checkpoint import RunStatus
from orchestrator.model.commit import Answer, Commit, StepGuard, StepUpdate, Wait
from orchestrator.testing.contract import drafts

ASKED = "q"
_HOUR = Settings(partitions=1, lease_ttl_s=3600, hint_grace_s=3600)
steps = st.integers(0, 2)
maybe = st.sampled_from([False, False, False, True])


class Both:
    """One thread as the pure rule makes it, and on a server with the scripts."""

    def __init__(self) -> None:
        client = fakeredis.FakeRedis(server=fakeredis.FakeServer())
        self.redis = RedisCheckpointer(settings=_HOUR, client=client)
        self.thread: Thread | None = None

    def commit(self, commit: Commit) -> None:
        answer = self.redis.commit(commit)
        now, own = answer.now_ms, sealed(commit)
        planned = self.thread.steps if self.thread else {}
        change = transition(self.thread, own, now, None, lambda _, step_id: step_id in planned)
        if isinstance(change, Refused):
            assert (answer.refused, answer.detail) == (change.why, change.detail)
            return
        if self.thread is None:
            self.thread = Thread(new_head(now))
        self.thread.apply(own, change, now)
        assert (answer.refused, answer.open) == (None, change.open)
        assert answer.waiting == (commit.moves_line and self.thread.waits)
        loaded = self.redis.load("t")
        assert loaded.head.status is change.status
        assert loaded.head.open == change.open
        assert {i: (s.wait, s.failures, s.deaths, s.due_ms) for i, s in loaded.steps.items()} == {
            i: (s.wait, s.failures, s.deaths, s.due_ms) for i, s in self.thread.steps.items()
        }
        assert {i for i, s in loaded.steps.items() if s.completed} == {
            i for i, s in self.thread.steps.items() if s.completed
        }

    def claim(self, place: int) -> StepGuard:
        """Claim a step of the current plan if it is ready; return the guard of its last claim."""
        step = list(self.thread.steps.values())[place % len(self.thread.steps)]
        claim = self.redis.claim("t", step.ready.step_id, owner="w", token=str(place))
        if claim.refused is None:
            step.owner, step.fence, step.wait = "w", claim.fence, Wait.NOTHING
            status = self.thread.head.status
            if status is RunStatus.QUEUED:
                self.thread.head = replace(self.thread.head, status=RunStatus.RUNNING)
        return StepGuard(step.ready.step_id, step.fence)


@st.composite
def changes(draw):
    """Return what one commit expects and does, as far as that needs no thread."""
    fields = {}
    if draw(maybe):
        fields["expect_status"] = tuple(draw(st.sets(st.sampled_from(RunStatus), min_size=1)))
    if draw(maybe):
        fields["expect_run"] = draw(st.sampled_from([drafts.RUN, "another"]))
    if draw(maybe):
        fields["expect_settled"] = True
    if draw(maybe):
        fields["status"] = draw(st.sampled_from(RunStatus))
    if draw(maybe):
        fields["key"] = draw(st.sampled_from("ab")), "run-of-key"
    if draw(maybe):
        fields["dequeue"] = "waits"
    elif draw(maybe):
        fields["enqueue"] = "waits", b"begins"
    if draw(maybe):
        fields["expect_new"] = True
    return fields


# Without Phase.shrink, which takes minutes on the simulated server.
@settings(max_examples=40, deadline=None, phases=(Phase.reuse, Phase.generate))
@given(st.data())
def test_the_script_decides_as_the_transition(data):
    both = Both()
    both.commit(Commit(thread_id="t", status=RunStatus.RUNNING))
    both.commit(drafts.starting("t", "a", "b", "c"))
    head = drafts.FIRST
    for _ in range(data.draw(st.integers(1, 10))):
        fields = data.draw(changes())
        if fields.get("enqueue") and "waits" in both.thread.line:
            del fields["enqueue"]
        if data.draw(maybe):
            fields["expect_head"] = head + data.draw(st.integers(0, 1))
        planned = list(both.thread.steps.values())
        if planned and data.draw(st.booleans()):
            guard = both.claim(data.draw(steps))
            if data.draw(maybe):
                guard = StepGuard(guard.step_id, guard.fence + 1)
            fields["guard"] = guard
            if data.draw(st.booleans()):
                fields["completed"] = b"outcome"
        if planned and data.draw(st.booleans()):
            step = planned[data.draw(steps) % len(planned)].ready
            if data.draw(maybe):
                step = drafts.ready("t", head, "elsewhere")
            wait = data.draw(st.sampled_from(Wait))
            asks = {ASKED: b"?"} if wait is Wait.ANSWER else {}
            counts = data.draw(st.sampled_from([{"failed": True}, {"failed": True, "reset": True}]))
            update = StepUpdate(step=step, wait=wait, delay_ms=1000, asks=asks, **counts)
            fields["updates"] = (update,)
        if planned and data.draw(maybe):
            step_id = planned[data.draw(steps) % len(planned)].ready.step_id
            fields["answers"] = (Answer(step_id, ASKED, b"!"),)
        if planned and data.draw(maybe):
            fields["parent"] = "t", data.draw(st.sampled_from([planned[0].ready.step_id, "none"]))
        if data.draw(maybe):
            following = head + 1
            nodes = "xyz"[: data.draw(steps)]
            fields["checkpoint"] = drafts.checkpoint(following)
            fields["ready"] = drafts.plan("t", following, *nodes)
        both.commit(Commit(thread_id="t", **fields))
        head = both.thread.head.checkpoint_id
