"""The labels that "Start Training" trains on: the connector's consensus, and beside it what annotations say.

The connector knows the annotators, so its label of a text always wins. Of other texts the annotations vote: of a single
choice it is the class that most of them name, the config's first where several are level; of a multiple choice each
class that more than half of them name. A skip is no label, nor is what names no class of the config; a multiple choice
with nothing chosen says "none of them", where the form can be sent so. Labels of classes that the config no longer has
are left out.
"""

from collections import Counter
from collections.abc import Mapping, Sequence

from ml_backend.labeling.label_config import Control
from ml_backend.models.registry import TrainedModel
from ml_backend.project import Project
from ml_backend.settings import Settings
from ml_backend.storage.dataset import ConsensusLabel
from ml_backend.training.train import Label, TrainingRequest

LabelNames = str | list[str]


def training_request(project: Project, control: Control, settings: Settings) -> TrainingRequest:
    """A training on all that is known of a project, its classes those of `control`; raises InvalidRequest."""
    stated = _consensus(project)
    known = [
        (row.digest, label, row.weight) for row in stated if (label := _still_valid(row.label, control)) is not None
    ]
    stated_texts = {row.digest for row in stated}
    told = project.dataset.annotations(control.data_key)
    # The connector may keep tasks with a ground truth as a test set, which nothing is ever trained on.
    kept_back = {row.item for row in told if row.ground_truth} if stated else set()
    votes: dict[tuple[int, bytes], list[LabelNames]] = {}
    for row in told:
        label = _said(row.answers, control)
        if label is not None and row.digest not in stated_texts and row.item not in kept_back:
            votes.setdefault((row.item, row.digest), []).append(label)
    known += [(digest, majority(labels, control), 1.0) for (_, digest), labels in votes.items()]
    labelled = [(digest, _positions(label, control), weight) for digest, label, weight in known]
    return TrainingRequest.of(settings, control.classes, labelled, multilabel=control.multiple)


def majority(labels: Sequence[LabelNames], control: Control) -> LabelNames:
    """What most of at least one label say, each a class or, of a multiple choice, a list of them."""
    if control.multiple:
        return [name for name in control.classes if 2 * sum(name in label for label in labels) > len(labels)]
    counts = Counter(label for label in labels if isinstance(label, str))
    return max(control.classes, key=lambda name: counts[name])


def _consensus(project: Project) -> list[ConsensusLabel]:
    """What the connector had trained on last."""
    stated = project.dataset.consensus()
    if stated is None:
        # A dataset of before these labels were kept: the model's snapshot has them. From here on only those that are
        # stated count, so that no model trained on annotations is taken for the connector's word.
        project.dataset.set_consensus(_snapshot(project.model) if project.model is not None else [])
        stated = project.dataset.consensus() or []
    return stated


def _snapshot(model: TrainedModel) -> list[ConsensusLabel]:
    """What a model was trained on, by the names of its classes."""
    keys = [key.tobytes() for key in model.training_set.digests]
    if not model.multilabel:
        return [
            ConsensusLabel(key, model.classes[label])
            for key, label in zip(keys, model.training_set.labels, strict=True)
        ]
    sets = [[name for name, has in zip(model.classes, row, strict=True) if has] for row in model.training_set.labels]
    return [ConsensusLabel(key, names) for key, names in zip(keys, sets, strict=True)]


def _still_valid(label: LabelNames, control: Control) -> LabelNames | None:
    """What is left of a label of an older config, None where that says nothing."""
    if not control.multiple:
        return label if isinstance(label, str) and label in control.classes else None
    if isinstance(label, str):
        return None
    kept = [name for name in control.classes if name in label]
    # Whether somebody whose choices are all gone would choose none of the others, nobody can tell.
    return kept if kept or not label else None


def _said(answers: Mapping[str, list[str]], control: Control) -> LabelNames | None:
    """The label that an annotation gives, None where it gives none."""
    names = answers.get(control.from_name, [])
    if not control.multiple:
        return _still_valid(names[0], control) if len(names) == 1 else None
    return _still_valid(names, control) if names or control.none_counts else None


def _positions(label: LabelNames, control: Control) -> Label:
    if isinstance(label, str):
        return control.classes.index(label)
    return tuple(control.classes.index(name) for name in label)
