"""What can go wrong, by what the caller can do about it.

BackendError
 ├── InvalidRequest      the request must change
 ├── NotFound            something must be sent or trained first
 ├── Conflict            it cannot be done now
 ├── EncoderUnavailable  the sentence encoder must be installed or configured
 ├── ClusterUnavailable  the processes that work is divided among must be started, or have more memory
 ├── CorruptModel        files of a model were damaged; train again
 └── CannotStart         the command line or the machine must change

Every message is one sentence that says what to do, fit to be shown to a person.
"""


class BackendError(Exception):
    """Anything this package refuses or fails at on purpose."""


class InvalidRequest(BackendError):
    """The request cannot be carried out as it stands."""


class NotFound(BackendError):
    """The project, job or model asked for is not there."""


class Conflict(BackendError):
    """The request is fine, the state of the project is against it."""


class EncoderUnavailable(BackendError):
    """The sentence encoder cannot be loaded."""


class ClusterUnavailable(BackendError):
    """The Ray cluster cannot be reached, or a process that work was divided among died."""


class CorruptModel(BackendError):
    """A model's files are missing, damaged or of another format."""


class CannotStart(BackendError):
    """The server cannot start."""
