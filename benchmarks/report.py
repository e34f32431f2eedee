"""The report of a made-up project: seconds and bytes of its content and its page, against the rows of an export.

    python benchmarks/report.py [--tasks N] [--labels N] [--annotators N]

Everything that Label Studio and the ML backend would be asked for is there already, for both: tasks, texts, labels,
consensus labels, their quality and probabilities. Long names, many rounds and a replay fill the page to its bounds.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any, TypeVar

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector import __version__
from connector.active_learning.window import Slot
from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, Task, latest_labels
from connector.demo import texts as demo_texts
from connector.reporting import html as report_page
from connector.reporting import rows as table
from connector.reporting.content import Content, Curve, CurvePoint, Head, Replayed
from connector.reporting.formats import write
from connector.reporting.report_data import Facts
from connector.reporting.section_annotators import people
from connector.reporting.section_labels import classes, consensus, pace
from connector.reporting.section_window import window
from connector.state.pull import Pulled
from connector.sync.scoring import Review, Scored

CLASSES = ("Polite", "Impolite", "Cannot say")
CONTROL = Control("politeness", "text", "text", CLASSES, {name: name for name in CLASSES})
NOW = datetime(2026, 3, 3, 14, 5, tzinfo=timezone.utc)
WINDOW = 100
ROUNDS = 300
RUNS = 3

_T = TypeVar("_T")


@click.command()
@click.option("--tasks", default=50_000, show_default=True, help="How many tasks.")
@click.option("--labels", default=60_000, show_default=True, help="How many labels, on half of the tasks.")
@click.option("--annotators", default=50, show_default=True, help="How many people gave them.")
def main(tasks: int, labels: int, annotators: int) -> None:
    """Seconds and bytes of a report, against the rows of an export of the same project."""
    report_page.require()
    facts = made_up(tasks, labels, annotators)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        export, _ = fastest(lambda: _export(facts, path))
        exported = path.stat().st_size
    whole, content = fastest(lambda: content_of(facts))
    drawing, page = fastest(lambda: report_page.page(content))
    shown = Table(title=f"{tasks:,} tasks, {labels:,} labels of {annotators} people, the fastest of {RUNS}")
    for name in ("", "seconds", "x export", "bytes", "share of the export"):
        shown.add_column(name, justify="left" if not name else "right")
    size = len(page.encode())
    for name, seconds, written in (
        ("rows of a JSON Lines export (reference)", export, exported),
        ("content", whole, None),
        ("page", drawing, size),
        ("report", whole + drawing, size),
    ):
        told = (f"{written:,}", f"{written / exported:.4f}") if written else ("", "")
        shown.add_row(name, f"{seconds:.2f}", f"{seconds / export:.3f}", *told)
    Console(width=120).print(shown)


def fastest(work: Callable[[], _T]) -> tuple[float, _T]:
    """Seconds of the fastest of RUNS runs, and what the last gave."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        found = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), found


def made_up(n_tasks: int, n_labels: int, n_annotators: int) -> Facts:
    """Tasks with texts, half of them labelled by people who are right in 70 to 95 %, and a model that is in 80 %."""
    rng = np.random.default_rng(0)
    corpus = list(demo_texts.generate(tasks=n_tasks, test=0, seed=0).tasks.values())
    truth = rng.integers(len(CLASSES), size=n_tasks)
    rows: dict[int, list[Annotation]] = {task: [] for task in range(1, n_tasks + 1)}
    right = rng.uniform(0.7, 0.95, n_annotators)
    for number in range(n_labels):
        task, annotator = int(rng.integers(n_tasks // 2)) + 1, int(rng.integers(n_annotators))
        said = int(truth[task - 1]) if rng.random() < right[annotator] else int(rng.integers(len(CLASSES)))
        at = (NOW - timedelta(minutes=n_labels - number)).isoformat()
        seconds = float(rng.lognormal(1.5, 0.8))
        rows[task].append(
            Annotation(number + 1, task, annotator + 1, CLASSES[said], False, False, at, False, at, seconds)
        )
    tasks = {
        task: Task(task, f"digest {task}", bool(found), 1, NOW.isoformat(), tuple(found))
        for task, found in rows.items()
    }

    def texts(ids: Iterable[int]) -> dict[int, str]:
        return {task: corpus[task - 1] for task in ids}

    guess = np.where(rng.random(n_tasks) < 0.8, truth, rng.integers(len(CLASSES), size=n_tasks))
    probs = rng.dirichlet(np.ones(len(CLASSES)), n_tasks) * 0.5
    probs[np.arange(n_tasks), guess] += 0.5
    labels = latest_labels(row for found in rows.values() for row in found)
    scored = Scored(labels, model_version="model-1", agreement=0.8)
    scored.predicted = {task: CLASSES[guess[task - 1]] for task in tasks}
    scored.consensus = {task: label for (task, _), label in labels.items()}
    scored.scores = {task: float(value) for task, value in zip(tasks, rng.random(n_tasks), strict=True)}
    quality = {task: float(probs[task - 1, CLASSES.index(label)]) for task, label in scored.consensus.items()}
    reviewed = Review(scored, quality, {task: probs[task - 1] for task in tasks})
    known: dict[str, Any] = {"queue_version": "v1", "window_options": None, "min_annotations_per_task": 1}
    emails = {number: f"somebody.with.a.name.{number}@example.com" for number in range(1, n_annotators + 1)}
    return Facts(Pulled({"id": 7, "title": "Requests"}, CONTROL, tasks, {}, False, texts), reviewed, emails, known, [])


def content_of(facts: Facts) -> Content:
    """The report's content; what it would read of rounds and a replay is made up."""
    shown, left_out = classes(facts)
    slots = [
        Slot(task, relabel=task <= WINDOW // 2)
        for task in list(facts.pulled.tasks)[:: -len(facts.pulled.tasks) // WINDOW]
    ]
    labels = [100.0 * number for number in range(1, ROUNDS + 1)]
    points = [CurvePoint(n, NOW.isoformat(), 100 * n, 0.8 - 0.2 / n, 0.78 - 0.2 / n) for n in range(1, ROUNDS + 1)]
    replayed = [
        Replayed(name, 5, labels, [0.8 - 0.2 / one for one in labels], [0.01] * ROUNDS)
        for name in ("random", "activelab")
    ]
    return Content(
        _head(facts),
        Curve(points, ROUNDS, replayed, "Random order would have needed more.", "As made up."),
        window(facts, slots, {}),
        consensus(facts),
        people(facts),
        shown,
        left_out,
        pace(facts, NOW),
    )


def _head(facts: Facts) -> Head:
    annotators = {annotator for _, annotator in facts.labels}
    return Head(
        project=7,
        title="Requests",
        label_studio="http://localhost:8080",
        made_at=NOW.isoformat(),
        version=__version__,
        classes=list(CLASSES),
        multiple=False,
        tasks=len(facts.pulled.tasks),
        labelled=len(facts.reviewed.scored.consensus),
        labels=len(facts.labels),
        annotators=len(annotators),
        skipped=0,
        ground_truth=0,
        without_text=0,
        last_sync=NOW.isoformat(),
        asked_model=True,
        model_version="model-1",
        agreement=0.8,
        ground_truth_tasks=0,
        ground_truth_accuracy=None,
        advice="",
        notes=[],
    )


def _export(facts: Facts, path: Path) -> None:
    extras = table.Extras(emails=facts.emails)
    found = table.rows(facts.pulled.tasks.values(), CONTROL, facts.reviewed, extras, facts.pulled.texts)
    write("jsonl", found, CLASSES, path)


if __name__ == "__main__":
    main()
