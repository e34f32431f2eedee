"""What can go wrong, by what the caller can do about it.

BackendError
 ├── InvalidRequest          the request must change
 │    └── LabelledTextsChanged   the training must start again
 ├── NotFound                something must be sent or trained first
 ├── Conflict                it cannot be done now
 ├── EncoderUnavailable      the sentence encoder must be installed or configured
 ├── ClusterUnavailable      the worker processes must be started, or need more memory
 ├── CorruptModel            files of a model were damaged, so it must be trained again
 └── CannotStart             the command line or the machine must change

Every message says in plain sentences what to do, and can be shown to a person.
"""


class BackendError(Exception):
    """Anything that this package refuses, or fails at, on purpose."""


class InvalidRequest(BackendError):
    """The request cannot be carried out in this form."""


class LabelledTextsChanged(InvalidRequest):
    """Labelled texts were removed while a training used them."""

    def __init__(self, message: str = "Labelled texts were removed during the training. Start it again.") -> None:
        """Take a message, so that the error can be sent between processes."""
        super().__init__(message)


class NotFound(BackendError):
    """The requested project, job or model does not exist."""


class Conflict(BackendError):
    """The request conflicts with the current state of the project."""


class EncoderUnavailable(BackendError):
    """The sentence encoder cannot be loaded."""


class ClusterUnavailable(BackendError):
    """The Ray cluster cannot be reached, or a worker process died."""


class CorruptModel(BackendError):
    """The files of a model are missing, damaged or in another format."""


class CannotStart(BackendError):
    """The server cannot start."""
