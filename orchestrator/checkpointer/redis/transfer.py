"""Large commands: what a server can take, and how long it may take to get there.

An answer is waited for a few seconds, so that a dead connection costs no more. A command of many
megabytes may need longer than that on a link that is in order, and sent again it needs as long.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from orchestrator import limits
from orchestrator.errors import ValueTooLargeError

__all__ = ["check_size", "patient"]


def check_size(command: Sequence[Any], size: int) -> None:
    """Refuse what no Redis server takes, instead of sending it again and again.

    Raises:
        ValueTooLargeError: if the command, or a value in it, is too large.
    """
    largest = max((len(each) for each in command if isinstance(each, bytes)), default=0)
    value_max, command_max = limits.DECOMPRESSED_BYTES_MAX, limits.COMMAND_BYTES_MAX
    if largest <= value_max and size <= command_max:
        return
    msg = (
        f"what is stored must be at most {value_max / 1e6:,.0f} MB a value and "
        f"{command_max / 1e6:,.0f} MB a commit (largest value {largest / 1e6:,.1f} MB, commit "
        f"{size / 1e6:,.1f} MB). Store it in a file or an object store, "
        f"and keep its address in the state"
    )
    raise ValueTooLargeError(msg)


@contextmanager
def patient(connection: Any, size: int) -> Iterator[float]:
    """Give a connection more time to send a command and read its answer; yield how long."""
    connection.connect()
    sock = connection._sock  # noqa: SLF001 - the client has no way to change its patience
    usual_s = sock.gettimeout()
    waits_s = (usual_s or 0) + size / limits.LINK_BYTES_PER_S_MIN
    sock.settimeout(waits_s if usual_s is not None else None)
    try:
        yield waits_s
    finally:
        if connection._sock is sock:  # noqa: SLF001 - else it was disconnected
            sock.settimeout(usual_s)
