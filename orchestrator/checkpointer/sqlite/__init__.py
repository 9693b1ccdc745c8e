"""Threads in one SQLite file, by the standard library alone."""

from orchestrator.checkpointer.sqlite.store import SqliteCheckpointer

__all__ = ["SqliteCheckpointer"]
