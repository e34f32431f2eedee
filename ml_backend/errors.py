"""What can go wrong, by what the caller can do about it.

BackendError
 ├── InvalidRequest          the request must change
 │    └── LabelledTextsChanged   the training must start again
 ├── NotFound                something must be sent or trained first
 ├── Conflict                it cannot be done now
 ├── EncoderUnavailable      an encoder must be installed or configured
 ├── ClusterUnavailable      the worker processes must be started, or need more memory
 ├── CorruptModel            files of a model were damaged, so it must be trained again
 └── CannotStart             the command line or the machine must change

Every message says in plain sentences what to do, and can be shown to a person. `status` is that of an HTTP response.
"""

from http import HTTPStatus
from typing import ClassVar


class BackendError(Exception):
    """Anything that this package refuses, or fails at, on purpose."""

    status: ClassVar[int] = HTTPStatus.INTERNAL_SERVER_ERROR


class InvalidRequest(BackendError):
    """The request cannot be carried out in this form."""

    status = HTTPStatus.UNPROCESSABLE_ENTITY


class LabelledTextsChanged(InvalidRequest):
    """Labelled texts were removed while a training used them."""

    def __init__(self, message: str = "Labelled texts were removed during the training. Start it again.") -> None:
        """Take a message, so that the error can be sent between processes."""
        super().__init__(message)


class NotFound(BackendError):
    """The requested project, job or model does not exist."""

    status = HTTPStatus.NOT_FOUND


class Conflict(BackendError):
    """The request conflicts with the current state of the project."""

    status = HTTPStatus.CONFLICT


class EncoderUnavailable(BackendError):
    """An encoder cannot be loaded."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class ClusterUnavailable(BackendError):
    """The Ray cluster cannot be reached, or a worker process died."""

    status = HTTPStatus.SERVICE_UNAVAILABLE


class CorruptModel(BackendError):
    """The files of a model are missing, damaged or in another format."""


class CannotStart(BackendError):
    """The server cannot start."""
