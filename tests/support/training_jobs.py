"""Waiting for the trainings of a service."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ml_backend.jobs.records import Job
    from ml_backend.service import Service


def trained(service: Service, project: str, job: Job) -> str:
    """Waits for the end of a training, which has to succeed. Returns the model version."""
    while job.active:
        time.sleep(0.02)
        job = service.job(project, job.job)
    assert job.state == "done", job
    assert job.model_version is not None
    return job.model_version
