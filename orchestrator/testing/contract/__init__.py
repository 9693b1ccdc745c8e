"""What every checkpointer must do, as tests to inherit.

A backend's test file holds one class that inherits `CheckpointerContract`, and `PushingContract` if
its commits push messages or `UnsentContract` if not, and gives it a `store`:

    class TestMine(CheckpointerContract, UnsentContract):
        @pytest.fixture
        def store(self, settings: Settings) -> Checkpointer:
            return MyCheckpointer(settings=settings)

Rule 1: a name is a claim; what it claims holds for every backend, also for those without a server.
Rule 2: time is the store's. A test moves it with `tick`, or waits until something can be seen and
        then asks how much of the store's time that took. So a slow machine makes no test fail.
"""

import pkgutil

import pytest

# So that a failing `assert` shows its values here, as it does in test files.
pytest.register_assert_rewrite(
    *(f"{__name__}.{suite.name}" for suite in pkgutil.iter_modules(__path__))
)

from orchestrator.testing.contract.base import SETTINGS, Contract  # noqa: E402
from orchestrator.testing.contract.checkpointer import CheckpointerContract  # noqa: E402
from orchestrator.testing.contract.hints import UnsentContract  # noqa: E402
from orchestrator.testing.contract.pushing import PushingContract  # noqa: E402

__all__ = ["SETTINGS", "CheckpointerContract", "Contract", "PushingContract", "UnsentContract"]
