"""Payments whose processes are killed between the effect and its commit, again and again.

`python -m tests.faults.paying STORE FOLDER CASE KILLS SEED` prints one JSON line for each payment.

Every attempt at a payment is a process of its own, forked here, that runs a graph with one node in
process. It kills itself (SIGKILL) at the drawn point, or is killed at a drawn time. The attempt
after the last kill is left alone. The bank is a file that only grows: a witness that knows nothing
of checkpoints.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypedDict

from orchestrator import (
    START,
    RedisCheckpointer,
    SqliteCheckpointer,
    StateGraph,
    StepContext,
    UnknownEffectError,
)
from orchestrator.errors import EmptyInputError

POINTS = ("before the intent", "after the intent", "after the effect", "after the result", "any")
AMBIGUOUS = {"after the intent", "after the effect"}
CASES = ("keys", "no keys", "asked")  # What the bank and the node do for each other; see `pay`.
KILLS_A_PAYMENT_MAX = 2  # A step whose process dies three times is parked.
ANY_S = 0.05  # About how long an undisturbed attempt takes.
UNKNOWN = 3  # The exit code of an attempt that ends with `UnknownEffectError`.


class State(TypedDict, total=False):
    """A payment."""

    receipt: str


@dataclass(frozen=True)
class Bank:
    """Charges, as lines of a file: the order, and how the order was told apart from others."""

    file: Path

    @contextlib.contextmanager
    def _books(self) -> Iterator[tuple[int, list[list[str]]]]:
        file = os.open(self.file, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            lines = self.file.read_text("utf-8").splitlines()
            yield file, [line.split("\t") for line in lines]
        finally:
            os.close(file)  # Also when the process is killed: so the lock never outlives it.

    def charge(self, order: str, key: str = "") -> str:
        """Charge an order; if there is a key, once for that key, however often it is said."""
        with self._books() as (file, charges):
            if not key or [order, key] not in charges:
                os.write(file, f"{order}\t{key}\n".encode())
        return f"receipt of {order}"

    def orders(self) -> list[str]:
        """Return the order of each charge."""
        with self._books() as (_, charges):
            return [order for order, _ in charges]


@dataclass(frozen=True)
class Payment:
    """What became of one."""

    order: str
    points: list[str]  # Where its attempts were killed.
    paid: bool
    unknown: bool  # It ended with `UnknownEffectError`.
    charges: int
    asked: int  # How often `reconcile` was called.


def builder_of(case: str, bank: Bank, point: str, asked: Path) -> StateGraph:
    """Return a graph whose one node pays, and dies at a point."""

    def die_at(here: str) -> None:
        if here == point:
            os.kill(os.getpid(), signal.SIGKILL)

    def pay(_: State, ctx: StepContext) -> State:
        order = ctx.thread_id
        key = ctx.idempotency_key if case == "keys" else ""

        def charge() -> str:
            die_at("after the intent")
            receipt = bank.charge(order, key)
            die_at("after the effect")
            return receipt

        def reconcile() -> str:
            with asked.open("a", encoding="utf-8") as file:
                file.write(f"{order}\n")
            if case == "asked" and order in bank.orders():
                return f"receipt of {order}"
            return charge()

        die_at("before the intent")
        receipt = ctx.once("charge", charge, reconcile=None if case == "no keys" else reconcile)
        die_at("after the result")
        return {"receipt": receipt}

    builder = StateGraph(State)
    builder.add_node("pay", pay)
    builder.add_edge(START, "pay")
    return builder


def attempt(store: str, build: Callable[[str], StateGraph], order: str, point: str) -> int:
    """Run one attempt in this process; return the exit code that says what came of it."""
    kind = RedisCheckpointer(store) if "://" in store else SqliteCheckpointer(store)
    with contextlib.closing(kind) as saver:
        graph = build(point).compile(saver)
        try:
            try:
                paid = graph.invoke(None, order)
            except EmptyInputError:  # No attempt before came so far.
                paid = graph.invoke({}, order)
        except UnknownEffectError:
            return UNKNOWN
    return 0 if paid == {"receipt": f"receipt of {order}"} else 1


def in_process_of_its_own(run: Callable[[], int], point: str, after_s: float) -> int:
    """Run something in a fork; return its exit code, negative if a signal ended it."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = run()
        except BaseException as error:  # noqa: BLE001 - the process ends here, whatever it was
            sys.stderr.write(f"{error!r}\n")
        finally:
            os._exit(code)
    if point == "any":
        time.sleep(after_s)
        os.kill(pid, signal.SIGKILL)  # It is not waited for yet, so the number is still its own.
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def payments(store: str, folder: Path, case: str, kills: int, seed: int) -> Iterator[Payment]:
    """Make payments until so many attempts were killed."""
    chance = random.Random(f"{case} {seed}")
    bank, asked = Bank(folder / "bank"), folder / "asked"
    asked.touch()

    def build(point: str) -> StateGraph:
        return builder_of(case, bank, point, asked)

    def tried(order: str, point: str) -> int:
        run = partial(attempt, store, build, order, point)
        return in_process_of_its_own(run, point, chance.uniform(0, ANY_S))

    for number in itertools.count(1):
        order, points = f"order-{number}", []
        wanted = [*chance.choices(POINTS, k=chance.randint(1, KILLS_A_PAYMENT_MAX)), ""]
        while (code := tried(order, wanted[0])) == -signal.SIGKILL:
            points.append(wanted.pop(0))
        if code == UNKNOWN:  # Whoever tries again gets no other answer.
            code = tried(order, "")
        yield Payment(
            order=order,
            points=points,
            paid=code == 0,
            unknown=code == UNKNOWN,
            charges=bank.orders().count(order),
            asked=asked.read_text("utf-8").splitlines().count(order),
        )
        kills -= len(points)
        if kills <= 0:
            return


if __name__ == "__main__":
    _store, _folder, _case, _kills, _seed = sys.argv[1:]
    for _payment in payments(_store, Path(_folder), _case, int(_kills), int(_seed)):
        print(json.dumps(asdict(_payment)), flush=True)
