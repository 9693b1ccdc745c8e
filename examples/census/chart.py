"""A census as a bar chart: SVG text that needs no other file, no font and no script.

Rule 1: every text has room of its own and is cut with an ellipsis where it would leave it.
Rule 2: the same census gives the same text, byte for byte.
"""

import unicodedata
import xml.etree.ElementTree as ET
from xml.etree.ElementTree import Element, SubElement

from examples.census.report import documented, headline, printable
from examples.census.source import Function
from examples.census.summary import Census, Summary, Threshold, is_over

__all__ = ["draw"]

WIDTH, MARGIN, GAP = 800, 32, 10
INNER = WIDTH - 2 * MARGIN
HEAD, HEADING, PANEL_GAP = 122, 34, 30
PACKAGE_ROW, FUNCTION_ROW = 27, 40
FUNCTIONS_MAX = 8  # More would say nothing new in a picture; the report's table has them.

FONT = "system-ui, -apple-system, 'Segoe UI', 'DejaVu Sans', Helvetica, Arial, sans-serif"
PAPER, INK, MUTED = "#ffffff", "#1f2933", "#616e7c"
CODE, OTHER_LINES = "#2b6cb0", "#bcd6f2"
WITHIN, OVER = "#829ab1", "#dd6b20"


def draw(census: Census, threshold: Threshold) -> str:
    """Draw the largest packages and the most complex functions of a census."""
    packages, functions = census["largest"], census["total"]["most_complex"][:FUNCTIONS_MAX]
    below_packages = HEAD + HEADING + PACKAGE_ROW * len(packages) + PANEL_GAP
    height = below_packages
    if functions:
        height += HEADING + FUNCTION_ROW * len(functions) + PANEL_GAP
    svg = _canvas(census, height)
    _draw_head(svg, census)
    _draw_packages(svg, packages, HEAD)
    if functions:
        _draw_functions(svg, functions, threshold, below_packages)
    ET.indent(svg)
    return ET.tostring(svg, encoding="unicode") + "\n"


def _canvas(census: Census, height: int) -> Element:
    size = {"width": str(WIDTH), "height": str(height), "viewBox": f"0 0 {WIDTH} {height}"}
    svg = Element("svg", {"xmlns": "http://www.w3.org/2000/svg", **size, "font-family": FONT})
    svg.set("role", "img")
    SubElement(svg, "title").text = printable(f"Code census of {census['total']['name']}")
    SubElement(svg, "rect", {"width": str(WIDTH), "height": str(height), "fill": PAPER})
    return svg


def _draw_head(svg: Element, census: Census) -> None:
    # The end of a path says more than its beginning.
    folder = _fit(census["total"]["name"][::-1], INNER, 14)[::-1]
    _text(svg, (MARGIN, 46), "Code census", room=INNER, size=24, weight="bold")
    _text(svg, (MARGIN, 72), folder, room=INNER, size=14)
    _text(svg, (MARGIN, 93), headline(census), room=INNER, size=13, fill=MUTED)


def _draw_packages(svg: Element, packages: list[Summary], top: int) -> None:
    _draw_heading(svg, "Largest packages by lines", top)
    _draw_legend(svg, {"code": CODE, "comments and blank lines": OTHER_LINES}, top)
    label, value = 150, 240
    left, room = MARGIN + label + GAP, INNER - label - value - 2 * GAP
    longest = max(package["counts"]["lines"] for package in packages) or 1
    for row, package in enumerate(packages):
        counts, y = package["counts"], top + HEADING + PACKAGE_ROW * row
        width = room * counts["lines"] / longest
        name_end = (left - GAP, y + 14)
        _text(svg, name_end, package["name"], room=label, size=13, anchor="end")
        _bar(svg, (left, y), (width, 19), OTHER_LINES)
        _bar(svg, (left, y), (room * counts["code"] / longest, 19), CODE)
        numbers = f"{counts['lines']:,} lines"
        if counts["documentable"]:
            numbers += f", {documented(counts)} documented"
        _text(svg, (left + width + GAP, y + 14), numbers, room=value, size=12, fill=MUTED)


def _draw_functions(
    svg: Element, functions: list[Function], threshold: Threshold, top: int
) -> None:
    _draw_heading(svg, "Most complex functions", top)
    limits = f"up to complexity {threshold['complexity']:,} and {threshold['lines']:,} lines"
    _draw_legend(svg, {limits: WITHIN, "over": OVER}, top)
    value = 225
    room = INNER - value - GAP
    greatest = max(function["complexity"] for function in functions)
    for row, function in enumerate(functions):
        y = top + HEADING + FUNCTION_ROW * row
        place = f"{function['name']} – {function['file']}:{function['line']}"
        _text(svg, (MARGIN, y + 10), place, room=INNER, size=12)
        width = room * function["complexity"] / greatest
        _bar(svg, (MARGIN, y + 16), (width, 12), OVER if is_over(function, threshold) else WITHIN)
        numbers = f"complexity {function['complexity']:,}, {function['lines']:,} lines"
        _text(svg, (MARGIN + width + GAP, y + 26), numbers, room=value, size=12, fill=MUTED)


def _draw_heading(svg: Element, heading: str, top: int) -> None:
    _text(svg, (MARGIN, top + 16), heading, room=INNER / 2, size=15, weight="bold")


def _draw_legend(svg: Element, colours: dict[str, str], top: int) -> None:
    steps = [18 + _width(label, 12) + GAP for label in colours]
    left = WIDTH - MARGIN + GAP - sum(steps)
    for (label, colour), step in zip(colours.items(), steps, strict=True):
        _bar(svg, (left, top + 5), (12, 12), colour)
        _text(svg, (left + 18, top + 15), label, room=INNER / 2, size=12, fill=MUTED)
        left += step


def _bar(svg: Element, at: tuple[float, float], size: tuple[float, float], fill: str) -> None:
    (x, y), (width, height) = at, size
    # Even a package of no lines shows where its bar would be.
    box = {"x": x, "y": y, "width": max(width, 1), "height": height, "rx": 2}
    SubElement(svg, "rect", {key: f"{value:.1f}" for key, value in box.items()} | {"fill": fill})


def _text(
    svg: Element,
    at: tuple[float, float],
    content: str,
    *,
    room: float,
    size: int,
    fill: str = INK,
    weight: str = "normal",
    anchor: str = "start",
) -> None:
    x, y = at
    attributes = {"x": f"{x:.1f}", "y": f"{y:.1f}", "font-size": str(size), "fill": fill}
    attributes |= {"font-weight": weight, "text-anchor": anchor}
    SubElement(svg, "text", attributes).text = _fit(content, room, size)


def _fit(content: str, room: float, size: int) -> str:
    shown = printable(content)
    if _width(shown, size) <= room:
        return shown
    while _width(shown + "…", size) > room:
        shown = shown[:-1]
    return shown + "…"


def _width(content: str, size: int) -> float:
    # Without a font to ask: as wide as the widest sans-serif that a reader is likely to have.
    wide = sum(unicodedata.east_asian_width(char) in "WF" for char in content)
    return size * (0.62 * (len(content) - wide) + wide)
