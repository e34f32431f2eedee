"""The page of a report: one HTML file that asks for nothing, runs nothing, and shows texts as they are."""

from __future__ import annotations

import base64
import hashlib
import html
import importlib.util
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any

from connector import formatting
from connector.errors import UsageError
from connector.reporting import numbers, plots
from connector.reporting.content import ClassCount, Consensus, Content, Curve, Head, Pace, Pair, Text

if TYPE_CHECKING:
    from jinja2 import Environment

# Bytes of all strings of a report, as HTML. A page may have 5 MB; of the strings it writes the title twice, no other.
TEXT_BUDGET = 2_000_000
_NEEDED = ("jinja2", "matplotlib", "krippendorff")
_PAIRS_AS_A_LIST = 6
_LONG = 600  # characters, beyond which a text scrolls within its box
_LONG_LINES = 8
# A NUL and half a character are what HTML cannot hold.
_NOT_IN_HTML = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Matrix:
    """Pairwise agreement as a table: `rows` has a pair, or None, for each two of `names`."""

    names: list[str]
    rows: list[list[Pair | None]]


def require() -> None:
    """Raises UsageError where a package that the report needs is missing."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UsageError(
            "The report needs Jinja2, matplotlib and krippendorff: pip install 'label-studio-activelab[report]'."
        )


def page(content: Content) -> str:
    """The page as HTML, the same for the same content, at most 5 MB within the bounds of `report_content`."""
    content = within_budget(content, TEXT_BUDGET)
    environment = _environment()
    css = environment.get_template("report.css").render().strip()
    rendered = environment.get_template("report.html").render(
        content=content,
        css=_markup(css),
        # A policy of styles, by what they are: those that a text might bring count for nothing.
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        curve=_curve(content.curve),
        histogram=_histogram(content.consensus),
        days=_days(content.pace),
        lines=[plots.line_of(one.strategy) for one in content.curve.replayed],
        agreement=plots.AGREEMENT,
        accuracy=plots.ACCURACY,
        bars=plots.BARS,
        matrix=matrix(content.people.pairs),
        widths=_widths(content.classes),
        project_address=project_address(content.head),
    )
    # HTML reads a carriage return as a line feed, unless it is written like this.
    return _NOT_IN_HTML.sub("\ufffd", rendered.lstrip()).replace("\r", "&#13;") + "\n"


def within_budget(content: Content, budget: int) -> Content:
    """The content with its longest strings cut to one length in bytes, as HTML, such that all take at most `budget`."""
    sizes: list[int] = []

    def measured(text: str) -> str:
        sizes.append(_size(text))
        return text

    _with_strings(content, measured)
    if sum(sizes) <= budget:
        return content
    left, limit = budget, 0
    for number, size in enumerate(sorted(sizes)):
        limit = left // (len(sizes) - number)
        if size > limit:
            break
        left -= size
    cut: Content = _with_strings(content, lambda text: _beginning(text, limit))
    return cut


def matrix(pairs: Sequence[Pair]) -> Matrix | None:
    """The pairs as a matrix; None where they are few enough for a list, or two people have one name."""
    told = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    if len(pairs) <= _PAIRS_AS_A_LIST or len(told) < len(pairs):
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    return Matrix(names, [[told.get(frozenset((row, column))) for column in names] for row in names])


def project_address(head: Head) -> str | None:
    """Where a browser finds the project; None where Label Studio's address is none that a link should lead to."""
    address = head.label_studio.rstrip("/")
    if not re.fullmatch(r"https?://[!-~]{1,300}", address):
        return None
    return f"{address}/projects/{head.project}/data"


def _environment() -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("connector.reporting"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "count": numbers.count,
        "counted": formatting.count,
        "share": numbers.share,
        "decimal": numbers.decimal,
        "span": numbers.span,
        "share_interval": numbers.share_interval,
        "decimal_interval": numbers.decimal_interval,
        "when": numbers.when,
        "plot": _markup,
    }
    environment.tests["long"] = _is_long
    return environment


def _markup(trusted: str) -> Any:
    """What we wrote ourselves, which goes into the page as it is."""
    from markupsafe import Markup

    return Markup(trusted)


def _is_long(text: str) -> bool:
    return len(text) > _LONG or text.count("\n") + text.count("\r") > _LONG_LINES


def _curve(curve: Curve) -> dict[str, str]:
    """The plots of the learning curve, "" for one of which nothing is known."""
    told = [(one.labels, one.agreement, one.accuracy) for one in curve.points]
    sentences = [
        f"{name} went from {numbers.share(values[0][1])} at {formatting.count(values[0][0], 'label')}"
        f" to {numbers.share(values[-1][1])} at {numbers.count(values[-1][0])}."
        for name, values in (
            ("Agreement with the consensus", [(labels, one) for labels, one, _ in told if one is not None]),
            ("Accuracy on ground truth", [(labels, one) for labels, _, one in told if one is not None]),
        )
        if values
    ]
    compared = (
        "Mean accuracy of each replayed strategy by labels, with one standard deviation; the table has the numbers."
    )
    return {
        "rounds": plots.curve(curve.points, " ".join(["Learning curve.", *sentences])),
        "replay": plots.replay(curve.replayed, compared),
    }


def _histogram(consensus: Consensus) -> str:
    total = sum(one.tasks for one in consensus.bins)
    doubtful = sum(one.tasks for one in consensus.bins if one.high <= 0.5)
    told = formatting.count(total, "consensus label")
    words = f"Histogram of {told} by quality; {numbers.count(doubtful)} of them are below 0.5."
    return plots.histogram(consensus.bins, words)


def _days(pace: Pace) -> str:
    most = max((one.labels for one in pace.days), default=0)
    total = sum(one.labels for one in pace.days)
    words = (
        f"Labels a day: {numbers.count(total)} in {formatting.count(len(pace.days), 'day')},"
        f" at most {numbers.count(most)} in a day."
    )
    return plots.days(pace.days, words)


def _widths(classes: Sequence[ClassCount]) -> list[dict[str, str]]:
    """How long the bars of each class are: its share of each count, against the largest share of all."""
    columns = ("labels", "consensus", "predicted")
    totals = {name: sum(getattr(one, name) for one in classes) or 1 for name in columns}
    shares = [{name: getattr(one, name) / totals[name] for name in columns} for one in classes]
    most = max((value for one in shares for value in one.values()), default=0) or 1
    return [{name: f"{100 * value / most:.1f}%" for name, value in one.items()} for one in shares]


def _size(text: str) -> int:
    """Bytes of a text in the page."""
    return len(html.escape(text).replace("\r", "&#13;").encode(errors="surrogatepass"))


def _beginning(text: str, limit: int) -> str:
    if _size(text) <= limit:
        return text
    return text[: bisect_right(range(len(text) + 1), limit, key=lambda length: _size(text[:length])) - 1]


def _with_strings(value: Any, change: Callable[[str], str]) -> Any:
    """The value with all its strings changed, however deep; a text counts what that takes from it."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, Text):
        shown = None if value.shown is None else change(value.shown)
        return Text(shown, value.left_out + len(value.shown or "") - len(shown or ""))
    if isinstance(value, list):
        return [_with_strings(one, change) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        return replace(value, **{one.name: _with_strings(getattr(value, one.name), change) for one in fields(value)})
    return value
