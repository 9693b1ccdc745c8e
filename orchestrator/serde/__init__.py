"""How values become bytes and come back the same."""

from orchestrator.serde.type_registry import register_type

__all__ = ["register_type"]
