"""One project's rows of the state database: its own row, and the rows of other tables that belong to it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypedDict

import sqlalchemy as sa

from connector.annotations.records import moment
from connector.state import schema

IDS_A_STATEMENT = 500  # below SQLite's limit on bound parameters


class Found(TypedDict, total=False):
    """What init found in the project, and what it made.

    Ids of tabs, backends and webhooks, and the model versions of predictions that were there. The ids of the tabs that
    it made, and the addresses of backends that it connected. `taken_over`: another state database ran the project.
    `replaced`: how many predictions a sync deleted that had the name of published consensus labels.
    `recorded_at`: when init recorded every task, by Label Studio's clock.
    `former_models`: keys in the ML backend of questions that are not served any more, until a sync deletes them there.
    `excluded`: annotators whose labels do not count. `annotations_of_excluded`: {annotator: their annotations}, because
    those of a deleted account are nobody's.
    `undo_began`: when an undo began that has not ended. What it left is neither as init found it nor as init set it up.
    """

    tabs: list[int]
    backends: list[int]
    webhooks: list[int]
    versions: list[str]
    taken_over: bool
    made_tabs: list[int]
    connected: list[str]
    replaced: int
    recorded_at: str
    former_models: list[str]
    excluded: list[int]
    annotations_of_excluded: dict[str, list[int]]
    undo_began: str


class FullRead(TypedDict):
    """How far a reading of all tasks has come.

    `under`: digest of the settings that it depends on. `since`: when it began, by Label Studio's clock. `after`: the
    last task read.
    """

    under: str
    since: str | None
    after: int


class LastSync(TypedDict):
    """How the latest sync ended. `result`: "published", "nothing new" or "failed"."""

    at: str
    result: str
    error: str | None


class Accepted(NamedTuple):
    """The model's label of a task, which `connector finish` accepted.

    `probability`: that it is right, by the model. `digest`: of what the task's data showed.
    """

    label: str
    probability: float
    digest: str


class Shown(NamedTuple):
    """A label that annotators saw preselected, from one moment to another. None: it still is. ISO 8601."""

    label: str
    since: str
    until: str | None


class Finish(TypedDict):
    """What `connector finish` found. `max_error`: the limit it was given. `bound`: of the accepted labels' errors.

    `audited`: by how many tasks drawn at random. `model_version`: whose labels they are.
    """

    at: str
    max_error: float
    bound: float
    audited: int
    model_version: str | None


class Machine(TypedDict, total=False):
    """A machine whose labels count beside people's.

    `predictions`: how many predictions of this model version Label Studio had when they were read. Absent for a machine
    that `connector label-with` asks. `under`: digest of the labelling config and the questions that they were read by.

    Of a machine that is asked, `setup`: the digest of all that it is given beside a task. `examples`: the tasks that it
    is shown with their labels, {task: [label, digest of the content]}. `wanted`: how many of them were to be found.
    """

    predictions: int
    under: str
    setup: str
    examples: dict[str, list[str]]
    wanted: int


class MachineLabel(NamedTuple):
    """A machine's label of a task.

    Attributes:
        label: As annotations have it. None: the machine's answer gives no label.
        score: How sure the machine says that it is. None: it does not say.
        digest: Of what the task's data showed then.
        prediction: Its id in Label Studio. None: it is not there.
    """

    label: str | None
    score: float | None
    digest: str
    prediction: int | None = None


@dataclass(frozen=True)
class ProjectRecord:
    """The row of a project in the state database. `schema.projects` explains the columns.

    Times are ISO 8601 strings in UTC, `lock_until` is in seconds since 1970. None: not known yet, or undone.
    """

    key: int
    url: str
    project_id: int
    created_at: str | None
    adopted_at: str | None
    control: dict[str, Any] | None
    label_config: str | None
    min_annotations_per_task: int
    original_settings: dict[str, Any] | None
    found: Found | None
    bookmark: str | None
    full_read: FullRead | None
    round: int
    queue_version: str | None
    model_version: str | None
    queue_size: int | None
    window_options: dict[str, Any] | None
    last_sync: LastSync | None
    finish: Finish | None
    machines: dict[str, Machine] | None
    trained_machines: dict[str, dict[str, int]] | None
    lock_holder: str | None
    lock_until: float | None

    def is_of(self, project: Mapping[str, Any]) -> bool:
        """Whether this may be the row of `project`, as Label Studio's API gives it, by when it was created."""
        created_at = project.get("created_at")
        return not self.created_at or not created_at or moment(self.created_at) == moment(created_at)

    def difference(self, project: Mapping[str, Any]) -> str | None:
        """Why `project`, as Label Studio's API gives it, is another one than `init` set up. None if it may be that."""
        if self.is_of(project):
            return None
        return (
            f"Project {self.project_id} is not the one that connector init set up. That one was created at "
            f"{self.created_at}, and this one at {project['created_at']}. So another Label Studio answers at "
            "LABEL_STUDIO_URL, or its database was replaced."
        )

    @property
    def excluded(self) -> frozenset[int]:
        """The annotators whose labels do not count (`init --exclude`)."""
        return frozenset((self.found or {}).get("excluded", ()))

    @property
    def annotations_of_excluded(self) -> dict[int, int]:
        """{annotation: which of them made it}, as far as syncs and init have seen it.

        Label Studio does not say it any more if the account was deleted.
        """
        known = (self.found or {}).get("annotations_of_excluded", {})
        return {row: annotator for annotator in self.excluded for row in known.get(str(annotator), ())}

    @property
    def audits(self) -> bool:
        """Whether the published window has tasks that were drawn at random (`sync --audit`)."""
        return bool((self.window_options or {}).get("audit"))

    @property
    def judges_annotators(self) -> bool:
        """Whether the published window has gold tasks (`sync --gold`)."""
        return bool((self.window_options or {}).get("gold"))

    @property
    def interrupted_undo(self) -> str | None:
        """What to do if an undo has begun and not ended. None if there is none."""
        if not (self.found or {}).get("undo_began"):
            return None
        return (
            f"An undo was interrupted: run connector undo --project {self.project_id} again. Or go on using the "
            f"project: connector init --project {self.project_id}."
        )

    @property
    def set_up_again(self) -> str:
        """What to do if another project than the one that `init` set up has its number."""
        return (
            f"Correct LABEL_STUDIO_URL. Or set this project up: connector init --project {self.project_id}. Or forget "
            f"the former one: connector undo --project {self.project_id} --forget."
        )


class ProjectRows:
    """The rows of the project `key`. Every public method is one transaction."""

    def __init__(self, engine: sa.Engine, key: int) -> None:
        self._engine = engine
        self._key = key

    @property
    def key(self) -> int:
        """The row of the project, whatever address its Label Studio has."""
        return self._key

    def record(self) -> ProjectRecord:
        """The project's row."""
        with self._engine.connect() as db:
            row = db.execute(sa.select(schema.projects).where(schema.projects.c.key == self._key)).mappings().one()
        return ProjectRecord(**row)

    def put(self, **values: Any) -> None:
        """Sets columns of the project's row."""
        with self._engine.begin() as db:
            db.execute(schema.projects.update().where(schema.projects.c.key == self._key).values(**values))

    def _rows(self, table: sa.Table) -> sa.ColumnElement[bool]:
        return table.c.project == self._key

    def _all(self, table: sa.Table) -> Sequence[sa.RowMapping]:
        with self._engine.connect() as db:
            return db.execute(sa.select(table).where(self._rows(table))).mappings().all()

    def _insert(self, db: sa.Connection, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
        values = [{**row, "project": self._key} for row in rows]
        if values:
            db.execute(table.insert(), values)

    def _replace(self, table: sa.Table, rows: Iterable[dict[str, Any]]) -> None:
        with self._engine.begin() as db:
            db.execute(table.delete().where(self._rows(table)))
            self._insert(db, table, rows)
