"""Making the same calls in both libraries; finding the first difference without a reason."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

from tests.property import twins
from tests.property.call_deviations import CALLS, Seen, unexplained
from tests.property.calling import Scene
from tests.property.sessions import Session
from tests.property.shrinking import smaller_graphs
from tests.property.whole import Pairs, differences

TRIES_MAX = 400


def differing(scene: Scene, met: Counter[str]) -> Seen | None:
    """Return the first call with a difference that nothing explains; count what was met."""
    pairs, (ours, theirs) = Pairs(), (_session(scene, lib) for lib in (twins.Ours, twins.Theirs))
    for index, call in enumerate(scene.calls):
        mine, their = ours.act(call), theirs.act(call)
        met["calls"] += 1
        found = [each for each in differences(mine, their, pairs) if not each[0].startswith("._")]
        seen = Seen(scene, scene.calls[: index + 1], mine, their, found)
        left, ends = unexplained(seen, CALLS, met)
        if left:
            return replace(seen, differences=left)
        if ends:
            met["cut short"] += 1
            return None
    return None


def _session(scene: Scene, library: Any) -> Session:
    saver = library.checkpointer() if scene.keeps else None
    graph = twins.build(scene.plan, twins.World(library), saver)
    if scene.bound:
        graph = graph.with_config(scene.bound)
    synced = library is twins.Theirs and scene.keeps
    options = {"durability": "sync"} if synced else {}
    return Session(graph, library, scene.thread_id, scene.keeps, options)


def shrunk(scene: Scene) -> Scene:
    """Return a smaller scene with a difference at the same place."""
    wanted, tries, found = _places(scene), 0, True
    while found and tries < TRIES_MAX:
        found = False
        for smaller in _smaller(scene):
            tries += 1
            if wanted & _places(smaller):
                scene, found = smaller, True
                break
    return scene


def _places(scene: Scene) -> set[str]:
    try:
        found = differing(scene, Counter())
    except Exception:  # noqa: BLE001 - a graph made smaller may be none
        return set()
    return {path for path, _, _ in found.differences} if found else set()


def _smaller(scene: Scene) -> Iterator[Scene]:
    for index in range(len(scene.calls) - 1):
        yield replace(scene, calls=(*scene.calls[:index], *scene.calls[index + 1 :]))
    for plan in smaller_graphs(scene.plan):
        yield replace(scene, plan=plan)
    for index, call in enumerate(scene.calls):
        for part in ("options", "config"):
            for name in getattr(call, part):
                less = {k: v for k, v in getattr(call, part).items() if k != name}
                calls = [*scene.calls]
                calls[index] = replace(call, **{part: less})
                yield replace(scene, calls=tuple(calls))
        if call.heard:
            calls = [*scene.calls]
            calls[index] = replace(call, heard=False)
            yield replace(scene, calls=tuple(calls))
    for name, plain in (("bound", None), ("thread_id", "t")):
        if getattr(scene, name) != plain:
            yield replace(scene, **{name: plain})


def described(seen: Seen) -> str:
    """Return a difference in words."""
    lines = ["The two differ, and nothing says why.", f"{seen.scene}"]
    shown = sorted(seen.differences, key=lambda d: d[0].startswith((".past", ".now")))
    for path, ours, theirs in shown[:8]:
        lines += [f"- {path}", f"    ours:   {ours}", f"    theirs: {theirs}"]
    errors = [f"    {side.get('_error')!r}" for side in (seen.ours, seen.theirs) if side["_error"]]
    return "\n".join([*lines, *errors])
