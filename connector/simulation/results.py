"""The files of `connector simulate`: results.json, results.csv and plot.png. Equal runs give equal files."""

from __future__ import annotations

import csv
import importlib.util
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from connector.errors import UsageError
from connector.simulation.metrics import MeanCurve, Run, mean_curve

DIGITS = 6
_COLUMNS = ("strategy", "classifier", "seed", "round", "labels", "accuracy", "consensus_accuracy", "new", "relabel")
# Okabe and Ito's colours, which the colour-blind can distinguish.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#B8A800")


def require_plot() -> None:
    """Raises UsageError if matplotlib is missing."""
    if importlib.util.find_spec("matplotlib") is None:
        raise UsageError("The plot needs matplotlib: pip install 'label-studio-activelab[simulate]', or use --no-plot.")


def rounded(value: Any) -> Any:
    """The value with all its floating-point numbers rounded to DIGITS digits, in nested values too."""
    if isinstance(value, float):
        return round(value, DIGITS)
    if isinstance(value, Mapping):
        return {key: rounded(item) for key, item in value.items()}
    return [rounded(item) for item in value] if isinstance(value, list | tuple) else value


def results_json(default: str, runs: Iterable[Run], **more: Any) -> str:
    """The content of results.json: `default`, `more` and `runs`. The order of runs does not matter."""
    ordered = sorted(runs, key=_place)
    return json.dumps(rounded({"default": default, **more, "runs": ordered}), indent=1, allow_nan=False) + "\n"


def results_csv(runs: Iterable[Run]) -> str:
    """The content of results.csv: a row per round. Further values of rounds follow the common columns by name."""
    ordered = sorted(runs, key=_place)
    further = {
        name
        for run in ordered
        for each in run["rounds"]
        for name, value in each.items()
        if name not in _COLUMNS and not isinstance(value, Mapping | list)
    }
    text = io.StringIO()
    writer = csv.DictWriter(text, [*_COLUMNS, *sorted(further)], extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    for run in ordered:
        key = {name: run[name] for name in ("strategy", "classifier", "seed")}
        for number, each in enumerate(run["rounds"]):
            writer.writerow({name: _cell(value) for name, value in {**each, **key, "round": number}.items()})
    return text.getvalue()


def plot(runs: Sequence[Run], path: Path) -> None:
    """Accuracy by labels, a line per strategy and classifier: the mean over seeds, with one standard deviation."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    curves: dict[str, list[Sequence[Mapping[str, Any]]]] = {}
    several = len({run["classifier"] for run in runs}) > 1
    for run in sorted(runs, key=_place):
        name = f"{run['strategy']}, {run['classifier']}" if several else run["strategy"]
        curves.setdefault(name, []).append(run["rounds"])
    # Our own figure and canvas need no window system and leave the caller's pyplot alone.
    figure = Figure(figsize=(8, 5), dpi=150, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    for number, (name, rounds) in enumerate(curves.items()):
        colour, dashed = COLOURS[number % len(COLOURS)], number >= len(COLOURS)
        draw_mean(axes, mean_curve(rounds), band=0.15, label=name, color=colour, linestyle="--" if dashed else "-")
    axes.set_xlabel("labels")
    axes.set_ylabel("accuracy on test texts")
    axes.grid(alpha=0.3)
    axes.legend()
    # By default the file names matplotlib's version.
    figure.savefig(path, format="png", metadata={"Software": None})


def draw_mean(axes: Any, curve: MeanCurve, *, band: float, color: str, **style: Any) -> None:
    """Draws the mean on matplotlib's axes with one standard deviation around it. `band`: the opacity of the latter."""
    low = [mean - deviation for mean, deviation in zip(curve.mean, curve.deviation, strict=True)]
    high = [mean + deviation for mean, deviation in zip(curve.mean, curve.deviation, strict=True)]
    axes.plot(curve.labels, curve.mean, color=color, **style)
    axes.fill_between(curve.labels, low, high, color=color, alpha=band, linewidth=0)


def _place(run: Run) -> tuple[str, str, int]:
    return run["strategy"], run["classifier"], run["seed"]


def _cell(value: Any) -> Any:
    """Numbers as results.json writes them, and true and false as JSON does."""
    return json.dumps(value) if isinstance(value, bool) else rounded(value)
