"""The client of the ML backend (docs/backend-api.md), on requests."""

from __future__ import annotations

import io
import time
import zipfile
import zlib
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
import requests
from numpy.typing import NDArray
from urllib3.exceptions import MaxRetryError, NewConnectionError

from connector._compat import batched
from connector.errors import ConnectorError, TryAgainLater, UsageError, unusable_environment
from connector.retry import (
    CONNECT_SECONDS,
    LOOK_SECONDS,
    WORK_SECONDS,
    Retries,
    TransientError,
    failed_answer,
    is_transient,
)
from connector.settings import NO_CREDENTIALS, Credentials, Settings

PROTOCOL = 9
TEXTS_A_CALL = 1000
NPZ = {"Content-Type": "application/x-npz"}


_Backend = TypeVar("_Backend", bound="Backend")


class RefusedCredentials(UsageError):
    """The ML backend requires credentials, or others than those that are set."""


@dataclass(frozen=True)
class Probabilities:
    """Class probabilities for items of a project, out-of-sample for those that the model was trained on.

    `ids` (n,); `pred_probs` (n, k), columns in the order of `classes`; rows sum to one, or with `multilabel` hold the
    probability of each class against the rest; `fold` (n,): the fold that left the item out, or -1. `control` and
    `fields`: those of the training.
    """

    model_version: str
    classes: tuple[str, ...]
    ids: NDArray[np.int64]
    pred_probs: NDArray[np.float64]
    fold: NDArray[np.int8]
    multilabel: bool = False
    control: str = ""
    fields: tuple[str, ...] = ()

    @cached_property
    def place(self) -> dict[int, int]:
        """{item: its row}."""
        return {int(item): row for row, item in enumerate(self.ids)}


class Backend:
    """One ML backend.

    Every method raises TryAgainLater if it does not answer, or fails, for longer than `retries` allows.
    """

    def __init__(
        self,
        url: str,
        *,
        credentials: Credentials = NO_CREDENTIALS,
        retries: Retries | None = None,
        poll_seconds: float = 0.2,
    ) -> None:
        self.url = url
        self._credentials = credentials
        self._poll_seconds = poll_seconds
        self._retries = retries or Retries()
        self._session = requests.Session()
        self._session.auth = self._authenticate

    @classmethod
    def of(cls: type[_Backend], settings: Settings, retries: Retries) -> _Backend:
        """The ML backend of the settings, with their credentials."""
        return cls(settings.ml_backend_url, credentials=settings.credentials, retries=retries)

    def close(self) -> None:
        """Closes the connection."""
        self._session.close()

    def check(self) -> None:
        """Raises UsageError unless a backend that speaks our protocol answers."""
        answer = self._call("GET", "/health", at_once=True)
        protocol = _json(answer).get("protocol")
        if protocol != PROTOCOL:
            raise UsageError(
                f"The ML backend at {self.url} speaks protocol {protocol or 'unknown'}, this connector {PROTOCOL}: "
                "check ML_BACKEND_URL and run the same version of both."
            )

    def classifiers(self) -> list[str]:
        """The names of the classifiers that the backend can train."""
        return [str(name) for name in _json(self._call("GET", "/health", at_once=True))["classifiers"]]

    def model(self, project: str) -> dict[str, Any] | None:
        """The project's current model (`model_version`, `classes`, …), or None before the first training."""
        answer = self._call("GET", f"/api/projects/{project}/model", accept=(404,), at_once=True)
        model = _json(answer) if answer.ok else {}
        return model if model.get("model_version") else None

    def put_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[str],
        texts: Callable[[Sequence[int]], Mapping[int, str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
        *,
        sources: Sequence[str] | None = None,
    ) -> None:
        """Replaces the project's items and sends the texts that the backend lacks.

        Args:
            project: The project's key in the backend.
            ids: (n,) The items.
            digests: (n,) Of each item's text, in 32 hexadecimal digits.
            texts: Reads the texts of some items, {id: text}. Called for a part of the missing ones at a time.
            progress: Called with the number of texts sent so far, and in total.
            sources: (n,) The digest of what each item's data show, if that is links in place of texts.
        """
        missing = self.missing_items(project, ids, digests, sources=sources)
        for start in range(0, len(missing), TEXTS_A_CALL):
            lacking = [ids[index] for index in missing[start : start + TEXTS_A_CALL]]
            by_item = texts(lacking)
            part = [by_item[item] for item in lacking if item in by_item]  # a task may have been deleted since
            self._call("POST", f"/api/projects/{project}/texts", json={"texts": part})
            progress(start + len(part), len(missing))

    def missing_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[str],
        kind: str = "text",
        sources: Sequence[str] | None = None,
    ) -> list[int]:
        """Replaces the project's items. Returns the positions of those whose contents the backend lacks.

        Args:
            project: The project's key in the backend.
            ids: (n,) The items.
            digests: (n,) Of each item's text, or of a medium's address, in 32 hexadecimal digits.
            kind: What the contents are: "text", "image" or "audio".
            sources: As `put_items` takes them.
        """
        more = {} if sources is None else {"sources": _hashes(sources)}
        body = _pack(ids=np.asarray(ids, np.int64), hashes=_hashes(digests), **more)
        path = f"/api/projects/{project}/items"
        answer = self._call("PUT", path, data=body, headers=NPZ, params={} if kind == "text" else {"kind": kind})
        return [int(place) for place in _unpack(answer)["missing"]]

    def send_media(self, project: str, media: Mapping[str, bytes]) -> list[str]:
        """Sends small copies, {digest of the address: copy}. Returns the digests of those that the backend refuses."""
        body = _pack(
            sources=_hashes(list(media)),
            sizes=np.array([len(copy) for copy in media.values()], np.int64),
            contents=np.frombuffer(b"".join(media.values()), np.uint8),
        )
        answer = self._call("POST", f"/api/projects/{project}/media", data=body, headers=NPZ)
        return [list(media)[place] for place in _json(answer)["unusable"]]

    def train(
        self,
        project: str,
        classes: Sequence[str],
        labels: Mapping[int, int] | Mapping[int, Sequence[int]],
        *,
        multilabel: bool = False,
        weights: Mapping[int, float] | None = None,
        pseudo: Collection[int] = (),
        classifier: str | None = None,
        control: str = "",
        fields: Sequence[str] = (),
        progress: Callable[[str, float], None] = lambda stage, share: None,
    ) -> str:
        """Trains on one consensus label per item, waits for the end, and returns the new model version.

        Args:
            project: The project's key in the backend.
            classes: The names of the classes.
            labels: {id: position in `classes`}, or, if `multilabel`, {id: positions of all classes that apply}.
            multilabel: Any number of classes may apply to an item.
            weights: {id: above 0}, how much each label counts. None: 1 each.
            pseudo: The ids whose label nobody gave. They are learnt from only if that predicts the others better.
            classifier: A name of `classifiers()`. None: the backend's default.
            control: The control's name in the labelling config.
            fields: Keys of a task's data that the texts are made of. (): what the form shows.
            progress: Called with the present step and the share done, several times a second at most.

        Raises:
            ConnectorError: The training failed. The message has the backend's reason.
            TryAgainLater: The training was stopped for a reason that may pass.
        """
        body = {
            "classes": list(classes),
            "ids": list(labels),
            "labels": list(labels.values()),
            "multilabel": multilabel,
            "weights": [weights[item] for item in labels] if weights is not None else None,
            "pseudo": [item in pseudo for item in labels] if pseudo else None,
            "classifier": classifier,
            "control": control,
            "fields": list(fields),
        }
        answer = self._call("POST", f"/api/projects/{project}/train", json=body, repeatable=False)
        job = self._wait(project, _json(answer)["job"], progress)
        if job["retriable"]:
            raise TryAgainLater(f"The training was stopped: {job['error']}")
        if job["state"] != "done":
            raise ConnectorError(f"The training failed: {job['error']}")
        return str(job["model_version"])

    def forget_model(self, project: str) -> None:
        """Deletes all model versions of the project, if it has any. Its texts and their embeddings stay."""
        self._call("DELETE", f"/api/projects/{project}/model", accept=(404,))

    def predict(self, project: str, data: Sequence[Mapping[str, Any]], label_config: str) -> list[dict[str, Any]]:
        """The current model's predictions in Label Studio's format, one per entry of `data` (n,), those of tasks."""
        results: list[dict[str, Any]] = []
        for part in batched(data, TEXTS_A_CALL):
            body = {
                "tasks": [{"data": row} for row in part],
                "project": project,
                "label_config": label_config,
            }
            results += _json(self._call("POST", "/predict", json=body))["results"]
        return results

    def probabilities(self, project: str) -> Probabilities | None:
        """Class probabilities for all items. None: the backend has to train first.

        It has to before the first training, and if its encoder is not the one that the model was trained with.
        """
        answer = self._call("GET", f"/api/projects/{project}/probabilities", accept=(404, 409))
        if not answer.ok:
            return None
        arrays = _unpack(answer)
        return Probabilities(
            model_version=str(arrays["model_version"]),
            classes=tuple(str(name) for name in arrays["classes"]),
            ids=arrays["ids"],
            pred_probs=arrays["pred_probs"].astype(np.float64),
            fold=arrays["fold"],
            multilabel=bool(arrays["multilabel"]),
            control=str(arrays["control"]),
            fields=tuple(str(name) for name in arrays["fields"]),
        )

    def spread(self, project: str, ids: Sequence[int], count: int, *, seed: int = 0) -> list[int]:
        """At most `count` of `ids`, spread over the embedding space. So is every prefix."""
        body = {"ids": list(ids), "count": count, "seed": seed}
        return [int(item) for item in _json(self._call("POST", f"/api/projects/{project}/spread", json=body))["ids"]]

    def distinct(self, project: str, ids: Sequence[int], count: int) -> list[int]:
        """The first `count` of `ids`, in their order, that are no near-duplicates of each other."""
        body = {"ids": list(ids), "count": count}
        return [int(item) for item in _json(self._call("POST", f"/api/projects/{project}/distinct", json=body))["ids"]]

    def _wait(self, project: str, job: str, progress: Callable[[str, float], None]) -> dict[str, Any]:
        while True:
            answer = self._call("GET", f"/api/projects/{project}/jobs/{job}", accept=(404,), at_once=True)
            if answer.status_code == 404:
                raise TryAgainLater(f"The ML backend at {self.url} no longer has the training job.")
            state = _json(answer)
            progress(_words(state), state["progress"])
            if state["state"] in ("done", "failed", "cancelled"):
                return state
            time.sleep(self._poll_seconds)

    def _call(
        self,
        method: str,
        path: str,
        *,
        accept: tuple[int, ...] = (),
        at_once: bool = False,
        repeatable: bool = True,
        **body: Any,
    ) -> requests.Response:
        """The response to one call, with success or a status in `accept`. `at_once`: the backend computes nothing.

        A call is not `repeatable` if it starts a job. Texts, items and queries may be sent twice, even by POST.
        """
        seconds = LOOK_SECONDS if at_once else WORK_SECONDS

        def attempt() -> requests.Response:
            answer = self._send(method, path, seconds, body)
            if answer.ok or answer.status_code in accept:
                return answer
            detail = _detail(answer)
            if is_transient(answer.status_code):
                failed = TryAgainLater(f"{self._name} failed with {answer.status_code}: {detail}")
                raise failed_answer(self._name, answer.status_code, answer.headers, failed)
            if answer.status_code == 401:
                raise RefusedCredentials(self._refused_words())
            if answer.status_code == 404:
                raise UsageError(f"{self.url} has no {path}: check ML_BACKEND_URL ({detail})")
            raise ConnectorError(f"The ML backend refused: {detail}")

        return self._retries.call(attempt, repeatable=repeatable)

    def _send(self, method: str, path: str, seconds: float, body: dict[str, Any]) -> requests.Response:
        """The response to one attempt, with any status."""
        try:
            return self._session.request(method, self.url + path, timeout=(CONNECT_SECONDS, seconds), **body)
        except requests.ReadTimeout as error:
            busy = f"{self._name} is still busy after {seconds:.0f} s"
            raise TransientError(TryAgainLater(f"{busy}. What it has done is kept."), busy) from error
        except (requests.exceptions.InvalidSchema, requests.exceptions.InvalidProxyURL) as error:
            raise unusable_environment(error) from error
        except requests.RequestException as error:
            happened = f"{self._name} does not answer"
            away = TryAgainLater(f"{happened}: start it (ml-backend serve) or check ML_BACKEND_URL.")
            raise TransientError(away, happened, unprocessed=_is_unsent(error)) from error
        except OSError as error:  # requests looks for the file with certificates only now
            raise unusable_environment(error) from error

    def _authenticate(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        # As `auth`, because the credentials in a .netrc would replace a header of the session.
        if self._credentials.header is not None:
            request.headers["Authorization"] = self._credentials.header
        return request

    def _refused_words(self) -> str:
        names = "ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD" if self._credentials.token is None else "ML_BACKEND_TOKEN"
        if self._credentials.header is None:
            return f"{self._name} requires credentials: set ML_BACKEND_TOKEN, or ML_BACKEND_USERNAME and _PASSWORD."
        return f"{self._name} refuses {names}: set what it was started with."

    @property
    def _name(self) -> str:
        return f"The ML backend at {self.url}"


def _words(job: Mapping[str, Any]) -> str:
    """How far a job is."""
    words = [str(job["stage"])]
    if job["fold"] is not None:
        words.append(f"fold {job['fold'] + 1}")
    if job["steps"] > 1:
        words.append(f"{job['step']:,} of {job['steps']:,}")
    if job["seconds_left"]:
        words.append(f"about {_duration(job['seconds_left'])} left")
    return ", ".join(words)


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _is_unsent(error: requests.RequestException) -> bool:
    """Whether there was no connection to send the request over."""
    cause = error.args[0] if error.args else None
    return isinstance(error, requests.ConnectTimeout) or (
        isinstance(cause, MaxRetryError) and isinstance(cause.reason, NewConnectionError)
    )


def _json(answer: requests.Response) -> dict[str, Any]:
    try:
        body = answer.json()
    except ValueError as error:
        raise UsageError(f"{answer.url} is not an ML backend of ours: check ML_BACKEND_URL.") from error
    return body if isinstance(body, dict) else {}


def _detail(answer: requests.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.reason or "no reason given"


def _hashes(digests: Sequence[str]) -> NDArray[np.uint8]:
    return np.frombuffer(bytes.fromhex("".join(digests)), np.uint8).reshape(-1, 16)


def _pack(**arrays: NDArray[Any]) -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()


def _unpack(answer: requests.Response) -> dict[str, NDArray[Any]]:
    try:
        with np.load(io.BytesIO(answer.content), allow_pickle=False) as arrays:
            return dict(arrays)
    except (ValueError, OSError, EOFError, TypeError, zipfile.BadZipFile, zlib.error) as error:
        raise ConnectorError("The ML backend sent arrays that cannot be read: run the same version of both.") from error
