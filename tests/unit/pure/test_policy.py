"""How often and when a failed step is tried again."""

from types import SimpleNamespace

import pytest

from orchestrator.errors import InvalidUpdateError
from orchestrator.graph.policy import RetryPolicy, default_retry_on, delay_after


def http_error(status):
    error = Exception("http")
    error.response = SimpleNamespace(status_code=status)
    return error


class SomebodyElsesError(Exception):
    pass


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError(),
        ConnectionResetError(),
        SomebodyElsesError(),
        http_error(500),
        http_error(503),
        http_error(599),
    ],
    ids=repr,
)
def test_by_default_what_may_pass_is_tried_again(error):
    assert default_retry_on(error)


@pytest.mark.parametrize(
    "error",
    [
        ValueError(),
        KeyError(),
        RuntimeError(),
        OSError(),
        ZeroDivisionError(),
        InvalidUpdateError(),
        http_error(404),
        http_error(600),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_by_default_faults_of_the_program_are_not_tried_again(error):
    assert not default_retry_on(error)


@pytest.mark.parametrize(
    ("retry_on", "speaks"),
    [
        (ConnectionError, True),
        (OSError, True),
        (KeyError, False),
        ([KeyError, ConnectionError], True),
        ((KeyError,), False),
        (lambda error: "lost" in str(error), True),
        (lambda error: 0, False),
    ],
)
def test_a_policy_speaks_for_a_class_for_several_or_for_what_its_function_says(retry_on, speaks):
    assert RetryPolicy(retry_on=retry_on).matches(ConnectionError("lost")) is speaks


def test_a_policy_whose_function_raises_speaks_for_nothing():
    def broken(error):
        raise KeyError(error)

    assert not RetryPolicy(retry_on=broken).matches(ConnectionError())


def test_delays_grow_by_the_factor_up_to_the_longest():
    policy = RetryPolicy(
        initial_interval=1, backoff_factor=3, max_interval=5, max_attempts=9, jitter=False
    )
    assert [policy.delay_s(failures, 0.9) for failures in (1, 2, 3)] == [1, 3, 5]


def test_with_jitter_chance_is_added():
    assert RetryPolicy(initial_interval=2, max_attempts=2).delay_s(1, 0.25) == 2.25


def test_after_the_last_attempt_there_is_no_delay_but_an_end():
    policy = RetryPolicy(max_attempts=3)
    assert policy.delay_s(2, 0) is not None
    assert policy.delay_s(3, 0) is None


def test_a_delay_too_large_for_a_number_is_the_longest_one():
    policy = RetryPolicy(max_attempts=10**9, jitter=False, backoff_factor=10.0)
    assert policy.delay_s(10**6, 0) == policy.max_interval


def test_of_several_policies_the_first_that_fits_speaks():
    policies = [
        RetryPolicy(retry_on=KeyError, max_attempts=9, jitter=False),
        RetryPolicy(retry_on=LookupError, initial_interval=7, max_attempts=2, jitter=False),
        RetryPolicy(retry_on=LookupError, initial_interval=8, max_attempts=9, jitter=False),
    ]
    assert delay_after(policies, IndexError(), 1, 0) == 7
    assert delay_after(policies, IndexError(), 2, 0) is None


def test_without_a_policy_that_fits_nothing_is_tried_again():
    assert delay_after([], ConnectionError(), 1, 0) is None
    assert delay_after([RetryPolicy(retry_on=KeyError)], ConnectionError(), 1, 0) is None
