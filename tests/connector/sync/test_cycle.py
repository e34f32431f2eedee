"""A round that did not come to its end."""

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest
from support.scoring_factory import Model, both_classes, labelled, pulled

from connector.errors import TryAgainLater
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.sync.cycle import SyncOptions, _Cycle
from connector.sync.summary import SyncSummary


def fail(*arguments: Any, **more: Any) -> None:
    raise TryAgainLater("not now")


def failed_round(state: ProjectState, model: Model, options: SyncOptions) -> None:
    """A round on a project whose Label Studio takes no window."""
    project = pulled(*both_classes(20), *(labelled(number) for number in range(21, 30)))
    gateway: Any = SimpleNamespace(retries=SimpleNamespace(call=fail))
    with pytest.raises(TryAgainLater):
        _Cycle(7, gateway, state, options, Reporter()).round(project, [], model)  # type: ignore[arg-type]


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
    summary = _Cycle(7, gateway, state, SyncOptions(dry_run=True), Reporter()).round(tasks, [], model)  # type: ignore[arg-type]
    assert (summary.dry_run, summary.model_version) == (True, "model-1")
    assert (state.record().window_options, state.record().model_version) == (asked, "model-0")


def published_round(state: ProjectState, model: Model, options: SyncOptions) -> tuple[_Cycle, SyncSummary]:
    """A round whose window Label Studio is told to have taken."""
    gateway: Any = None
    cycle = _Cycle(7, gateway, state, options, Reporter())
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(_Cycle, "_publish", lambda cycle, snapshot, scored, window: window)
        patched.setattr("connector.sync.cycle.restore_tab_order", lambda *arguments: False)
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
    assert cycle.is_model_replaced(connect) == (in_training and replaced)
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
        assert not cycle.is_model_replaced(connect)
    assert "does not fine-tune the encoder any more, and has no new model" in caplog.text
    last = state.last_round()
    assert last is not None
    assert not last["model_in_training"]
    assert last["model_version"] == summary.model_version
    assert not cycle.is_model_replaced(fail)  # it is not asked again


def test_a_model_that_was_rolled_back_to_is_taken_at_once_if_no_training_is_wanted(state: ProjectState) -> None:
    model = Model()
    cycle, _ = published_round(state, model, SyncOptions(train="always"))
    model.train("7", ("Polite", "Impolite"), {})  # another one serves now
    never = replace(cycle, options=SyncOptions(train="never"))
    connect: Any = lambda: model  # noqa: E731
    assert never.is_model_replaced(connect)
    _, summary = published_round(state, model, never.options)
    assert summary.model_version == "model-2"
    assert not never.is_model_replaced(connect)
