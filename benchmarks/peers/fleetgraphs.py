"""The measured graphs under the names by which workers find them: `<graph>_<dispatch>`."""

from __future__ import annotations

from typing import Any

from benchmarks.peers import graphs
from benchmarks.peers.graphstalk_local import KIT

__all__ = ["GRAPHS"]

STEPS = 50

_BUILDERS = {
    "row": lambda: graphs.row(KIT, STEPS),
    "short": lambda: graphs.row(KIT, 2),
    "fan": lambda: graphs.fan(KIT),
    "loop": lambda: graphs.loop(KIT),
    "append": lambda: graphs.append(KIT),
    "carry": lambda: graphs.carry(KIT),
}

GRAPHS: dict[str, Any] = {
    f"{name}_{dispatch}": build().compile(name=f"{name}_{dispatch}", dispatch=dispatch)
    for name, build in _BUILDERS.items()
    for dispatch in ("queue", "inline")
}
globals().update(GRAPHS)
