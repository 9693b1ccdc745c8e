"""A cache in one SQLite file."""

from orchestrator.cache.sqlite.cache import SqliteCache

__all__ = ["SqliteCache"]
