"""The report of a generated project: seconds and bytes of its content and its page, relative to the rows of an export.

    python benchmarks/report.py [--tasks N] [--labels N] [--annotators N]

Both get the same data in memory, so that neither Label Studio nor the ML backend is asked: tasks, texts, labels,
consensus labels, their quality and probabilities. Long names, many rounds and a replay make the page as large as it
can be.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import TypeVar

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from connector import __version__
from connector.active_learning.window import Slot
from connector.annotations.controls.choices import Choices
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, latest_labels
from connector.demo import texts as demo_texts
from connector.reporting import html
from connector.reporting.content import Content, CurvePoint, CurveSection, Head, ReplayedStrategy
from connector.reporting.formats import write
from connector.reporting.report_data import ReportData
from connector.reporting.rows import Extras, task_rows
from connector.reporting.section_annotators import annotators_section
from connector.reporting.section_labels import class_counts, consensus_section, pace_section
from connector.reporting.section_window import window_section
from connector.state.rows import ProjectRecord
from connector.state.snapshot import ProjectSnapshot
from connector.sync.review import Review
from connector.sync.scoring import Scored

CLASSES = ("Polite", "Impolite", "Cannot say")
CONTROL = Choices("politeness", "text", "text", CLASSES, {name: name for name in CLASSES})
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
    """Seconds and bytes of a report, relative to the rows of an export of the same project."""
    html.require()
    data = generate(tasks, labels, annotators)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "rows.jsonl")
        export, _ = fastest(lambda: _export(data, path))
        exported = path.stat().st_size
    whole, content = fastest(lambda: content_of(data))
    drawing, page = fastest(lambda: html.page(content))
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
        sizes = (f"{written:,}", f"{written / exported:.4f}") if written else ("", "")
        shown.add_row(name, f"{seconds:.2f}", f"{seconds / export:.3f}", *sizes)
    Console(width=120).print(shown)


def fastest(work: Callable[[], _T]) -> tuple[float, _T]:
    """Seconds of the fastest of RUNS runs, and the result of the last."""
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        result = work()
        seconds.append(time.perf_counter() - start)
    return min(seconds), result


def generate(n_tasks: int, n_labels: int, n_annotators: int) -> ReportData:
    """Tasks, half of them with labels by people who are right on 70 to 95 %, and a model that is right on 80 %."""
    rng = np.random.default_rng(0)
    corpus = list(demo_texts.generate(tasks=n_tasks, test=0, seed=0).tasks.values())
    truth = rng.integers(len(CLASSES), size=n_tasks)
    rows: dict[int, list[Annotation]] = {task: [] for task in range(1, n_tasks + 1)}
    right = rng.uniform(0.7, 0.95, n_annotators)
    for number in range(n_labels):
        task, annotator = int(rng.integers(n_tasks // 2)) + 1, int(rng.integers(n_annotators))
        label = int(truth[task - 1]) if rng.random() < right[annotator] else int(rng.integers(len(CLASSES)))
        at = (NOW - timedelta(minutes=n_labels - number)).isoformat()
        seconds = float(rng.lognormal(1.5, 0.8))
        rows[task].append(
            Annotation(number + 1, task, annotator + 1, CLASSES[label], False, False, at, False, at, seconds)
        )
    tasks = {
        task: Task(task, f"digest {task}", bool(of_task), 1, NOW.isoformat(), tuple(of_task))
        for task, of_task in rows.items()
    }

    def texts(ids: Iterable[int]) -> dict[int, str]:
        return {task: corpus[task - 1] for task in ids}

    guess = np.where(rng.random(n_tasks) < 0.8, truth, rng.integers(len(CLASSES), size=n_tasks))
    probs = rng.dirichlet(np.ones(len(CLASSES)), n_tasks) * 0.5
    probs[np.arange(n_tasks), guess] += 0.5
    labels = latest_labels(row for of_task in rows.values() for row in of_task)
    scored = Scored(labels, model_version="model-1", agreement=0.8)
    scored.predicted = {task: CLASSES[guess[task - 1]] for task in tasks}
    scored.consensus = {task: label for (task, _), label in labels.items()}
    scored.scores = {task: float(value) for task, value in zip(tasks, rng.random(n_tasks), strict=True)}
    quality = {task: float(probs[task - 1, CLASSES.index(label)]) for task, label in scored.consensus.items()}
    reviewed = Review(scored, quality, {task: probs[task - 1] for task in tasks})
    record = ProjectRecord(
        key=1,
        url="http://localhost:8080",
        project_id=7,
        created_at=NOW.isoformat(),
        adopted_at=NOW.isoformat(),
        control=CONTROL.to_json(),
        label_config=None,
        min_annotations_per_task=1,
        original_settings=None,
        found=None,
        bookmark=None,
        full_read=None,
        round=ROUNDS,
        queue_version="v1",
        model_version="model-1",
        queue_size=WINDOW,
        window_options=None,
        last_sync=None,
        finish=None,
        machines=None,
        trained_machines=None,
        lock_holder=None,
        lock_until=None,
    )
    emails = {number: f"a.long.name.{number}@example.com" for number in range(1, n_annotators + 1)}
    pulled = ProjectSnapshot({"id": 7, "title": "Requests"}, Questions((CONTROL,)), tasks, {}, False, texts)
    return ReportData(pulled, reviewed, emails, record, [])


def content_of(data: ReportData) -> Content:
    """The report's content, with generated rounds and a generated replay."""
    shown, left_out = class_counts(data)
    slots = [
        Slot(task, relabel=task <= WINDOW // 2)
        for task in list(data.pulled.tasks)[:: -len(data.pulled.tasks) // WINDOW]
    ]
    labels = [100.0 * number for number in range(1, ROUNDS + 1)]
    points = [CurvePoint(n, NOW.isoformat(), 100 * n, 0.8 - 0.2 / n, 0.78 - 0.2 / n) for n in range(1, ROUNDS + 1)]
    replayed = [
        ReplayedStrategy(name, 5, labels, [0.8 - 0.2 / one for one in labels], [0.01] * ROUNDS)
        for name in ("random", "activelab")
    ]
    return Content(
        _head(data),
        CurveSection(points, ROUNDS, replayed, "Random order would have needed more labels.", "As generated."),
        window_section(data, slots, {}),
        consensus_section(data),
        annotators_section(data),
        shown,
        left_out,
        pace_section(data, NOW),
    )


def _head(data: ReportData) -> Head:
    annotators = {annotator for _, annotator in data.labels}
    return Head(
        project=7,
        title="Requests",
        label_studio="http://localhost:8080",
        made_at=NOW.isoformat(),
        version=__version__,
        classes=list(CLASSES),
        multiple=False,
        tasks=len(data.pulled.tasks),
        labelled=len(data.reviewed.scored.consensus),
        labels=len(data.labels),
        annotators=len(annotators),
        skipped=0,
        ground_truth=0,
        without_text=0,
        last_sync=NOW.isoformat(),
        asked_model=True,
        model_version="model-1",
        model_embedding="",
        round=1,
        agreement=0.8,
        ground_truth_tasks=0,
        ground_truth_accuracy=None,
        holds_out=False,
        accuracy="",
        advice="",
        notes=[],
    )


def _export(data: ReportData, path: Path) -> None:
    extras = Extras(emails=data.emails)
    rows = task_rows(
        data.pulled.tasks.values(),
        data.pulled.questions,
        [data.reviewed],
        data.reviewed.scored.scores,
        extras,
        data.pulled.texts,
    )
    write("jsonl", rows, data.pulled.questions, path)


if __name__ == "__main__":
    main()
