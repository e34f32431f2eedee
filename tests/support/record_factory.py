"""A project's row in the state database, for tests without one."""

from __future__ import annotations

from dataclasses import MISSING, fields
from typing import Any

from connector.state.rows import ProjectRecord


def project_record(**values: Any) -> ProjectRecord:
    """The row of project 7, with these values and None elsewhere."""
    blank = {field.name: None for field in fields(ProjectRecord) if field.default is MISSING}
    given = {"key": 1, "url": "http://studio", "project_id": 7, "min_annotations_per_task": 1, "round": 0, **values}
    return ProjectRecord(**{**blank, **given})
