"""An effect outside and the commit of its step, with the process killed between them, many times.

What happened is told by the bank's own books. `GRAPHSTALK_EFFECT_KILLS` says how many kills there
are in each case; nightly there are a thousand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from orchestrator.cli.embedded import EmbeddedServer
from tests.faults.paying import AMBIGUOUS, POINTS, Payment
from tests.fixtures.own_server import server_binary

pytestmark = [pytest.mark.server, pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[2]
KILLS = int(os.environ.get("GRAPHSTALK_EFFECT_KILLS", "10"))
SEED = 20261124
WAIT_S = 60 + KILLS * 2  # Only a driver that hangs takes so long.


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    if request.param == "sqlite":
        yield str(tmp_path / "store.db")
        return
    with EmbeddedServer(tmp_path / "server", binary=server_binary()) as server:
        yield server.url


def payments(case: str, store: str, folder: Path) -> list[Payment]:
    driver = [sys.executable, "-m", "tests.faults.paying"]
    done = subprocess.run(
        [*driver, store, str(folder), case, str(KILLS), str(SEED)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=WAIT_S,
    )
    assert done.returncode == 0, done.stderr
    made = [Payment(**json.loads(line)) for line in done.stdout.splitlines()]
    points = [point for payment in made for point in payment.points]
    assert len(points) >= KILLS
    print(case, {point: points.count(point) for point in POINTS})
    unknown = sum(payment.unknown for payment in made)
    charges = [payment.charges for payment in made]
    print(
        f"{len(made)} payments, {sum(charges)} charges, at most {max(charges)}, {unknown} unknown"
    )
    return made


def is_ambiguous(payment: Payment) -> bool:  # Nobody can know if the effect happened.
    return bool(AMBIGUOUS.intersection(payment.points))


def may_be_ambiguous(payment: Payment) -> bool:
    return is_ambiguous(payment) or "any" in payment.points


@pytest.mark.timeout(WAIT_S)
def test_a_service_that_honours_keys_charges_each_payment_once(store: str, tmp_path: Path) -> None:
    for payment in payments("keys", store, tmp_path):
        assert (payment.paid, payment.charges) == (True, 1), payment
        assert may_be_ambiguous(payment) or not payment.asked, payment


@pytest.mark.timeout(WAIT_S)
def test_without_keys_what_cannot_be_known_is_told_and_never_repeated(
    store: str, tmp_path: Path
) -> None:
    for payment in payments("no keys", store, tmp_path):
        assert payment.paid is not payment.unknown, payment
        assert payment.charges == 1 or (payment.unknown and payment.charges == 0), payment
        if is_ambiguous(payment):
            assert payment.unknown, payment
        elif not may_be_ambiguous(payment):
            assert payment.paid, payment


@pytest.mark.timeout(WAIT_S)
def test_without_keys_whoever_can_look_it_up_is_asked_and_charges_once(
    store: str, tmp_path: Path
) -> None:
    for payment in payments("asked", store, tmp_path):
        assert (payment.paid, payment.charges) == (True, 1), payment
        if is_ambiguous(payment):
            assert payment.asked, payment
        elif not may_be_ambiguous(payment):
            assert not payment.asked, payment
