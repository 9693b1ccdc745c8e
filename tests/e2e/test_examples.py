"""Each example as a newcomer runs it, in a process of its own: what it says is what it claims."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HAVE_TESTS_ELSEWHERE = {"census"}  # Its own arguments and folders: tests/unit/test_census.py.


def said(name):
    done = subprocess.run(
        [sys.executable, "-W", "error", "-m", f"examples.{name}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_approval_pauses_at_the_review_and_goes_on_with_the_approval():
    lines = said("approval")
    assert "waiting for approval" in lines[0]
    assert lines[2:] == [
        "What comes next: review",
        "Approved. The final text: ALL ABOUT DURABLE GRAPHS.",
    ]


def test_external_tool_takes_the_first_callback_and_refuses_the_second():
    waits, rendered, twice = said("external_tool")
    assert waits.endswith("{'waits for': 'job-1'}")
    assert "'frames': 8100" in rendered
    assert "Nothing was stored" in twice


def test_crash_recovery_repeats_only_the_step_that_was_killed():
    died, kept, goes_on, ran = said("crash_recovery")
    assert "-9" in died
    assert kept.endswith("Booked: ['train', 'hotel'], next: ('museum',)")
    assert goes_on.endswith("['train', 'hotel', 'museum', 'dinner']")
    assert "train, hotel, museum, museum, dinner." in ran


def test_map_reduce_counts_each_text_and_all_of_them():
    *each, total = said("map_reduce")
    assert len(each) == 3
    assert total == "In all of them: the 4, mat 3, a 2"


def test_handover_lets_the_agent_answer_who_knows():
    assert said("handover") == [
        "customer: What is the price?",
        "sales: It costs 12 euros.",
        "customer: My kettle is broken!",
        "sales: That is for our technicians.",
        "support: Please turn it off and on again.",
        "The thread remembers 5 lines.",
    ]


def test_edit_state_sends_the_corrected_amount_and_keeps_the_wrong_one_in_the_history():
    found, sent, _, *history = said("edit_state")
    assert found == "Found: 290 euros. Next: send"
    assert sent == "Sent: Please pay 90 euros."
    assert history[1:3] == ["  update: amount 90", "  loop: amount 290"]


def test_every_example_is_run_by_a_test():
    folders = {path.parent.name for path in (ROOT / "examples").glob("*/__main__.py")}
    text = Path(__file__).read_text(encoding="utf-8")
    assert [f for f in folders - HAVE_TESTS_ELSEWHERE if f'said("{f}"' not in text] == []
