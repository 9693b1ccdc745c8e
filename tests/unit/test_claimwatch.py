"""The OS thread that asks whether claims are still held: it ends when no step runs, and returns."""

from __future__ import annotations

import os
import threading

import pytest

from orchestrator import MemoryCheckpointer
from orchestrator.model.commit import Claim
from orchestrator.step.access import Access
from orchestrator.step.claimwatch import POLL_S, Held

WAIT_S = 30.0  # Many times the interval, on a machine that does other things.


def access_that_loses() -> Access:
    """Return access to a store for which every claim was taken away."""
    return Access(MemoryCheckpointer(), "me", finds_lost=lambda claims: [True] * len(claims))


def notices_loss() -> bool:
    """Hold a claim until its scope is cancelled; return whether it was."""
    noticed = threading.Event()
    with Held(access_that_loses(), Claim()) as scope, scope.reporting(noticed.set):
        return noticed.wait(WAIT_S) and scope.is_lost


def watching() -> list[threading.Thread]:
    """Return the OS threads that ask."""
    return [thread for thread in threading.enumerate() if thread.name == "graphstalk-claims"]


def test_a_claim_is_watched_again_after_the_thread_that_asks_has_ended() -> None:
    for _ in range(2):
        assert notices_loss()
        for thread in watching():
            thread.join(WAIT_S)
        assert watching() == []


def test_one_thread_asks_for_all_claims() -> None:
    access = Access(MemoryCheckpointer(), "me", finds_lost=lambda claims: [False] * len(claims))
    with Held(access, Claim()), Held(access, Claim()):
        assert len(watching()) == 1
        assert notices_loss()


def test_what_was_left_at_once_is_not_asked_for() -> None:
    asked: list[int] = []

    def lost(claims: object) -> list[bool]:
        asked.append(1)
        return []

    with Held(Access(MemoryCheckpointer(), "me", finds_lost=lost), Claim()):
        pass
    for thread in watching():
        thread.join(POLL_S + WAIT_S)
    assert asked == []


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_forked_process_watches_its_own_claims() -> None:
    with Held(access_that_loses(), Claim()):
        child = os.fork()
        if child == 0:
            os._exit(0 if notices_loss() else 1)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
