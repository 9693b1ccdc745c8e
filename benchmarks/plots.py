"""Plots as SVG, written by hand: horizontal bars with the spread of the rounds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

__all__ = ["Bar", "bars"]

WIDTH, LEFT, RIGHT, TOP, ROW = 860, 330, 120, 58, 26
_STYLE = (
    "text{font:13px system-ui,sans-serif;fill:#333}.t{font-size:15px;font-weight:600}"
    ".u,.a{fill:#777;font-size:11px}.b{fill:#9aa5b1}.o{fill:#2f6fde}"
    "line{stroke:#ddd}.s{stroke:#333}rect.bg{fill:#fff}"
)


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: a median, and the least and the greatest of the rounds."""

    name: str
    value: float
    least: float
    greatest: float
    ours: bool


def bars(title: str, unit: str, rows: Sequence[Bar], *, log: bool = False) -> str:
    """Return a plot of the rows, from top to bottom as they are given; none may be empty."""
    height = TOP + ROW * len(rows) + 28
    scale = _Scale(rows, log=log)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" role="img">',
        f"<title>{escape(title)}</title><style>{_STYLE}</style>",
        f'<rect class="bg" width="{WIDTH}" height="{height}"/>',
        f'<text class="t" x="12" y="22">{escape(title)}</text>',
        f'<text class="u" x="12" y="40">{escape(unit)}{", log scale" if log else ""}</text>',
    ]
    bottom = TOP + ROW * len(rows)
    for tick in scale.ticks():
        x = scale.x(tick)
        parts.append(f'<line x1="{x:.1f}" y1="{TOP - 4}" x2="{x:.1f}" y2="{bottom}"/>')
        parts.append(
            f'<text class="a" x="{x:.1f}" y="{bottom + 16}" text-anchor="middle">'
            f"{short_number(tick)}</text>"
        )
    for number, row in enumerate(rows):
        parts += _bar(row, TOP + ROW * number, scale)
    return "\n".join([*parts, "</svg>\n"])


def _bar(row: Bar, y: int, scale: _Scale) -> list[str]:
    end, low, high = scale.x(row.value), scale.x(row.least), scale.x(row.greatest)
    middle, width = y + ROW / 2 - 1, max(end - LEFT, 1)
    kind = "o" if row.ours else "b"
    parts = [
        f'<text x="{LEFT - 8}" y="{y + 17}" text-anchor="end">{escape(row.name)}</text>',
        f'<rect class="{kind}" x="{LEFT}" y="{y + 4}" width="{width:.1f}" height="{ROW - 9}"/>',
        f'<text x="{max(end, high) + 6:.1f}" y="{y + 17}">{short_number(row.value)}</text>',
    ]
    if high - low > 1:
        parts.append(
            f'<line class="s" x1="{low:.1f}" y1="{middle}" x2="{high:.1f}" y2="{middle}"/>'
        )
    return parts


class _Scale:
    """From values to places on the axis."""

    def __init__(self, rows: Sequence[Bar], *, log: bool) -> None:
        values = [row.greatest for row in rows] + [row.least for row in rows if row.least > 0]
        most = max(values) or 1.0
        self._log = log and min(values) > 0
        if self._log:
            self._from = 10 ** math.floor(math.log10(min(values)) - 0.1)
            self._to = max(most, self._from * 10)
        else:
            self._from, self._to = 0.0, most

    def x(self, value: float) -> float:
        """Return where a value is."""
        if self._log:
            value = max(value, self._from)
            part = math.log(value / self._from) / math.log(self._to / self._from)
        else:
            part = value / self._to
        return LEFT + part * (WIDTH - LEFT - RIGHT)

    def ticks(self) -> list[float]:
        """Return some round values."""
        if self._log:
            low = round(math.log10(self._from))
            return [10.0**n for n in range(low, math.floor(math.log10(self._to)) + 1)]
        step = 10 ** math.floor(math.log10(self._to))
        while self._to / step < 3:
            step /= 2
        return [step * n for n in range(int(self._to / step) + 1)]


def short_number(value: float) -> str:
    """Return a number as people write it beside a bar."""
    for size, sign in ((1e9, " G"), (1e6, " M"), (1e4, " k")):
        if abs(value) >= size:
            return f"{value / (1e3 if sign == ' k' else size):,.3g}{sign}"
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
