"""Charts as SVG text, without any library: bars with intervals, and steps over a day."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

WIDTH, ROW, LEFT, RIGHT, TOP = 860, 26, 190, 50, 72
STEPS_HEIGHT = 336
COLOURS = ("#1f5fa8", "#c2571a", "#2f7d4f", "#7a4fa3")
FONT = "font-family='sans-serif' font-size='12'"


def bars(title: str, subtitle: str, unit: str, rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Return a chart of bars with intervals.

    Args:
        title: Above the chart.
        subtitle: Below the title, smaller.
        unit: Of the values.
        rows: Name, value, low and high end of its interval.
    """
    lowest = min([0.0, *(low for _, _, low, _ in rows)])
    highest = max([1e-9, *(high for _, _, _, high in rows)])
    scale = (WIDTH - LEFT - RIGHT) / (highest - lowest)

    def place(value: float) -> float:
        return LEFT + (value - lowest) * scale

    height = TOP + ROW * len(rows) + 20
    found = [_text(12, 22, title, 15), _text(12, 42, subtitle)]
    found.append(_text(12, 60, f"{unit}; lines are 95 % intervals (block bootstrap over days)"))
    for number, (name, value, low, high) in enumerate(rows):
        y = TOP + ROW * number
        begin, end = sorted((place(0.0), place(value)))
        found.append(_text(12, y + 16, name))
        found.append(f"<rect x='{begin:.1f}' y='{y + 4}' width='{end - begin:.1f}' height='14' fill='{COLOURS[0]}'/>")
        found.append(_line(place(low), y + 11, place(high), y + 11, "#222"))
        found.append(_text(max(place(high), place(0.0)) + 4, y + 16, f"{value:.2f}"))
    found.append(_line(place(0.0), TOP, place(0.0), height - 16, "#888"))
    return _svg(height, found)


def steps(title: str, unit: str, series: Sequence[tuple[str, Sequence[float]]]) -> str:
    """Return a chart of step curves over the periods of a day, each series on a scale of its own from 0 to its highest.

    Args:
        title: Above the chart.
        unit: Of the horizontal axis.
        series: Name with unit, and one value per period.
    """
    found = [_text(12, 22, title, 15)]
    bottom, span = STEPS_HEIGHT - 40, STEPS_HEIGHT - 40 - TOP
    for number, (name, values) in enumerate(series):
        colour = COLOURS[number % len(COLOURS)]
        lowest, highest = min(0.0, *values), max(1e-9, *values)
        width = (WIDTH - 2 * RIGHT) / len(values)
        points = []
        for index, value in enumerate(values):
            y = bottom - (value - lowest) / (highest - lowest) * span
            points += [f"{RIGHT + index * width:.1f},{y:.1f}", f"{RIGHT + (index + 1) * width:.1f},{y:.1f}"]
        found.append(f"<polyline points='{' '.join(points)}' fill='none' stroke='{colour}' stroke-width='1.5'/>")
        found.append(f"<rect x='{12 + 280 * number}' y='34' width='10' height='10' fill='{colour}'/>")
        found.append(_text(26 + 280 * number, 44, f"{name}: {min(values):.2f} to {max(values):.2f}"))
    found += [_line(RIGHT, bottom, WIDTH - RIGHT, bottom, "#888"), _text(RIGHT, bottom + 20, unit)]
    return _svg(STEPS_HEIGHT, found)


def _svg(height: int, parts: Sequence[str]) -> str:
    body = "\n".join(parts)
    view = f"width='{WIDTH}' height='{height}' viewBox='0 0 {WIDTH} {height}'"
    return f"<svg xmlns='http://www.w3.org/2000/svg' {view}>\n<rect width='100%' height='100%' fill='white'/>\n{body}\n</svg>\n"


def _text(x: float, y: float, text: str, size: int = 12) -> str:
    return f"<text x='{x:.1f}' y='{y}' {FONT.replace('12', str(size))}>{escape(text)}</text>"


def _line(x1: float, y1: float, x2: float, y2: float, colour: str) -> str:
    return f"<line x1='{x1:.1f}' y1='{y1:.1f}' x2='{x2:.1f}' y2='{y2:.1f}' stroke='{colour}'/>"
