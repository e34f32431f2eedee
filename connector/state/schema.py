"""The tables of the state database."""

from typing import Any

import sqlalchemy as sa

VERSION = 6

metadata = sa.MetaData()
meta = sa.Table("meta", metadata, sa.Column("schema_version", sa.Integer, primary_key=True))
projects = sa.Table(
    "projects",
    metadata,
    sa.Column("key", sa.Integer, primary_key=True),
    sa.Column("url", sa.String(500), nullable=False),
    sa.Column("project_id", sa.Integer, nullable=False),
    # When Label Studio created the project, as its API says. With the id, it tells the project from all others.
    sa.Column("created_at", sa.String(40)),
    sa.Column("adopted_at", sa.String(40)),
    sa.Column("control", sa.JSON),
    sa.Column("label_config", sa.Text),
    sa.Column("min_annotations_per_task", sa.Integer, nullable=False, default=1),
    sa.Column("original_settings", sa.JSON),
    # What init found, which undo must leave, and what it made itself: rows.Found.
    sa.Column("found", sa.JSON),
    # Tasks updated before this moment of Label Studio's clock are in the mirror. None: all are to be read.
    sa.Column("bookmark", sa.String(40)),
    # How far a reading of all tasks has come, until it ends: rows.FullRead.
    sa.Column("full_read", sa.JSON),
    sa.Column("round", sa.Integer, nullable=False, default=0),
    sa.Column("queue_version", sa.String(100)),
    sa.Column("model_version", sa.String(100)),
    sa.Column("queue_size", sa.Integer),
    sa.Column("window_options", sa.JSON),
    # How the latest sync ended: rows.LastSync.
    sa.Column("last_sync", sa.JSON),
    # What `connector finish` found: rows.Finish. None: no label of the model is accepted.
    sa.Column("finish", sa.JSON),
    # The machines whose labels count beside people's: {name: rows.Machine}.
    sa.Column("machines", sa.JSON),
    # How many labels of each machine there were at the latest training: {control: {machine: number}}.
    sa.Column("trained_machines", sa.JSON),
    sa.Column("lock_holder", sa.String(200)),
    sa.Column("lock_until", sa.Float),
)
# Every address at which a project was recognised. `projects.url` is the latest one that a person named at init.
addresses = sa.Table(
    "addresses",
    metadata,
    sa.Column("url", sa.String(500), primary_key=True),
    sa.Column("project_id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("project", sa.ForeignKey("projects.key"), nullable=False, index=True),
)


def _project_column(**extra: Any) -> sa.Column[int]:
    return sa.Column("project", sa.ForeignKey("projects.key"), primary_key=True, **extra)


tasks = sa.Table(
    "tasks",
    metadata,
    _project_column(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("text", sa.Text),
    sa.Column("digest", sa.String(32)),
    # Why there is no text, in words. "": there is one.
    sa.Column("problem", sa.Text, nullable=False, server_default=""),
    sa.Column("is_labeled", sa.Boolean, nullable=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.Column("updated_at", sa.String(40), nullable=False),
)
annotation_rows = sa.Table(
    "annotations",
    metadata,
    _project_column(),
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task", sa.Integer, nullable=False, index=True),
    sa.Column("annotator", sa.Integer, nullable=False),
    sa.Column("label", sa.Text),
    sa.Column("skipped", sa.Boolean, nullable=False),
    sa.Column("ground_truth", sa.Boolean, nullable=False),
    sa.Column("updated_at", sa.String(40), nullable=False),
    sa.Column("unknown", sa.Boolean, nullable=False),
    sa.Column("created_at", sa.String(40), nullable=False),
    sa.Column("lead_time", sa.Float),
    # Why there is no label, or only a part of it, in words. "": nothing is left out.
    sa.Column("problem", sa.Text, nullable=False, server_default=""),
)
# Every task's overlap and is_labeled as init found them. `answers`: how many annotations and skips it had.
originals = sa.Table(
    "originals",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("overlap", sa.Integer, nullable=False),
    sa.Column("is_labeled", sa.Boolean, nullable=False),
    sa.Column("answers", sa.Integer),
)
# Consensus labels that the current model was trained on, of tasks that have the same text since.
trained = sa.Table(
    "trained",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Text, nullable=False),
)
# The published window. `answers`: how many annotations and skips the task had then. One more: its place is used up.
window = sa.Table(
    "window",
    metadata,
    _project_column(),
    sa.Column("rank", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("task", sa.Integer, nullable=False),
    sa.Column("relabel", sa.Boolean, nullable=False),
    sa.Column("answers", sa.Integer, nullable=False, server_default="0"),
    sa.Column("audit", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("gold", sa.Boolean, nullable=False, server_default=sa.false()),
)
# Tasks that were drawn at random for the audit, and have an answer since or are in the window: audit.Drawn.
audits = sa.Table(
    "audits",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("answers", sa.Integer, nullable=False),
    sa.Column("wanted", sa.Integer, nullable=False),
)
# Labelled tasks that were reopened for a second opinion, with what to restore. Written before they are reopened.
reopened = sa.Table(
    "reopened",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("overlap", sa.Integer, nullable=False),
)
# Labels that were published as predictions of a version of their own, as Label Studio has them.
published_labels = sa.Table(
    "published_labels",
    metadata,
    _project_column(),
    sa.Column("version", sa.String(100), primary_key=True),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("quality", sa.Float, nullable=False),
)
# The model's labels that `connector finish` accepted: rows.Accepted.
accepted = sa.Table(
    "accepted",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("label", sa.Text, nullable=False),
    sa.Column("probability", sa.Float, nullable=False),
    sa.Column("digest", sa.String(32), nullable=False),
)
# Labels by machines: the latest prediction of a version on each task, or an answer to `connector label-with`.
machine_labels = sa.Table(
    "machine_labels",
    metadata,
    _project_column(),
    sa.Column("machine", sa.String(100), primary_key=True),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    # None: it cannot be read.
    sa.Column("label", sa.Text),
    # How sure the machine says that it is. None: it does not say.
    sa.Column("score", sa.Float),
    # Of what the task's data showed then.
    sa.Column("digest", sa.String(32), nullable=False),
    # Its id in Label Studio. None: it is not there.
    sa.Column("prediction", sa.Integer),
)
# Labels that annotators saw preselected on a task, from one window to the next.
shown_labels = sa.Table(
    "shown_labels",
    metadata,
    _project_column(),
    sa.Column("task", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("since", sa.String(40), primary_key=True),
    sa.Column("until", sa.String(40)),
    sa.Column("label", sa.Text, nullable=False),
)
# Answers of models to `connector label-with`, by the digest of all that was sent: machine_answers.Answer. No texts.
machine_answers = sa.Table(
    "machine_answers",
    metadata,
    _project_column(),
    sa.Column("key", sa.String(32), primary_key=True),
    # The process that is asking, as the lock names it. None: the answer is there.
    sa.Column("holder", sa.String(200)),
    sa.Column("label", sa.Text),
    # Why there is no label. "": there is one.
    sa.Column("reason", sa.Text, nullable=False),
    sa.Column("score", sa.Float),
    sa.Column("tokens_in", sa.Integer, nullable=False),
    sa.Column("tokens_out", sa.Integer, nullable=False),
    # When it came, or since when it is asked for, in seconds since 1970.
    sa.Column("at", sa.Float, nullable=False),
)
# Media that could not be fetched, by the digest of their address, until they can.
media = sa.Table(
    "media",
    metadata,
    _project_column(),
    sa.Column("digest", sa.String(32), primary_key=True),
    # One of connector.media.CAUSES, and in words.
    sa.Column("cause", sa.String(40), nullable=False),
    sa.Column("problem", sa.Text, nullable=False),
    sa.Column("attempts", sa.Integer, nullable=False),
    # When it was tried last, in seconds since 1970.
    sa.Column("tried_at", sa.Float, nullable=False),
)
# Texts at addresses that tasks have, by the digest of the link that is in the task's content.
linked_texts = sa.Table(
    "linked_texts",
    metadata,
    _project_column(),
    sa.Column("digest", sa.String(32), primary_key=True),
    sa.Column("text", sa.Text, nullable=False),
    sa.Column("text_digest", sa.String(32), nullable=False),
)
rounds = sa.Table(
    "rounds",
    metadata,
    _project_column(),
    sa.Column("round", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("at", sa.String(40), nullable=False),
    sa.Column("summary", sa.JSON, nullable=False),
)
