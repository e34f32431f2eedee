"""Rounds that did not come to their end, and what a sync records and says."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from support.scoring_factory import Model, both_classes, labelled, pulled
from support.simulated_label_studio import Studio

from connector.errors import TryAgainLater, UsageError
from connector.progress import Reporter
from connector.queue.publish import Published
from connector.state.project_state import ProjectState, State
from connector.sync.cycle import Cycle, sync
from connector.sync.options import SyncOptions
from connector.sync.publishing import MANY_TASKS, Publishing
from connector.sync.summary import SyncSummary


def fail(*arguments: Any, **more: Any) -> None:
    raise TryAgainLater("not now")


def failed_round(state: ProjectState, model: Model, options: SyncOptions) -> None:
    """A round on a project whose Label Studio takes no window."""
    project = pulled(*both_classes(20), *(labelled(number) for number in range(21, 30)))
    gateway: Any = SimpleNamespace(retries=SimpleNamespace(call=fail))
    with pytest.raises(TryAgainLater):
        Cycle(7, gateway, state, options, Reporter()).round(project, [], model)  # type: ignore[arg-type]


def test_a_project_whose_undo_was_interrupted_is_left_alone(tmp_path: Path) -> None:
    database = State(f"sqlite:///{tmp_path / 'state.sqlite'}")
    state = database.project("http://studio", 7)
    last = {"at": "2026-03-01T10:00:00+00:00", "result": "published", "error": None}
    state.put(adopted_at="2026-03-01", found={"undo_began": "2026-03-02"}, last_sync=last)
    studio: Any = Studio()
    with pytest.raises(UsageError, match="An undo was interrupted: run connector undo --project 7 again") as refused:
        sync(7, studio, fail, state, SyncOptions(), Reporter())  # type: ignore[arg-type]
    assert refused.value.exit_code == 2
    assert studio.calls == []
    assert state.record().last_sync == last
    database.close()


@pytest.mark.parametrize("at", ["training", "publishing"])
def test_a_round_that_fails_is_due_again_though_nothing_has_changed(state: ProjectState, at: str) -> None:
    options, model = SyncOptions(train="always"), Model()
    asked = options.window_fingerprint("REQUEUE_FOR_OTHERS")
    state.put(window_options=asked)
    if at == "training":
        model.failure = TryAgainLater("not now")
    failed_round(state, model, options)
    assert len(model.trainings) == (at == "publishing")
    assert state.record().window_options == {"skip_queue": "REQUEUE_FOR_OTHERS"}


def test_a_dry_run_leaves_the_window_and_the_model_as_they_were(state: ProjectState) -> None:
    model, tasks = Model(), pulled(*both_classes(20), labelled(21))
    asked = SyncOptions().window_fingerprint("REQUEUE_FOR_OTHERS")
    state.put(window_options=asked, model_version="model-0")
    model.put_items("7", [1], [""], lambda ids: {1: "Text 1"})
    model.train("7", tasks.control.classes, {})  # by someone else
    gateway: Any = None
    summary = Cycle(7, gateway, state, SyncOptions(dry_run=True), Reporter()).round(tasks, [], model)  # type: ignore[arg-type]
    assert (summary.dry_run, summary.model_version) == (True, "model-1")
    assert (state.record().window_options, state.record().model_version) == (asked, "model-0")


def published_round(state: ProjectState, model: Model, options: SyncOptions) -> tuple[Cycle, SyncSummary]:
    """A round whose window Label Studio is told to have taken."""
    gateway: Any = None
    cycle = Cycle(7, gateway, state, options, Reporter())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Publishing, "publish", lambda publishing, snapshot, scored, window: window)
        patched.setattr("connector.sync.cycle.update_tabs", lambda *arguments: False)
        return cycle, cycle.round(pulled(*both_classes(20), labelled(21)), [], model)  # type: ignore[arg-type]


@pytest.mark.parametrize("in_training", [False, True])
@pytest.mark.parametrize("replaced", [False, True])
def test_the_backend_is_asked_for_another_model_only_if_it_went_on_training(
    state: ProjectState, in_training: bool, replaced: bool
) -> None:
    model = Model()
    model.in_training = in_training
    cycle, summary = published_round(state, model, SyncOptions(train="always"))
    assert summary.model.model_in_training == in_training
    assert (summary.model.model_embedding, summary.model_version) == ("frozen", "model-1")
    if replaced:
        model.train("7", ("Polite", "Impolite"), {})
    asked = []
    connect: Any = lambda: asked.append(1) or model  # noqa: E731
    assert cycle.is_model_replaced(pulled(), connect) == (in_training and replaced)
    assert bool(asked) == in_training


def test_that_the_fine_tuning_was_stopped_is_told_once(
    state: ProjectState, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Model()
    model.in_training = True
    cycle, summary = published_round(state, model, SyncOptions(train="always"))
    model.in_training = False  # and no new model
    connect: Any = lambda: model  # noqa: E731
    with caplog.at_level("INFO", "connector"):
        assert not cycle.is_model_replaced(pulled(), connect)
    assert "does not fine-tune the encoder any more, and has no new model" in caplog.text
    last = state.last_round()
    assert last is not None
    assert not last["model_in_training"]
    assert last["model_version"] == summary.model_version
    assert not cycle.is_model_replaced(pulled(), fail)  # it is not asked again


def test_a_model_that_was_rolled_back_to_is_taken_at_once_if_no_training_is_wanted(state: ProjectState) -> None:
    model = Model()
    cycle, _ = published_round(state, model, SyncOptions(train="always"))
    model.train("7", ("Polite", "Impolite"), {})  # another one serves now
    never = replace(cycle, options=SyncOptions(train="never"))
    connect: Any = lambda: model  # noqa: E731
    assert never.is_model_replaced(pulled(), connect)
    _, summary = published_round(state, model, never.options)
    assert summary.model_version == "model-2"
    assert not never.is_model_replaced(pulled(), connect)


@pytest.mark.parametrize(
    ("seconds", "tasks", "told"),
    [(13.0, MANY_TASKS, True), (13.0, MANY_TASKS - 1, False), (9.0, MANY_TASKS, False)],
    ids=["slow", "few tasks", "quick"],
)
def test_a_slow_import_is_explained_only_in_a_project_of_many_tasks(
    state: ProjectState, caplog: pytest.LogCaptureFixture, seconds: float, tasks: int, told: bool
) -> None:
    caplog.set_level("INFO", "connector")
    project = pulled(*both_classes(2))
    project = replace(project, tasks=dict.fromkeys(range(1, tasks + 1), project.tasks[1]))
    published = Published("activelab-1", [], raced=0, import_seconds=seconds)
    gateway: Any = None
    scored: Any = None
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("connector.sync.publishing.publish", lambda *arguments, **more: published)
        Publishing(7, gateway, state, SyncOptions(), Reporter()).publish(project, scored, [])
    assert ("it can be much faster if Label Studio is started with" in caplog.text) == told
    assert ("to import the window" in caplog.text) == told


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_sync_that_may_not_ask_for_the_number_for_every_task_is_recorded_as_failed(
    adopted_state: ProjectState, dry_run: bool
) -> None:
    adopted_state.put(min_annotations_per_task=6)
    studio: Any = Studio()
    with pytest.raises(UsageError, match=r"--max-annotations-per-task is 5: give at least 6\.") as failed:
        sync(7, studio, fail, adopted_state, SyncOptions(dry_run=dry_run, max_annotations_per_task=5), Reporter())
    assert failed.value.exit_code == 2
    assert not studio.read_everything()
    last = adopted_state.record().last_sync or {"result": None, "error": None}
    assert (last["result"], last["error"]) == ((None, None) if dry_run else ("failed", str(failed.value)))


def test_a_task_may_get_as_many_annotations_as_every_task_is_to_have() -> None:
    assert SyncOptions().most_annotations(1) == 5
    assert SyncOptions().most_annotations(7) == 7
    assert SyncOptions(max_annotations_per_task=3).most_annotations(7) == 3


def test_a_sync_that_may_train_follows_one_that_may_not() -> None:
    never, auto = (SyncOptions(train=train).window_fingerprint("REQUEUE_FOR_OTHERS") for train in ("never", "auto"))  # type: ignore[arg-type]
    assert never != auto


def test_another_cost_asks_for_another_window_and_the_default_for_the_former_one() -> None:
    plain, timed = (SyncOptions(cost=cost).window_fingerprint("REQUEUE_FOR_OTHERS") for cost in ("labels", "time"))  # type: ignore[arg-type]
    assert plain == SyncOptions().window_fingerprint("REQUEUE_FOR_OTHERS")
    assert "cost" not in plain
    assert timed == {**plain, "cost": "time"}
    assert SyncOptions.of_round({"options": timed}, 1).cost == "time"
    assert SyncOptions.of_round({"options": plain}, 1).cost == "labels"


def test_a_lost_model_is_told_and_not_forgotten(state: ProjectState, caplog: pytest.LogCaptureFixture) -> None:
    _, summary = published_round(state, Model(), SyncOptions(train="always"))
    with caplog.at_level("INFO", "connector"):
        _, after = published_round(
            state, Model(), SyncOptions(train="never", strategy="random")
        )  # another ML backend, without a model
    assert f"has lost the project's model ({summary.model_version})" in caplog.text
    assert after.model_version is None
    assert state.record().model_version == summary.model_version


@pytest.mark.parametrize("train", ["auto", "never"])
def test_a_model_that_was_lost_while_it_went_on_training_is_told_and_trained_anew(
    state: ProjectState, caplog: pytest.LogCaptureFixture, train: str
) -> None:
    model = Model()
    model.in_training = True
    cycle, summary = published_round(state, model, SyncOptions(train="always"))
    again: Any = replace(cycle, options=SyncOptions(train=train))  # type: ignore[arg-type]
    empty: Any = lambda: Model()  # noqa: E731
    for _ in range(2):
        caplog.clear()
        with caplog.at_level("INFO", "connector"):
            assert again.is_model_replaced(pulled(), empty) == (train == "auto")
        assert f"has lost the project's model ({summary.model_version})" in caplog.text
