"""The page of a report: one HTML file that loads nothing, runs no script, and shows texts unchanged."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from connector import formatting
from connector.errors import UsageError
from connector.reporting import numbers, plots
from connector.reporting.content import (
    ClassCount,
    ConsensusSection,
    Content,
    CurveSection,
    Head,
    PaceSection,
    Pair,
    WindowPlace,
    WindowSection,
)

if TYPE_CHECKING:
    from jinja2 import Environment

_NEEDED = ("jinja2", "matplotlib", "krippendorff")
_PAIRS_AS_A_LIST = 6
_FIRST = 10  # rows of a list. The others are folded
_LONG = 400  # characters, beyond which a text scrolls within its box
_LONG_LINES = 8
# HTML can hold neither a NUL nor half of a surrogate pair.
_NOT_IN_HTML = re.compile("[\0\ud800-\udfff]")


@dataclass(frozen=True)
class Matrix:
    """Pairwise agreement as a table: `rows` has a pair, or None, for each two of `names`."""

    names: list[str]
    rows: list[list[Pair | None]]


def require() -> None:
    """Raises UsageError if a package that the report needs is missing."""
    if any(importlib.util.find_spec(name) is None for name in _NEEDED):
        raise UsageError(
            "The report needs Jinja2, matplotlib and krippendorff: pip install 'label-studio-activelab[report]'."
        )


def page(content: Content) -> str:
    """The page as HTML. Equal contents give equal pages."""
    environment = _environment()
    css = environment.get_template("report.css").render().strip()
    rendered = environment.get_template("report.html").render(
        **_view(content),
        questions=[
            _view(question.content, f"-{place}") | {"name": question.name}
            for place, question in enumerate(content.questions, start=1)
        ],
        css=_markup(css),
        # The policy allows this style sheet by its hash, so that a style in a text has no effect.
        css_hash=base64.b64encode(hashlib.sha256(css.encode()).digest()).decode(),
        days=_days(content.pace),
        agreement=plots.AGREEMENT,
        accuracy=plots.ACCURACY,
        bars=plots.BARS,
        first=_FIRST,
        asked=asked(content.window),
        project_address=project_address(content.head),
    )
    # Browsers read a carriage return as a line feed, unless it is written like this.
    return _NOT_IN_HTML.sub("\ufffd", rendered.lstrip()).replace("\r", "&#13;") + "\n"


def _view(content: Content, part: str = "") -> dict[str, Any]:
    """What the sections of a question need. `part`: what is added to the names on the page."""
    return {
        "content": content,
        "curve": _curve(content.curve, part),
        "histogram": _histogram(content.consensus, part),
        "lines": [plots.style_of(strategy.strategy) for strategy in content.curve.replayed],
        "matrix": matrix(content.people.pairs),
        "widths": _widths(content.classes),
    }


def matrix(pairs: Sequence[Pair]) -> Matrix | None:
    """The pairs as a matrix. None if they are few enough for a list, or if two people have the same name."""
    by_names = {frozenset((pair.first, pair.second)): pair for pair in pairs}
    if len(pairs) <= _PAIRS_AS_A_LIST or len(by_names) < len(pairs):
        return None
    names = list(dict.fromkeys(name for pair in pairs for name in (pair.first, pair.second)))
    return Matrix(names, [[by_names.get(frozenset((row, column))) for column in names] for row in names])


def asked(window: WindowSection) -> str:
    """What the places that are left ask for: "55 for a first label, 31 for another opinion"."""
    first = window.left - window.second_opinions
    parts = [f"{numbers.count(first)} for a first label"] * bool(first)
    parts += [f"{numbers.count(window.second_opinions)} for another opinion"] * bool(window.second_opinions)
    return ", ".join(parts)


def asked_for(place: WindowPlace) -> str:
    """What the place asks for: "first label", "second opinion", "third opinion"."""
    return formatting.next_opinion(max(1, place.label_count) if place.second_opinion else 0)


def project_address(head: Head) -> str | None:
    """The project's address in a browser. None if Label Studio's address is not one that a link should lead to."""
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
        "when": numbers.when,
        "plot": _markup,
        "data_uri": _data_uri,
    }
    environment.globals["asked_for"] = asked_for
    environment.tests["long"] = _is_long
    environment.tests["drawing"] = _is_drawing
    return environment


def _markup(trusted: str) -> Any:
    """Our own markup, which goes into the page without escaping."""
    from markupsafe import Markup

    return Markup(trusted)


def _data_uri(image: bytes) -> str:
    """A PNG, a JPEG or an SVG drawing as an address that holds it."""
    kind = "png" if image.startswith(b"\x89PNG") else "svg+xml" if _is_drawing(image) else "jpeg"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _is_drawing(image: bytes) -> bool:
    """Whether a picture is a waveform, not an image of the task."""
    return image.startswith(b"<svg")


def _is_long(text: str) -> bool:
    return len(text) > _LONG or text.count("\n") + text.count("\r") > _LONG_LINES


def _curve(curve: CurveSection, part: str) -> dict[str, str]:
    """The plots of the learning curve, "" for one without data."""
    points = curve.points
    series = {
        "Agreement with the consensus": [(point.labels, point.agreement) for point in points],
        "Accuracy on ground truth": [(point.labels, point.accuracy) for point in points],
    }
    sentences = ["Learning curve."]
    for name, values in series.items():
        measured = [(labels, share) for labels, share in values if share is not None]
        if measured:
            (first_labels, first), (last_labels, last) = measured[0], measured[-1]
            sentences.append(
                f"{name} went from {numbers.share(first)} at {formatting.count(first_labels, 'label')}"
                f" to {numbers.share(last)} at {numbers.count(last_labels)}."
            )
    compared = (
        "Mean accuracy of each replayed strategy by labels, with one standard deviation. The table has the numbers."
    )
    return {
        "rounds": plots.curve(points, " ".join(sentences), part),
        "replay": plots.replay(curve.replayed, compared, part),
    }


def _histogram(consensus: ConsensusSection, part: str) -> str:
    total = formatting.count(sum(bin.tasks for bin in consensus.bins), "consensus label")
    doubtful = numbers.count(sum(bin.tasks for bin in consensus.bins if bin.high <= 0.5))
    return plots.histogram(
        consensus.bins, f"Histogram of {total} by quality. {doubtful} of them are below {numbers.share(0.5)}.", part
    )


def _days(pace: PaceSection) -> str:
    most = max((day.labels for day in pace.days), default=0)
    total = sum(day.labels for day in pace.days)
    description = (
        f"Labels per day: {numbers.count(total)} in {formatting.count(len(pace.days), 'day')},"
        f" at most {numbers.count(most)} in a day."
    )
    return plots.days(pace.days, description)


def _widths(classes: Sequence[ClassCount]) -> list[dict[str, str]]:
    """The lengths of each class's bars: its share of each count, relative to the largest share of all."""
    columns = ("labels", "consensus", "predicted")
    totals = {name: sum(getattr(counted, name) for counted in classes) or 1 for name in columns}
    shares = [{name: getattr(counted, name) / totals[name] for name in columns} for counted in classes]
    most = max((value for row in shares for value in row.values()), default=0) or 1
    return [{name: f"{100 * value / most:.1f}%" for name, value in row.items()} for row in shares]
