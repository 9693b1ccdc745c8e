"""How values become bytes and come back the same."""

from orchestrator.serde.registry import register_type

__all__ = ["register_type"]
