"""Names of the threads of subgraphs, and which texts can name a thread at all."""

import datetime as dt
import enum
import uuid
from decimal import Decimal
from pathlib import PurePosixPath

import pytest

from orchestrator import limits
from orchestrator.errors import InvalidThreadIdError
from orchestrator.ids import (
    CHILD,
    check_stored_thread_id,
    check_thread_id,
    child_thread,
    partition_of,
    root_thread,
)

LONGEST = "r" * limits.THREAD_ID_CHARS_MAX
LONGEST_NS = "n" * limits.NAMESPACE_CHARS_MAX


@pytest.mark.parametrize("ns", ["node", "node:1|inner", "{1}", "ü", LONGEST_NS])
@pytest.mark.parametrize("root", ["t", "t|node", LONGEST])
def test_the_thread_of_a_subgraph_tells_its_root_and_namespace(root, ns):
    child = child_thread(root, ns)
    assert root_thread(child) == (root, ns)
    assert check_stored_thread_id(child) == child


def test_a_thread_without_a_namespace_is_its_own_root():
    assert root_thread("t") == ("t", "")
    assert child_thread("t", "") == "t"
    assert check_stored_thread_id("t") == "t"


@pytest.mark.parametrize("partitions", [1, 3, 16])
def test_the_threads_of_subgraphs_lie_in_the_partition_of_their_root(partitions):
    for n in range(50):
        own = partition_of(f"thread-{n}", partitions)
        assert {
            partition_of(child_thread(f"thread-{n}", f"ns-{m}"), partitions) for m in range(9)
        } == {own}


def test_partitions_of_threads_stay_what_they_were():
    assert [partition_of(f"thread-{n}", 16) for n in range(8)] == [5, 4, 7, 6, 1, 0, 3, 2]


def test_no_caller_can_name_the_thread_of_a_subgraph():
    with pytest.raises(InvalidThreadIdError, match="unprintable"):
        check_thread_id(child_thread("t", "node"))


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (7, r"a thread id must be a string \(int: 7\)"),
        ("", "the thread id is empty"),
        (f"{CHILD}node", "the thread id is empty"),
        (f"t{CHILD}", "the namespace is empty"),
        (f"t{CHILD}a{CHILD}b", "the namespace .* unprintable"),
        (f"t{CHILD}a\n", "the namespace .* unprintable"),
        (f"t\n{CHILD}a", "the thread id .* unprintable"),
        (f"{LONGEST}r{CHILD}a", "the thread id has 256 characters"),
        (f"t{CHILD}{LONGEST_NS}n", "the namespace has 4097 characters"),
    ],
)
def test_what_can_be_no_thread_of_a_subgraph_is_refused(text, why):
    with pytest.raises(InvalidThreadIdError, match=why):
        check_stored_thread_id(text)


class Text(str):
    __slots__ = ()


class Color(enum.Enum):
    RED = 1


class Nameless:
    pass


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (0, "0"),
        (-7, "-7"),
        (2**70, str(2**70)),
        (1.5, "1.5"),
        (Decimal("1.50"), "1.50"),
        (uuid.UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (dt.date(2024, 2, 29), "2024-02-29"),
        (PurePosixPath("a/b"), "a/b"),
        (Color.RED, "Color.RED"),
        (Text("t"), "t"),
        (enum.Enum("N", {"A": "a"}, type=str).A, "a"),
    ],
)
def test_a_value_with_a_text_of_its_own_names_the_thread_of_that_text(given, text):
    found = check_thread_id(given)
    assert (found, type(found)) == (text, str)


@pytest.mark.parametrize(
    "given", [None, b"t", bytearray(b"t"), ["t"], ("t",), {"t": 1}, {"t"}, Nameless(), Nameless]
)
def test_a_value_whose_text_only_describes_it_names_no_thread(given):
    with pytest.raises(InvalidThreadIdError, match="must be a string, or a number, a UUID") as e:
        check_thread_id(given)
    assert type(given).__name__ in str(e.value)


def test_a_value_whose_text_can_name_no_thread_is_refused_for_that():
    with pytest.raises(InvalidThreadIdError, match="has 400 characters"):
        check_thread_id(10**399)
    with pytest.raises(InvalidThreadIdError, match="must have a text"):
        check_thread_id(10**9999)
