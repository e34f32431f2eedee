"""What to train on, and which of it is usable."""

from collections.abc import Collection, Hashable, Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import numpy.typing as npt

from ml_backend.errors import InvalidRequest
from ml_backend.settings import ClassifierName, FineTune, Settings

Label = int | tuple[int, ...]


@dataclass(frozen=True)
class TrainingRequest:
    """What to train on: one digest and one label per item. It is plain data, so that any process can take it.

    A label is a position in `classes`, or with `multilabel` the positions of all classes that apply. `weights`, above
    0, state how much each label counts. None: 1 each. The last `pseudo` items have pseudo-labels, which nobody gave
    (Lee, "Pseudo-label", 2013). `control` and `fields` are those of TrainRequest.
    """

    classes: tuple[str, ...]
    digests: tuple[bytes, ...]
    labels: tuple[Label, ...]
    folds: int
    seed: int
    c: float
    multilabel: bool = False
    weights: tuple[float, ...] | None = None
    classifier: ClassifierName = "auto"
    finetune: FineTune = "background"
    control: str = ""
    fields: tuple[str, ...] = ()
    pseudo: int = 0

    @classmethod
    def of(
        cls,
        settings: Settings,
        classes: Sequence[str],
        labelled: Sequence[tuple[bytes, Label, float]],
        *,
        pseudo: Sequence[tuple[bytes, Label, float]] = (),
        multilabel: bool,
        folds: int | None = None,
        seed: int = 0,
        classifier: ClassifierName | None = None,
        control: str = "",
        fields: Sequence[str] = (),
    ) -> "TrainingRequest":
        """Make a request. `settings` supply the folds and the classifier if they are None.

        Args:
            settings: The server's settings.
            classes: The names of the classes.
            labelled: A digest, a label and a weight per item.
            pseudo: The same for items whose label nobody gave.
            multilabel: Whether several classes may apply to an item.
            folds: The number of folds.
            seed: Makes the training repeatable.
            classifier: The name of the classifier.
            control: The control's name in the labelling config.
            fields: The keys of a task's data that its text is made of. (): what the form shows.

        Raises:
            InvalidRequest: All labels are the same, or all texts.
        """
        _require_two({label for _, label, _ in labelled}, {key for key, _, _ in labelled})
        items = [*labelled, *pseudo]
        return cls(
            classes=tuple(classes),
            digests=tuple(key for key, _, _ in items),
            labels=tuple(label for _, label, _ in items),
            weights=tuple(weight for _, _, weight in items),
            pseudo=len(pseudo),
            folds=folds or settings.folds,
            seed=seed,
            c=settings.c,
            multilabel=multilabel,
            classifier=classifier or settings.classifier,
            finetune=settings.finetune,
            control=control,
            fields=tuple(fields),
        )

    @property
    def given(self) -> tuple[bytes, ...]:
        """The digests of the items whose label somebody gave."""
        return self.digests[: len(self.digests) - self.pseudo]

    @property
    def fold_count(self) -> int:
        """The number of folds, which is at most that of the different texts with a given label."""
        return min(self.folds, len(set(self.given)))


@dataclass(frozen=True)
class LabelledItems:
    """The items of a training whose text is stored: digests (n, 16), labels (n,) or (n, k), weights (n,).

    Items of the same text have the same value in `groups` (n,). `strata` (n,) are the groups of labels that folds share
    evenly. `pseudo` (n,): whether nobody gave the label.
    """

    digests: npt.NDArray[np.uint8]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]
    groups: npt.NDArray[np.int64]
    strata: npt.NDArray[np.int64]
    pseudo: npt.NDArray[np.bool_]
    classes: int

    @classmethod
    def of(cls, request: TrainingRequest, positions: Sequence[int]) -> "LabelledItems":
        """The items at these positions of the request. Raises InvalidRequest if all labels or texts are the same."""
        size = len(request.digests)
        labels = _as_array(request)[positions]
        pseudo = np.array(positions, dtype=np.int64) >= len(request.given)
        given = [position for position in positions if position < len(request.given)]
        _require_two({label.tobytes() for label in labels[~pseudo]}, {request.digests[position] for position in given})
        digests = np.frombuffer(b"".join(request.digests), dtype=np.uint8).reshape(size, -1)[positions]
        return cls(
            digests=digests,
            labels=labels,
            weights=np.array(request.weights if request.weights is not None else [1.0] * size)[positions],
            groups=np.unique(digests, axis=0, return_inverse=True)[1].reshape(-1),
            strata=strata(labels),
            pseudo=pseudo,
            classes=len(request.classes),
        )

    @property
    def given(self) -> "LabelledItems":
        """Those whose label somebody gave."""
        if not self.pseudo.any():
            return self
        kept = {
            field.name: getattr(self, field.name)[~self.pseudo] for field in fields(self) if field.name != "classes"
        }
        return replace(self, **kept)

    @property
    def keys(self) -> list[bytes]:
        """The digests, one object per item."""
        return [bytes(key) for key in self.digests]


def _require_two(labels: Collection[Hashable], digests: Collection[bytes]) -> None:
    """Raise InvalidRequest if all items have the same label, or the same text: no fold could be held out."""
    if len(labels) < 2:
        raise InvalidRequest("Training needs labels of at least two classes on items that are here. Add labels.")
    if len(digests) < 2:
        raise InvalidRequest("Training needs labels on at least two items that differ. Label another task.")


def strata(labels: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The stratum (n,) of each label: its class (n,), or for sets of classes (n, k) the rank of the set.

    Sets are ranked by whether they have the rarest class, then the second rarest, and so on. Items that are assigned to
    folds in this order spread the rare classes evenly.
    """
    if labels.ndim == 1:
        return labels
    rarest_first = np.argsort(labels.sum(axis=0), kind="stable")
    return np.asarray(np.unique(labels[:, rarest_first], axis=0, return_inverse=True)[1].reshape(-1), dtype=np.int64)


def _as_array(request: TrainingRequest) -> npt.NDArray[np.int64]:
    """The labels as classifiers take them."""
    if not request.multilabel:
        return np.array(request.labels, dtype=np.int64)
    sets = np.zeros((len(request.labels), len(request.classes)), dtype=np.int64)
    for row, label in zip(sets, request.labels, strict=True):
        row[np.array(label, dtype=np.int64)] = 1
    return sets
