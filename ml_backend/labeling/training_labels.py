"""The labels that "Start Training" trains on: the connector's consensus, and for other texts the annotations.

The connector knows the annotators, so its label of a text always wins. For other texts, the annotations vote.

- Single choice: the class that most annotations name. At a tie, the first of these in the config.
- Multiple choice: each class that more than half of the annotations name.

A skip is no label, nor is an annotation that names no class of the config. For a multiple choice, nothing chosen means
"none of them", if the form can be submitted like that. Labels of classes that the config no longer has are left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ml_backend.labeling.controls import Control
from ml_backend.labeling.form.conditions import Condition, is_shown
from ml_backend.project import Project
from ml_backend.settings import Settings
from ml_backend.training.request import Label, TrainingRequest

LabelNames = str | list[str]


def training_request(
    project: Project, control: Control, settings: Settings, conditions: Sequence[Condition] = ()
) -> TrainingRequest:
    """A training on all labels of a project, with the classes of `control`. Raises InvalidRequest.

    `conditions`: when the form shows the control. Where it does not, nothing chosen is no answer.
    """
    consensus = project.dataset.consensus()
    labels = [
        (row.digest, label, row.weight)
        for row in consensus
        if (label := _restrict_to_classes(row.label, control)) is not None
    ]
    texts_with_consensus = {row.digest for row in consensus}
    annotations = project.dataset.annotations(control.data_key)
    # The connector may keep tasks with a ground truth as a test set, which must not be trained on.
    test_items = {row.item for row in annotations if row.ground_truth} if consensus else set()
    votes: dict[tuple[int, bytes], list[LabelNames]] = {}
    for row in annotations:
        label = _label_of(row.answers, control, shown=is_shown(conditions, row.answers))
        if label is not None and row.digest not in texts_with_consensus and row.item not in test_items:
            votes.setdefault((row.item, row.digest), []).append(label)
    labels += [(digest, majority(answers, control), 1.0) for (_, digest), answers in votes.items()]
    labelled = [(digest, _positions(label, control), weight) for digest, label, weight in labels]
    return TrainingRequest.of(
        settings, control.classes, labelled, multilabel=control.multiple, control=control.name, fields=control.fields
    )


def majority(labels: Sequence[LabelNames], control: Control) -> LabelNames:
    """The majority of at least one label, each a class, or for a multiple choice a list of classes."""
    if control.multiple:
        return [name for name in control.classes if 2 * sum(name in label for label in labels) > len(labels)]
    counts = Counter(label for label in labels if isinstance(label, str))
    return max(control.classes, key=lambda name: counts[name])


def _restrict_to_classes(label: LabelNames, control: Control) -> LabelNames | None:
    """A label of an older config under the classes of `control`, or None if nothing of it is left."""
    if not control.multiple:
        return label if isinstance(label, str) and label in control.classes else None
    if isinstance(label, str):
        return None
    kept = [name for name in control.classes if name in label]
    # If all chosen classes are gone, it is unknown whether the annotator would choose none of the others.
    return kept if kept or not label else None


def _label_of(answers: Mapping[str, list[str]], control: Control, *, shown: bool = True) -> LabelNames | None:
    """The label that an annotation gives, or None."""
    given = answers.get(control.name, [])
    answered = shown and "" not in given  # "": it could not be read
    classes = control.choose(list(filter(None, given)), answered=answered).classes
    return classes if classes is None or control.multiple else classes[0]


def _positions(label: LabelNames, control: Control) -> Label:
    if isinstance(label, str):
        return control.classes.index(label)
    return tuple(control.classes.index(name) for name in label)
