"""Exports and reports also work without the ML backend or a model, and say so."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from connector.errors import TryAgainLater
from connector.state.rows import ProjectRecord


@contextlib.contextmanager
def suggest_no_model(command: str) -> Iterator[None]:
    """Adds to the error of an unavailable ML backend that `command` has the option --no-model."""
    try:
        yield
    except TryAgainLater as error:
        raise TryAgainLater(f"{error} With --no-model, the {command} does not need it.") from error


def no_model_note(project_id: int, record: ProjectRecord) -> str:
    """What a reader should know if the ML backend was asked and gave no probabilities."""
    cause = "There is no model yet."
    if record.model_version is not None:
        cause = (
            f"The ML backend does not have the project's model ({record.model_version}) any more, or cannot use it: "
            f"connector sync --project {project_id} --train always trains a new one."
        )
    return f"{cause} Consensus labels are majority votes, and their quality is unknown."
