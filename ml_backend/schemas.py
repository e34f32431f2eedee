"""The JSON of requests and responses, for Label Studio and for the connector."""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from ml_backend.settings import ClassifierName

MAX_CLASS = 10_000  # characters of a class's name
MAX_IDS = 5_000_000
_REFUSED = "refused"  # type of the validation errors whose message is a whole sentence


class _Wire(BaseModel):
    # "model_version" is the protocol's name, not a pydantic method.
    model_config = ConfigDict(protected_namespaces=(), from_attributes=True)


class Health(_Wire):
    """Answer of GET /health."""

    status: Literal["UP"] = "UP"
    model_class: str
    version: str
    protocol: Literal[9] = 9
    classifiers: list[str]


class Versions(_Wire):
    """Answer of GET /versions."""

    versions: list[str]


class SetupRequest(_Wire):
    """Body of POST /setup. Of all that Label Studio sends, only the project matters."""

    project: str | int | None = None


class SetupResponse(_Wire):
    """Answer of POST /setup. The version is empty before the first training."""

    model_version: str


def _as_list(tasks: Any) -> Any:
    return [tasks] if isinstance(tasks, dict) else tasks


class PredictRequest(_Wire):
    """Body of POST /predict. Anything that is not a task with a text gets an empty entry. One task needs no list."""

    tasks: Annotated[list[Any], BeforeValidator(_as_list, json_schema_input_type=list[Any] | dict[str, Any])]
    project: str | int | None = None
    label_config: str | None = None


class Prediction(_Wire):
    """The entry of one task. `result` is empty without an answer."""

    result: list[dict[str, Any]] = []
    score: float = 0.0
    model_version: str


class PredictResponse(_Wire):
    """Answer of POST /predict, one entry per task.

    `message` explains how the labelling config differs from that of the model.
    """

    results: list[Prediction]
    model_version: str
    message: str = ""

    @classmethod
    def empty(cls, count: int, model_version: str = "", message: str = "") -> "PredictResponse":
        """A response with `count` empty entries."""
        results = [Prediction(model_version=model_version) for _ in range(count)]
        return cls(results=results, model_version=model_version, message=message)


class TextsRequest(_Wire):
    """Body of POST …/texts."""

    texts: Annotated[list[str], Field(max_length=5000)]


class TextsResponse(_Wire):
    """Answer of POST …/texts: the number of texts in the call, all of which are stored."""

    stored: int


class MediaResponse(_Wire):
    """Answer of POST …/media: the positions of what cannot be used, and is not stored."""

    unusable: list[int]


class TrainRequest(_Wire):
    """Body of POST …/train.

    `labels` are positions in `classes`: one per id, or with `multilabel` a list per id. `weights`, one per id, state
    how much each label counts (1). `pseudo`, one per id, state whether nobody gave the label: it is learnt from only if
    that predicts the others better. Without a `classifier` the server's setting applies.

    `control` and `fields` are for /predict: the control's name in the labelling config (by its classes without), and
    the keys of a task's data that the texts are made of (what the form shows without).
    """

    classes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_CLASS)]], Field(min_length=2, max_length=1000)
    ]
    ids: Annotated[list[int], Field(max_length=MAX_IDS)]
    labels: list[int] | list[list[int]]
    weights: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    pseudo: list[bool] | None = None
    multilabel: bool = False
    classifier: ClassifierName | None = None
    folds: Annotated[int | None, Field(ge=2, le=20)] = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0
    control: Annotated[str, Field(max_length=MAX_CLASS)] = ""
    fields: Annotated[list[Annotated[str, Field(max_length=MAX_CLASS)]], Field(max_length=100)] = []

    @model_validator(mode="after")
    def _require_consistency(self) -> "TrainRequest":
        if len(set(self.classes)) != len(self.classes):
            raise _refused("A class occurs twice in 'classes'. Name each class once.")
        if len(self.ids) != len(self.labels) or len(set(self.ids)) != len(self.ids):
            raise _refused("Send one label per id, and each id once.")
        if any(isinstance(label, list) != self.multilabel for label in self.labels):
            raise _refused("Send a list of positions as a label with 'multilabel', one position without.")
        if self.weights is not None and len(self.weights) != len(self.ids):
            raise _refused("Send one weight per id, or no 'weights'.")
        if self.pseudo is not None and len(self.pseudo) != len(self.ids):
            raise _refused("Send one 'pseudo' per id, or none.")
        positions = {place for label in self.labels for place in (label if isinstance(label, list) else (label,))}
        if not positions <= set(range(len(self.classes))):
            raise _refused("A label is no position in 'classes'. Count from 0.")
        return self


def describe(error: Mapping[str, Any]) -> str:
    """An error of pydantic as one sentence."""
    if error["type"] == _REFUSED:
        return str(error["msg"])
    where = ".".join(str(part) for part in error["loc"] if part != "body") or "the body"
    return f"The request is invalid at {where}: {error['msg']}."


def _refused(sentence: str) -> PydanticCustomError:
    return PydanticCustomError(_REFUSED, "{sentence}", {"sentence": sentence})


class JobState(_Wire):
    """A training job.

    `step` of `steps` counts within its stage, and `progress` is the share of all the work. If `retriable`, the cause of
    its failure may pass.
    """

    job: str
    state: Literal["queued", "running", "done", "failed", "cancelled"]
    stage: str
    fold: int | None
    step: int
    steps: int
    progress: float
    seconds_left: float | None
    model_version: str | None
    error: str | None
    retriable: bool


class RollBackRequest(_Wire):
    """Body of POST …/rollback. Without a version, the one before the current is meant."""

    model_version: Annotated[str | None, Field(max_length=100)] = None


class ModelState(_Wire):
    """Answer of GET …/model. It is empty before the first training.

    `embedding`: what computes the model's features, and `since` when it has served. `in_training`: whether a
    training or a fine-tuning runs or waits, after which another model may serve.
    """

    model_version: str | None = None
    classes: list[str] = []
    multilabel: bool = False
    labels: int = 0
    trained_at: str | None = None
    versions: list[str] = []
    accuracy: float | None = None
    embedding: Literal["frozen", "fine-tuned", "transformer"] | None = None
    since: str | None = None
    in_training: bool = False


class SpreadRequest(_Wire):
    """Body of POST …/spread."""

    ids: Annotated[list[int], Field(max_length=MAX_IDS)]
    count: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


class SpreadResponse(_Wire):
    """Answer of POST …/spread."""

    ids: list[int]


class DistinctRequest(_Wire):
    """Body of POST …/distinct."""

    ids: Annotated[list[int], Field(max_length=MAX_IDS)]
    count: Annotated[int, Field(ge=0)]


class DistinctResponse(_Wire):
    """Answer of POST …/distinct."""

    ids: list[int]
