"""How an SVG picture looks: colours for light and dark, widths of letters, signs of states.

Widths are guessed: a picture is drawn without asking for a font. The guess is rather too wide.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from typing import Final

from orchestrator.graph.drawing.nodes_and_edges import NodeState

__all__ = ["ICONS", "STYLE", "text_width"]

_NARROW: Final = frozenset("fijlrtI.,:;'|!()[]{}/\\ -`")
_WIDE: Final = frozenset("mwMW@%&")


def text_width(text: str, font_px: int) -> int:
    """Return about how wide a text is, in pixels."""
    return round(sum(_em(char) for char in text) * font_px + 0.5)


def _em(char: str) -> float:
    if char in _NARROW:
        return 0.36
    if char in _WIDE:
        return 0.95
    if unicodedata.combining(char):
        return 0.0
    if unicodedata.east_asian_width(char) in "WF":
        return 1.05
    return 0.72 if char.isupper() else 0.61


# Drawn around the middle of a badge, in pixels.
ICONS: Mapping[NodeState, str] = {
    "done": '<path class="gs-line" d="M-4 0.5L-1 3.5L4-3"/>',
    "running": '<path class="gs-full" d="M-2.5-4L4 0L-2.5 4Z"/>',
    "paused": '<path class="gs-line" d="M-2-3.5V3.5M2-3.5V3.5"/>',
    "failed": '<path class="gs-line" d="M-3-3L3 3M3-3L-3 3"/>',
    "next": '<circle class="gs-line" r="3"/>',
}

_LIGHT = {
    "ground": "#ffffff",
    "text": "#1c1f26",
    "soft": "#4d5461",
    "line": "#6b7280",
    "box": "#f3f4f9",
    "border": "#8f97ab",
    "pill": "#e3e6f1",
    "frame": "#fafbfd",
}
_LIGHT_STATES: Mapping[NodeState, tuple[str, str]] = {  # The box and its border.
    "done": ("#dcf5e4", "#1a7f42"),
    "running": ("#dceaff", "#1d5fc4"),
    "paused": ("#fff1cc", "#8f6100"),
    "failed": ("#fde0de", "#b3261e"),
    "next": ("#ffffff", "#5b6270"),
}
_DARK = {
    "ground": "#15171c",
    "text": "#eceef3",
    "soft": "#b6bcc9",
    "line": "#8b93a5",
    "box": "#242832",
    "border": "#69728a",
    "pill": "#343a49",
    "frame": "#1a1d24",
}
_DARK_STATES: Mapping[NodeState, tuple[str, str]] = {
    "done": ("#14351f", "#57c983"),
    "running": ("#13294a", "#6ea8ff"),
    "paused": ("#3b2d08", "#e6b33d"),
    "failed": ("#431714", "#ff8178"),
    "next": ("#15171c", "#9aa2b3"),
}


def _colors(scheme: Mapping[str, str], states: Mapping[NodeState, tuple[str, str]]) -> str:
    rules = [
        ".gs-ground{{fill:{ground}}}",
        ".gs-picture text{{fill:{text}}}",
        ".gs-picture .gs-soft{{fill:{soft}}}",
        ".gs-edge,.gs-ring{{stroke:{line}}}",
        ".gs-tip,.gs-dot{{fill:{line}}}",
        ".gs-box{{fill:{box};stroke:{border}}}",
        ".gs-pill{{fill:{pill};stroke:{border}}}",
        ".gs-frame{{fill:{frame};stroke:{border}}}",
    ]
    text = "".join(rule.format(**scheme) for rule in rules)
    for state, (fill, border) in states.items():
        text += f".gs-{state} .gs-box,.gs-{state} .gs-pill{{fill:{fill};stroke:{border}}}"
        text += f".gs-{state} .gs-frame{{stroke:{border}}}"
        text += f".gs-{state} .gs-badge,.gs-{state} .gs-full{{fill:{border}}}"
        text += f".gs-{state} .gs-line{{stroke:{scheme['ground']}}}"
        text += f".gs-{state} .gs-full{{fill:{scheme['ground']}}}"
    return text


STYLE: Final = (
    ".gs-picture text{font:14px system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;"
    "text-anchor:middle}"
    ".gs-picture .gs-soft{font-size:12px}"
    ".gs-picture .gs-left{text-anchor:start}"
    ".gs-edge{fill:none;stroke-width:1.5}"
    ".gs-perhaps{stroke-dasharray:5 4}"
    ".gs-box,.gs-pill,.gs-frame{stroke-width:1.25}"
    ".gs-ring{fill:none;stroke-width:1.5}"
    ".gs-running .gs-box,.gs-failed .gs-box{stroke-width:2.5}"
    ".gs-next .gs-box,.gs-next .gs-frame{stroke-dasharray:4 3}"
    ".gs-line{fill:none;stroke-width:2;stroke-linecap:round;stroke-linejoin:round}"
    + _colors(_LIGHT, _LIGHT_STATES)
    + "@media(prefers-color-scheme:dark){"
    + _colors(_DARK, _DARK_STATES)
    + "}"
)
