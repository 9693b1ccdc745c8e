"""The contract of every checkpointer, as tests to inherit.

A backend's test file holds one class that inherits `CheckpointerContract`, and `PushingContract` if
its commits push messages or `UnsentContract` if not, and gives it a `store`:

    class TestMine(CheckpointerContract, UnsentContract):
        @pytest.fixture
        def store(self, settings: Settings) -> Checkpointer:
            return MyCheckpointer(settings=settings)

Rule 1: a test's name is a claim that holds for every backend, also for those without a server.
Rule 2: time is the store's. A test moves it with `tick`, or waits until something can be seen and
        then asks how much of the store's time that took. So a slow machine makes no test fail.
"""

import pkgutil

import pytest

# So that a failing `assert` shows its values here, as it does in test files.
pytest.register_assert_rewrite(
    *(f"{__name__}.{suite.name}" for suite in pkgutil.iter_modules(__path__))
)

from orchestrator.testing.contract.admission import (
    AcceptingContract,
    AnsweringContract,
    QueuedRunsContract,
)
from orchestrator.testing.contract.base import SETTINGS, Contract
from orchestrator.testing.contract.child_threads import ChildrenContract
from orchestrator.testing.contract.event_log import LoggingContract
from orchestrator.testing.contract.hints import (
    AuditingContract,
    HintsContract,
    PushingContract,
    UnsentContract,
)
from orchestrator.testing.contract.histories import (
    DeletingContract,
    NamingContract,
    ReadingContract,
)
from orchestrator.testing.contract.leases import (
    HoldingContract,
    LeadingContract,
    LeasesContract,
    OwningContract,
)
from orchestrator.testing.contract.preconditions import (
    FencingContract,
    RefusingContract,
)
from orchestrator.testing.contract.step_attempts import (
    NotingContract,
    TimingContract,
)
from orchestrator.testing.contract.step_states import (
    ClaimingContract,
    CompletingContract,
    LifecycleContract,
)
from orchestrator.testing.contract.stored_values import (
    GrowingContract,
    StoringContract,
)

__all__ = ["SETTINGS", "CheckpointerContract", "Contract", "PushingContract", "UnsentContract"]


class CheckpointerContract(
    AcceptingContract,
    RefusingContract,
    StoringContract,
    ClaimingContract,
    LifecycleContract,
    FencingContract,
    DeletingContract,
    CompletingContract,
    TimingContract,
    AnsweringContract,
    LoggingContract,
    LeasesContract,
    LeadingContract,
    HintsContract,
    ReadingContract,
    NamingContract,
    ChildrenContract,
    NotingContract,
    OwningContract,
    QueuedRunsContract,
    AuditingContract,
    GrowingContract,
    HoldingContract,
):
    """The whole contract, for a backend's test class to inherit."""
