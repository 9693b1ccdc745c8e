"""What a run gives its nodes besides the state."""

import threading

import pytest

from orchestrator.graph.scope import (
    ExecutionInfo,
    RunControl,
    Runtime,
    Scope,
    Scratchpad,
    current_scope,
    get_config,
    get_runtime,
    get_store,
    get_stream_writer,
    open_scope,
    silent,
)


def scope(**more):
    fields = {"config": {}, "runtime": Runtime(), "host": None} | more
    return Scope(
        scratchpad=Scratchpad("seed"),
        make_config=lambda: fields["config"],
        make_runtime=lambda: fields["runtime"],
        host=fields["host"],
    )


# ---- the runtime ----------------------------------------------------------------------------


def test_an_empty_runtime_writes_to_nobody_and_is_not_told_to_stop():
    runtime = Runtime()
    assert (runtime.stream_writer("x"), runtime.heartbeat()) == (None, None)
    assert (runtime.drain_requested, runtime.drain_reason) == (False, None)


def test_a_copy_with_other_fields_leaves_the_first_as_it_is():
    runtime = Runtime(context=1, store="s")
    assert runtime.override(context=2) == Runtime(context=2, store="s")
    assert runtime == Runtime(context=1, store="s")


def test_of_two_the_fields_that_the_second_holds_count():
    first, second = Runtime(context=1, store="s", previous="p"), Runtime(context=2, previous="q")
    assert first.merge(second) == Runtime(context=2, store="s", previous="q")
    assert first.merge(Runtime()) == first
    assert Runtime().merge(first) == first


def test_where_a_step_runs_may_be_patched():
    info = ExecutionInfo("c", "ns", "task")
    runtime = Runtime(execution_info=info).patch_execution_info(node_attempt=3)
    assert runtime.execution_info == ExecutionInfo("c", "ns", "task", node_attempt=3)
    with pytest.raises(RuntimeError, match="only on the runtime of a running step"):
        Runtime().patch_execution_info(node_attempt=3)


def test_a_run_is_told_to_stop_from_any_thread_and_says_why():
    control = RunControl()
    runtime = Runtime(control=control)
    assert [control.drain_requested, runtime.drain_requested] == [False, False]
    other = threading.Thread(target=control.request_drain, args=("deploy",))
    other.start()
    other.join()
    assert (control.drain_requested, control.drain_reason) == (True, "deploy")
    assert (runtime.drain_requested, runtime.drain_reason) == (True, "deploy")


def test_a_stop_without_a_reason_is_a_shutdown_also_if_the_reason_is_empty():
    control = RunControl()
    control.request_drain()
    assert control.drain_reason == "shutdown"
    control.request_drain("")
    assert control.drain_requested


# ---- the scope ------------------------------------------------------------------------------


def test_what_is_around_a_step_is_found_anywhere_below_it():
    runtime = Runtime(store="the store", stream_writer=silent)
    close = open_scope(scope(config={"tags": []}, runtime=runtime))
    try:
        assert (get_config(), get_store()) == ({"tags": []}, "the store")
        assert get_runtime() is get_runtime(dict) is runtime
        assert get_stream_writer() is silent
    finally:
        close()


def test_a_scope_inside_another_gives_way_to_it_again():
    outer, inner = scope(config={"n": 1}), scope(config={"n": 2})
    close_outer = open_scope(outer)
    close_inner = open_scope(inner)
    assert (get_config(), current_scope.get().scratchpad) == ({"n": 2}, inner.scratchpad)
    close_inner()
    assert (get_config(), current_scope.get().scratchpad) == ({"n": 1}, outer.scratchpad)
    close_outer()
    assert current_scope.get() is None


@pytest.mark.parametrize("get", [get_config, get_runtime, get_store, get_stream_writer])
def test_outside_of_a_step_there_is_nothing_and_the_message_says_why(get):
    with pytest.raises(
        RuntimeError, match=rf"{get.__name__}\(\) works only inside a node"
    ) as caught:
        get()
    assert "contextvars.copy_context().run(" in str(caught.value)
