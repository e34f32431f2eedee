"""The client of the ML backend (docs/backend-api.md), on requests."""

from __future__ import annotations

import io
import time
import zipfile
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import requests
from numpy.typing import NDArray
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from connector.errors import ConnectorError, TryAgainLater, UsageError

PROTOCOL = 1
TEXTS_A_CALL = 1000
ANSWER_SECONDS = 300
NPZ = {"Content-Type": "application/x-npz"}


@dataclass(frozen=True)
class Probabilities:
    """Class probabilities for items of a project, out-of-sample for those that the model was trained on.

    `ids` (n,); `pred_probs` (n, k), rows sum to one, columns in the order of `classes`; `fold` (n,): the fold that
    left the item out, or -1.
    """

    model_version: str
    classes: tuple[str, ...]
    ids: NDArray[np.int64]
    pred_probs: NDArray[np.float64]
    fold: NDArray[np.int8]


class Backend:
    """One ML backend. Every method raises TryAgainLater when it does not answer or fails."""

    def __init__(self, url: str, *, poll_seconds: float = 0.2) -> None:
        self.url = url
        self._poll_seconds = poll_seconds
        self._session = requests.Session()
        # Only connections that were never made are repeated: a training must not start twice.
        retry = Retry(total=None, connect=2, read=0, status=0, other=0, backoff_factor=0.5)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, HTTPAdapter(max_retries=retry))

    def close(self) -> None:
        """Ends the connection."""
        self._session.close()

    def check(self) -> None:
        """Raises UsageError unless a backend that speaks our protocol answers."""
        answer = self._call("GET", "/health")
        protocol = _json(answer).get("protocol")
        if protocol != PROTOCOL:
            raise UsageError(
                f"The ML backend at {self.url} speaks protocol {protocol or 'unknown'}, this connector {PROTOCOL}: "
                "check ML_BACKEND_URL and run the same version of both."
            )

    def model(self, project: str) -> dict[str, Any] | None:
        """The project's current model (`model_version`, `classes`, …), or None before the first training."""
        answer = self._call("GET", f"/api/projects/{project}/model", accept=(404,))
        model = _json(answer) if answer.ok else {}
        return model if model.get("model_version") else None

    def put_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[bytes],
        texts: Sequence[str],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        """States the project's items (n ids, n digests of 16 bytes, n texts) and sends the texts the backend lacks."""
        hashes = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
        body = _pack(ids=np.asarray(ids, np.int64), hashes=hashes)
        answer = self._call("PUT", f"/api/projects/{project}/items", data=body, headers=NPZ)
        missing = _unpack(answer)["missing"]
        for start in range(0, len(missing), TEXTS_A_CALL):
            part = [texts[index] for index in missing[start : start + TEXTS_A_CALL]]
            self._call("POST", f"/api/projects/{project}/texts", json={"texts": part})
            progress(start + len(part), len(missing))

    def train(
        self,
        project: str,
        classes: Sequence[str],
        labels: dict[int, int],
        *,
        progress: Callable[[str, float], None] = lambda stage, share: None,
    ) -> str:
        """Trains on one consensus label an item ({id: position in classes}), waits, returns the new model version.

        `progress` is told the stage and the share done, several times a second at most. Raises ConnectorError with the
        backend's reason when the training fails.
        """
        body = {"classes": list(classes), "ids": list(labels), "labels": list(labels.values())}
        while True:
            answer = self._call("POST", f"/api/projects/{project}/train", json=body, accept=(409,))
            job = self._wait(project, _json(answer)["job"], progress)
            if answer.status_code != 409:  # else that was somebody else's training; ours is still to come
                break
        if job["state"] == "cancelled":
            raise TryAgainLater(f"The training was stopped: {job['error']}")
        if job["state"] != "done":
            raise ConnectorError(f"The training failed: {job['error']}")
        return str(job["model_version"])

    def probabilities(self, project: str) -> Probabilities | None:
        """Class probabilities for all items, or None where a training has to come first.

        That is so before the first one, and when the backend has another encoder than the model was trained with.
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
        )

    def spread(self, project: str, ids: Sequence[int], count: int, *, seed: int = 0) -> list[int]:
        """At most `count` of `ids`, spread over the embedding space; every prefix is spread too."""
        body = {"ids": list(ids), "count": count, "seed": seed}
        return [int(item) for item in _json(self._call("POST", f"/api/projects/{project}/spread", json=body))["ids"]]

    def _wait(self, project: str, job: str, progress: Callable[[str, float], None]) -> dict[str, Any]:
        while True:
            answer = self._call("GET", f"/api/projects/{project}/jobs/{job}", accept=(404,))
            if answer.status_code == 404:
                raise TryAgainLater(f"The ML backend at {self.url} was restarted during the training.")
            state = _json(answer)
            progress(state["stage"], state["progress"])
            if state["state"] in ("done", "failed", "cancelled"):
                return state
            time.sleep(self._poll_seconds)

    def _call(self, method: str, path: str, *, accept: tuple[int, ...] = (), **body: Any) -> requests.Response:
        try:
            answer = self._session.request(method, self.url + path, timeout=(5, ANSWER_SECONDS), **body)
        except requests.ReadTimeout as error:
            raise TryAgainLater(
                f"The ML backend at {self.url} is still busy after {ANSWER_SECONDS} s; what it has done is kept."
            ) from error
        except requests.RequestException as error:
            raise TryAgainLater(
                f"The ML backend at {self.url} does not answer: start it (ml-backend serve) or check ML_BACKEND_URL."
            ) from error
        if answer.ok or answer.status_code in accept:
            return answer
        detail = _detail(answer)
        if answer.status_code >= 500:
            raise TryAgainLater(f"The ML backend at {self.url} failed with {answer.status_code}: {detail}")
        if answer.status_code == 404:
            raise UsageError(f"{self.url} has no {path}: check ML_BACKEND_URL ({detail})")
        raise ConnectorError(f"The ML backend refused: {detail}")


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
