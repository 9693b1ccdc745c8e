"""How much a store holds, asked of the store itself."""

from __future__ import annotations

from pathlib import Path

__all__ = ["file_size", "postgres_size"]


def file_size(path: Path) -> int:
    """Return the bytes of an SQLite file and its write-ahead log."""
    return sum(each.stat().st_size for each in path.parent.glob(f"{path.name}*"))


def postgres_size(url: str) -> int:
    """Return the bytes of a Postgres database, indexes and dead rows included."""
    import psycopg  # noqa: PLC0415 - Only where Postgres is measured.

    with psycopg.connect(url, autocommit=True) as link:
        found = link.execute("select pg_database_size(current_database())").fetchone()
    return int(found[0]) if found else 0
