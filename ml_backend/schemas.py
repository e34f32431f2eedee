"""The JSON that goes over the wire, Label Studio's and the connector's."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from ml_backend.settings import ClassifierName

MAX_CLASS = 10_000  # characters of a class's name
MAX_IDS = 5_000_000


class _Wire(BaseModel):
    # "model_version" is the protocol's name, not a pydantic method.
    model_config = ConfigDict(protected_namespaces=(), from_attributes=True)


class Health(_Wire):
    """Answer of GET /health."""

    status: Literal["UP"] = "UP"
    model_class: str
    version: str
    protocol: Literal[4] = 4
    classifiers: list[str]


class Versions(_Wire):
    """Answer of GET /versions."""

    versions: list[str]


class SetupRequest(_Wire):
    """Body of POST /setup; of all that Label Studio sends only the project matters."""

    project: str | int | None = None


class SetupResponse(_Wire):
    """Answer of POST /setup; the version is empty before the first training."""

    model_version: str


class PredictRequest(_Wire):
    """Body of POST /predict; whatever is not a task with a text gets an empty entry."""

    tasks: list[Any]
    project: str | int | None = None
    label_config: str | None = None


class Prediction(_Wire):
    """One task's entry: an empty result where there is nothing to say."""

    result: list[dict[str, Any]] = []
    score: float = 0.0
    model_version: str


class PredictResponse(_Wire):
    """Answer of POST /predict, one entry a task; `message` tells where the labelling config is not the model's."""

    results: list[Prediction]
    model_version: str
    message: str = ""


class TextsRequest(_Wire):
    """Body of POST …/texts."""

    texts: Annotated[list[str], Field(max_length=5000)]


class TextsResponse(_Wire):
    """Answer of POST …/texts: how many of the call's texts are held now, which is all of them."""

    stored: int


class TrainRequest(_Wire):
    """Body of POST …/train; `labels` are positions in `classes`: one an id, with `multilabel` a list an id.

    `weights`, one an id, say how much each label counts (1); `classifier` is the server's setting where it is absent.
    """

    classes: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=MAX_CLASS)]], Field(min_length=2, max_length=1000)
    ]
    ids: Annotated[list[int], Field(max_length=MAX_IDS)]
    labels: list[int] | list[list[int]]
    weights: list[Annotated[float, Field(gt=0, allow_inf_nan=False)]] | None = None
    multilabel: bool = False
    classifier: ClassifierName | None = None
    folds: Annotated[int | None, Field(ge=2, le=20)] = None
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


class JobState(_Wire):
    """A training job: `step` of `steps` of its stage, `progress` of it all; `retriable`: why it failed may pass."""

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
    """Body of POST …/rollback; without a version the one before the current."""

    model_version: Annotated[str | None, Field(max_length=100)] = None


class ModelState(_Wire):
    """Answer of GET …/model; empty before the first training."""

    model_version: str | None = None
    classes: list[str] = []
    multilabel: bool = False
    labels: int = 0
    trained_at: str | None = None
    versions: list[str] = []
    accuracy: float | None = None


class SpreadRequest(_Wire):
    """Body of POST …/spread."""

    ids: Annotated[list[int], Field(max_length=MAX_IDS)]
    count: Annotated[int, Field(ge=0)]
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 0


class SpreadResponse(_Wire):
    """Answer of POST …/spread."""

    ids: list[int]
