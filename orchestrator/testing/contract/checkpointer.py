"""All that holds for every checkpointer."""

from __future__ import annotations

from orchestrator.testing.contract.accepting import AcceptingContract
from orchestrator.testing.contract.answering import AnsweringContract
from orchestrator.testing.contract.auditing import AuditingContract
from orchestrator.testing.contract.children import ChildrenContract
from orchestrator.testing.contract.claiming import ClaimingContract
from orchestrator.testing.contract.completing import CompletingContract
from orchestrator.testing.contract.deleting import DeletingContract
from orchestrator.testing.contract.fencing import FencingContract
from orchestrator.testing.contract.growing import GrowingContract
from orchestrator.testing.contract.hints import HintsContract
from orchestrator.testing.contract.holding import HoldingContract
from orchestrator.testing.contract.leading import LeadingContract
from orchestrator.testing.contract.leases import LeasesContract
from orchestrator.testing.contract.lining import LiningContract
from orchestrator.testing.contract.logging import LoggingContract
from orchestrator.testing.contract.naming import NamingContract
from orchestrator.testing.contract.noting import NotingContract
from orchestrator.testing.contract.owning import OwningContract
from orchestrator.testing.contract.reading import ReadingContract
from orchestrator.testing.contract.refusing import RefusingContract
from orchestrator.testing.contract.storing import StoringContract
from orchestrator.testing.contract.timing import TimingContract

__all__ = ["CheckpointerContract"]


class CheckpointerContract(
    AcceptingContract,
    RefusingContract,
    StoringContract,
    ClaimingContract,
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
    LiningContract,
    AuditingContract,
    GrowingContract,
    HoldingContract,
):
    """The whole contract, for a backend's test class to inherit."""
