"""Long-term memory in one SQLite file."""

from orchestrator.store.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
