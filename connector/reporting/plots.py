"""The plots of a report as SVG for a page, in the page's colour of text and font. Equal numbers give equal plots.

They hold only our own words and numbers. Names of people, classes and strategies are beside them, in HTML.
"""

from __future__ import annotations

import io
import re
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Any
from xml.etree import ElementTree

from connector.reporting.content import Bin, CurvePoint, Day, ReplayedStrategy
from connector.reporting.numbers import count, format_day, share
from connector.simulation.metrics import RANDOM, MeanCurve
from connector.simulation.results import COLOURS, draw_mean

# Their contrast is at least three to one with white and with black paper.
_FIRST, _SECOND = COLOURS[:2]
_INK = "currentColor"
_BLACK = "#000000"
_SIZE = (6.0, 3.0)  # inches. A unit of the SVG is a point
_TICKS = 5
_BAND = 0.18
_LEAST_LABELS = 10  # on the axis, so that ticks are at whole labels


@dataclass(frozen=True)
class LineStyle:
    """How a line is drawn. The page repeats it in the legend."""

    colour: str
    dashed: bool


AGREEMENT, ACCURACY = LineStyle(_FIRST, False), LineStyle(_SECOND, True)
BARS = LineStyle(_FIRST, False)


def style_of(strategy: str) -> LineStyle:
    """The line of a replayed strategy. Random order has the colour of the page's text."""
    return LineStyle(_INK, True) if strategy == RANDOM else LineStyle(_FIRST, False)


def curve(points: Sequence[CurvePoint], label: str, part: str = "") -> str:
    """Agreement with the consensus and accuracy on ground truth by labels. "" if no point has either.

    `part`: tells the plots of several parts of a page apart, as in the next two.
    """
    series = (
        (AGREEMENT, "o", [(point.labels, point.agreement) for point in points if point.agreement is not None]),
        (ACCURACY, "s", [(point.labels, point.accuracy) for point in points if point.accuracy is not None]),
    )
    if not any(values for *_, values in series):
        return ""

    def draw(axes: Any) -> None:
        for style, marker, values in series:
            if values:
                # Hundreds of markers would cover each other.
                shape = marker if len(values) <= 40 else ""
                axes.plot(*zip(*values, strict=True), marker=shape, markersize=4, **_line_arguments(style))
        _shares_by_labels(axes)

    return _svg("curve" + part, label, draw)


def replay(replayed: Sequence[ReplayedStrategy], label: str, part: str = "") -> str:
    """Mean accuracy by labels, with one standard deviation around it. "" without a strategy."""
    if not replayed:
        return ""

    def draw(axes: Any) -> None:
        for strategy in replayed:
            curve = MeanCurve(strategy.labels, strategy.mean, strategy.deviation)
            draw_mean(axes, curve, band=_BAND, **_line_arguments(style_of(strategy.strategy)))
        _shares_by_labels(axes)

    return _svg("replay" + part, label, draw)


def histogram(bins: Sequence[Bin], label: str, part: str = "") -> str:
    """Consensus labels by quality. "" without bins."""
    if not bins:
        return ""

    def draw(axes: Any) -> None:
        from matplotlib.ticker import FuncFormatter

        middles = [(bin.low + bin.high) / 2 for bin in bins]
        widths = [0.92 * (bin.high - bin.low) for bin in bins]
        axes.bar(middles, [bin.tasks for bin in bins], widths, color=BARS.colour)
        axes.set_xlabel("quality of the consensus label")
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: share(round(value, 6))))
        _counts(axes, "tasks")

    return _svg("histogram" + part, label, draw)


def days(days: Sequence[Day], label: str) -> str:
    """Labels per day. "" without days."""
    if not days:
        return ""

    def draw(axes: Any) -> None:
        axes.bar(range(len(days)), [day.labels for day in days], 0.8, color=BARS.colour)
        step = -(-len(days) // _TICKS)
        shown = range(0, len(days), step)
        axes.set_xticks(shown, [format_day(date.fromisoformat(days[number].day)) for number in shown])
        axes.set_xlim(-0.6, max(len(days), 7) - 0.4)
        _counts(axes, "labels")

    return _svg("days", label, draw)


def _line_arguments(style: LineStyle) -> dict[str, Any]:
    colour = _BLACK if style.colour == _INK else style.colour
    return {"color": colour, "linestyle": "--" if style.dashed else "-", "linewidth": 2}


def _shares_by_labels(axes: Any) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_xlabel("labels")
    axes.xaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    low, high = axes.get_xlim()
    if high - low < _LEAST_LABELS:
        low = max(0, (low + high - _LEAST_LABELS) / 2)
        axes.set_xlim(low, low + _LEAST_LABELS)
    low, high = axes.get_ylim()
    if high - low < 0.1:  # noise of a nearly flat line must not fill the plot
        low, high = (low + high) / 2 - 0.05, (low + high) / 2 + 0.05
    axes.set_ylim(max(low, -0.02), min(high, 1.02))
    axes.yaxis.set_major_locator(MaxNLocator(_TICKS, steps=[1, 2, 5, 10]))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: share(round(value, 6))))


def _counts(axes: Any, name: str) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    axes.set_ylabel(name)
    axes.yaxis.set_major_locator(MaxNLocator(_TICKS, integer=True))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: count(round(value))))
    axes.grid(visible=False, axis="x")


def _svg(name: str, label: str, draw: Callable[[Any], None]) -> str:
    """What `draw` draws on axes, as an <svg> of role img with the description `label`. `name`: unique on the page."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    svg = io.StringIO()
    with _our_style(name):
        figure = Figure(figsize=_SIZE, layout="constrained")
        FigureCanvasSVG(figure)
        axes = figure.add_subplot()
        draw(axes)
        figure.savefig(svg, format="svg", transparent=True, metadata={"Date": None})
    return _for_a_page(ElementTree.fromstring(svg.getvalue()), label)


def _our_style(name: str) -> AbstractContextManager[None]:
    """matplotlib's defaults and our changes, independent of the user's matplotlibrc."""
    import matplotlib

    style: dict[Any, Any] = {key: value for key, value in matplotlib.rcParamsDefault.items() if key != "backend"}
    ours: dict[Any, Any] = {
        "svg.fonttype": "none",  # text stays text
        "svg.hashsalt": name,
        "font.size": 12.5,  # the page's size of text on a phone, its largest
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.spines.left": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": _BLACK,
        "grid.alpha": 0.15,
        "ytick.major.size": 0,
        "axes.labelpad": 6,
    }
    context: AbstractContextManager[None] = matplotlib.rc_context({**style, **ours})
    return context


def _for_a_page(root: ElementTree.Element, label: str) -> str:
    """The SVG without styles, which the page's policy forbids, and without ids that nothing refers to."""
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    text = ElementTree.tostring(root, encoding="unicode")
    used = set(re.findall(r'(?:="#|url\(#)([^")]+)', text))
    for element in root.iter():
        element.tag = _local(element.tag)
        _rewrite(element, used)
    root.attrib = {"class": "plot", "viewBox": root.attrib["viewBox"], "role": "img", "aria-label": label}
    return ElementTree.tostring(root, encoding="unicode")


def _rewrite(element: ElementTree.Element, used: set[str]) -> None:
    attributes = {_local(name): value for name, value in element.attrib.items()}
    for declaration in filter(None, attributes.pop("style", "").split(";")):
        name, value = (part.strip() for part in declaration.split(":", 1))
        if not name.startswith("font"):  # the page sets the font
            attributes[name] = _INK if value == _BLACK else value
    if attributes.get("id") not in used:
        attributes.pop("id", None)
    element.attrib = {
        name: re.sub(r"\d+\.\d{3,}", _short, " ".join(value.split())) for name, value in attributes.items()
    }
    element.tail = None
    if element.tag != "text":
        element.text = None


def _short(number: re.Match[str]) -> str:
    return f"{float(number[0]):.2f}"


def _local(name: str) -> str:
    return name.rpartition("}")[2]
