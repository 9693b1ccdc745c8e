"""The default key of a cached result: equal for equal input, in every process, else an error."""

import collections
import datetime as dt
import decimal
import enum
import itertools
import pathlib
import subprocess
import sys
import uuid
from dataclasses import FrozenInstanceError, dataclass
from typing import Any

import pydantic
import pytest

from orchestrator.cache import CachePolicy, default_cache_key


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


class Rights(enum.Flag):
    READ = enum.auto()
    WRITE = enum.auto()


@dataclass
class Point:
    x: Any
    y: Any = 0


@dataclass
class Spot:
    x: Any
    y: Any = 0


class Model(pydantic.BaseModel, extra="allow"):
    x: Any


class Array:
    """As numpy's."""

    def __init__(self, data, shape, dtype="u1"):
        self.data, self.shape, self.dtype = data, shape, dtype

    def tobytes(self):
        return self.data


DIFFERENT = [
    None,
    *(True, 1, 1.0, "1", b"1", 1j, -0.0, 0.0, float("nan"), decimal.Decimal(1)),
    *([], (), {}, set(), frozenset(), collections.deque(), "", b""),
    *([1, 2], [2, 1], [[1], 2], [1, [2]], [[1, 2]], (1, 2), {1, 2}, ["12"], ["1", "2"]),
    *({"a": 1}, {"a": 2}, {"b": 1}, {"a": {"b": 1}}, {1: "a"}, {"a": 1, "b": 2}),
    *(Colour.RED, Colour.BLUE, Rights.READ, Rights.READ | Rights.WRITE),
    *(Point(1), Point(2), Point(1, 2), Spot(1), {"x": 1, "y": 0}),
    *(Model(x=1), Model(x=2), Model(x=1, z=1)),
    *(
        dt.date(2026, 1, 1),
        dt.datetime.fromisoformat("2026-01-01"),
        dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    ),
    *(dt.timedelta(1), uuid.UUID(int=1), pathlib.Path("1"), pathlib.PurePosixPath("1")),
    *(Array(b"12", (2,)), Array(b"12", (1, 2)), Array(b"12", (2,), "i1"), Array(b"21", (2,))),
    "\ud800",
]


def test_what_differs_has_another_key():
    keys = [default_cache_key(value) for value in DIFFERENT]
    for (one, key), (other, other_key) in itertools.combinations(
        zip(DIFFERENT, keys, strict=True), 2
    ):
        if type(one) is type(other) is not pathlib.PurePosixPath:
            assert key != other_key, (one, other)
    assert len(set(keys)) >= len(DIFFERENT) - 1  # A path may be of the same class twice.


def test_equal_input_has_the_same_key_whatever_the_order_in_which_it_was_made():
    one = {"a": [1, {"x", "y", 3}], 2: Point({"k": 1, "l": 2})}
    other = {2: Point({"l": 2, "k": 1}), "a": [1, {3, "y", "x"}]}
    assert default_cache_key(one) == default_cache_key(other)


def test_texts_that_look_like_the_borders_between_texts_are_told_apart():
    one, other = ["abuiltins.strx", "y"], ["a", "xbuiltins.stry"]
    assert default_cache_key(one) != default_cache_key(other)


def test_keyword_arguments_count_by_name():
    assert default_cache_key(1, a=2, b=3) == default_cache_key(1, b=3, a=2)
    keys = {default_cache_key(1, a=2), default_cache_key(1, b=2), default_cache_key(1, 2)}
    assert len(keys) == 3


def test_another_process_with_another_hash_seed_finds_the_same_key():
    value = "{'a': {'x', 'y', 'z'}, 'b': [1.5, None, b'c']}"
    code = f"from orchestrator.cache import default_cache_key as k; print(k({value}))"
    found = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(found) == 1


def test_what_has_no_key_is_an_error_with_the_path_and_the_remedy():
    with pytest.raises(
        TypeError, match=r"input\[0\]\[0\]\['a'\]\.x\[1\] is a builtins\.object.*key_func"
    ):
        default_cache_key({"a": Point([1, object()])})
    with pytest.raises(TypeError, match=r"is a builtins\.function"):
        default_cache_key(lambda: None)
    with pytest.raises(TypeError, match=r"is a builtins\.type"):
        default_cache_key(Point)


def test_what_holds_itself_is_an_error_not_an_endless_search():
    endless = []
    endless.extend([endless, endless])
    with pytest.raises(TypeError, match="nested deeper than 400"):
        default_cache_key(endless)


def test_deep_nesting_needs_no_stack():
    deep = []
    for _ in range(300):
        deep = [deep]
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(200)
    try:
        assert default_cache_key(deep)
    finally:
        sys.setrecursionlimit(limit)


def test_a_policy_is_frozen_and_digests_the_input_for_ever():
    policy = CachePolicy()
    assert (policy.key_func, policy.ttl) == (default_cache_key, None)
    with pytest.raises(FrozenInstanceError):
        policy.ttl = 1
    assert CachePolicy(key_func=str, ttl=3).ttl == 3


@pytest.mark.parametrize("ttl", [0, -1])
def test_a_policy_under_which_nothing_lives_is_refused(ttl):
    with pytest.raises(ValueError, match=f"ttl={ttl}"):
        CachePolicy(ttl=ttl)
