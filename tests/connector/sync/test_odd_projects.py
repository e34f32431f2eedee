"""Whatever tasks and annotations hold: they are read, scored and exported, and what cannot be used is named."""

from __future__ import annotations

import csv
import json
import tempfile
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from support.scoring_factory import Model
from support.simulated_label_studio import CONFIG, NOW, Studio

from connector._compat import long_csv_fields
from connector.annotations.label_config import find_control
from connector.annotations.left_out import LeftOut
from connector.annotations.statistics import label_counts, task_counts
from connector.diagnostics import content_checks
from connector.progress import Reporter
from connector.reporting.formats import write
from connector.reporting.rows import Extras, task_rows
from connector.state.project_state import State
from connector.state.pull import pull, read_project
from connector.state.snapshot import ProjectSnapshot
from connector.sync.review import review
from connector.sync.scoring import Scored, choose, score

NAME = "politeness"
CONFIGS = (CONFIG, CONFIG.replace('choice="single"', 'choice="multiple" allowNested="true"'))
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
CHOICE = st.sampled_from(["Polite", "Impolite", "Rude", ""])
CHOICES = st.lists(CHOICE | st.lists(CHOICE, max_size=2), max_size=3) | CHOICE | JSON
REGION = st.fixed_dictionaries(
    {"from_name": st.just(NAME), "value": st.fixed_dictionaries({"choices": CHOICES}) | JSON},
    optional={"type": st.sampled_from(["choices", "labels"]) | JSON},
)
RESULT = st.lists(REGION | JSON, max_size=2) | JSON
ANNOTATION = st.fixed_dictionaries(
    {
        "completed_by": st.integers(1, 3) | st.none() | st.just({"id": 2}),
        "was_cancelled": st.sampled_from([False, False, True]),
        "ground_truth": st.booleans(),
        "result": RESULT,
        "lead_time": st.none() | st.floats(0, 100),
    }
)
TEXT = st.text(min_size=1, max_size=8).map(lambda text: f"Text {text}")
TASK = st.tuples(st.fixed_dictionaries({"text": TEXT | JSON}) | JSON, st.lists(ANNOTATION, max_size=3))


def odd_studio(config: str, tasks: list[tuple[Any, list[dict[str, Any]]]]) -> Studio:
    """A project of these tasks, each its data and its annotations, after two ordinary ones."""
    studio = Studio(2)
    studio.settings["label_config"] = config
    studio.annotate(1, 1, "Polite")
    studio.annotate(2, 1, "Impolite")
    for data, given_rows in tasks:
        number = studio.add_task()
        studio.rows[number]["data"] = data
        for annotation in given_rows:
            studio.annotate(number, 1)
            studio.rows[number]["annotations"][-1].update(annotation)
    return studio


def examine(pulled: ProjectSnapshot, scored: Scored) -> list[dict[str, Any]]:
    """What status, doctor and export make of the project. Returns the exported rows."""
    tasks = pulled.tasks.values()
    label_counts([row for task in tasks for row in task.annotations], NOW)
    task_counts(pulled.tasks)
    for found in (
        content_checks.texts(pulled, "http://studio", lambda ids: ["body"]),
        content_checks.choices(pulled),
        content_checks.answers(pulled, "http://studio"),
    ):
        assert bool(found.remedy) == (found.level == "warning")
        found.cause.encode()
    model = Model()
    model.served = scored.probabilities
    reviewed = review(pulled, model, Reporter())  # type: ignore[arg-type]
    with tempfile.TemporaryDirectory() as folder:
        for file_format in ("csv", "jsonl"):
            rows = task_rows(tasks, pulled.questions, [reviewed], reviewed.scored.scores, Extras(), pulled.texts)
            write(file_format, rows, pulled.questions, Path(folder) / file_format)
        with (Path(folder) / "csv").open(newline="", encoding="utf-8") as file, long_csv_fields():
            assert len(list(csv.DictReader(file))) == len(pulled.tasks)
        with (Path(folder) / "jsonl").open(encoding="utf-8", newline="\n") as file:
            return [json.loads(line) for line in file]


def answers_something(raw: dict[str, Any]) -> bool:
    """Whether a result holds anything but empty answers to our control and answers to others."""
    regions = raw["result"] or []
    if not isinstance(regions, list) or not all(isinstance(region, dict) for region in regions):
        return True
    own = [region for region in regions if region.get("from_name") == NAME]
    return not all(isinstance(region["value"], dict) and region["value"].get("choices") == [] for region in own)


@settings(deadline=None)
@given(st.sampled_from(CONFIGS), st.lists(TASK, max_size=4))
def test_nothing_stops_a_project_and_nothing_is_ignored_in_silence(
    config: str, tasks: list[tuple[Any, list[dict[str, Any]]]]
) -> None:
    studio, database = odd_studio(config, tasks), State("sqlite://")
    state = database.project("http://studio", 7)
    state.put(adopted_at="2026-03-01", control=find_control(config).to_json(), label_config=config)
    with state.lock():
        pulled = pull(read_project(7, studio), studio, state)  # type: ignore[arg-type]
        scored = score(pulled, Model(), state, Reporter())  # type: ignore[arg-type]
        choose(pulled, scored, Model(), window=3, max_annotations=5)  # type: ignore[arg-type]
        assert state.tasks() == pulled.tasks
    assert scored.trained, "the ordinary tasks have both classes"
    exported = examine(pulled, scored)
    assert {row["task_id"] for row in exported} == studio.rows.keys()

    left_out = LeftOut.of(pulled.tasks.values())
    named = " ".join(left_out.sentences([NAME]))
    assert bool(named) == bool(left_out.without_text or left_out.unreadable or left_out.unknown or left_out.unanswered)
    for number, raw in studio.rows.items():
        task = pulled.tasks[number]
        assert (task.digest is None) == bool(task.problem) == (number in left_out.without_text)
        for row, given_row in zip(task.annotations, raw["annotations"], strict=True):
            lost = row.id in left_out.unreadable or row.id in left_out.unknown
            if not row.skipped and row.label is None and answers_something(given_row):
                assert lost, given_row
            unlabelled = not row.skipped and row.label is None
            assert unlabelled == (row.id in left_out.unanswered or (lost and row.label is None))
    database.close()
