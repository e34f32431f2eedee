"""What the people of a Label Studio project answered, as a corpus to replay on."""

from __future__ import annotations

from connector.annotations import latest_labels
from connector.corpus import Corpus, hold_out
from connector.errors import UsageError
from connector.label_studio import LabelStudio
from connector.mirror import Progress, Pulled, look
from connector.state import ProjectState
from connector.sync import adopted


def read_project(
    project_id: int, gateway: LabelStudio, state: ProjectState, progress: Progress = lambda done, total: None
) -> Corpus:
    """The corpus of a project that `init` has set up, a fifth of its tasks held out as the test.

    Nothing is changed in Label Studio or the state. Raises UsageError when the project is not set up or its labels
    cannot be replayed; TryAgainLater when a server is away.
    """
    adopted(project_id, state)
    return hold_out(corpus_of(look(project_id, gateway, state, progress)))


def corpus_of(pulled: Pulled) -> Corpus:
    """The labelled tasks of a project, by id: the latest label of each annotator, those they gave first before others.

    Skips are left out; ground truth is the truth and nobody's answer. Raises UsageError for multiple choice, and where
    labels of fewer than two classes were given.
    """
    name = f"Project {pulled.project['id']}"
    if pulled.control.multiple:
        raise UsageError(f"{name} is multiple choice; only one class a text can be replayed.")
    annotations: dict[str, list[tuple[str, str]]] = {}
    truth: dict[str, str] = {}
    for task in pulled.tasks.values():
        if task.digest is None:
            continue
        given = latest_labels(row for row in task.annotations if not row.ground_truth)
        if not given:
            continue
        annotations[str(task.id)] = [(str(annotator), label) for (_, annotator), label in given.items()]
        for label in latest_labels(row for row in task.annotations if row.ground_truth).values():
            truth[str(task.id)] = label
    if len({label for rows in annotations.values() for _, label in rows}) < 2:
        raise UsageError(f"{name} has labels of fewer than two classes; there is nothing to replay yet.")
    texts = pulled.texts([int(task) for task in annotations])
    return Corpus(tasks={task: texts[int(task)] for task in annotations}, annotations=annotations, test=[], truth=truth)
