"""Building blocks of tests, of this project, of users' graphs and of third-party backends.

A backend inherits the contract suites in `orchestrator.testing.contract`. They need pytest; nothing
else of the package imports this one.
"""

from orchestrator.testing.manual_clock import ManualClock

__all__ = ["ManualClock"]
