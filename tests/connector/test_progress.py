"""What is shown while a command works: lines in a log, a bar to a person, and the seconds of each stage."""

import io
import logging

import pytest
from rich.console import Console

from connector.progress import Reporter


def console(*, terminal: bool) -> tuple[Console, io.StringIO]:
    shown = io.StringIO()
    return Console(file=shown, force_terminal=terminal, width=100, color_system=None, _environ={}), shown


def test_off_a_terminal_each_stage_is_one_plain_line(caplog: pytest.LogCaptureFixture) -> None:
    where, shown = console(terminal=False)
    with caplog.at_level(logging.INFO, "connector"), Reporter(where).stage("pull", "Reading tasks") as stage:
        for done in range(1, 101):
            stage.count(done, 100)
        stage.share("fitting", 0.5)
    assert [record.message for record in caplog.records] == ["Reading tasks"]
    assert shown.getvalue() == ""


@pytest.mark.parametrize("terminal", [True, False])
def test_a_sentence_goes_to_whoever_watches(terminal: bool, caplog: pytest.LogCaptureFixture) -> None:
    where, shown = console(terminal=terminal)
    with caplog.at_level(logging.INFO, "connector"):
        Reporter(where).say("Somebody had changed [sampling].")
    told = shown.getvalue().splitlines() if terminal else [record.message for record in caplog.records]
    assert told == ["Somebody had changed [sampling]."]


def test_on_a_terminal_there_is_a_bar_and_no_line(caplog: pytest.LogCaptureFixture) -> None:
    where, shown = console(terminal=True)
    with caplog.at_level(logging.INFO, "connector"), Reporter(where).stage("pull", "Reading tasks") as stage:
        stage.count(40, 100)
    assert "Reading tasks" in shown.getvalue()
    assert "40 of 100" in shown.getvalue()
    assert "━" in shown.getvalue()
    assert caplog.records == []


def test_a_share_shows_what_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    where, shown = console(terminal=True)
    with Reporter(where).stage("train", "Training on 20 labels") as stage:
        stage.share("fold 2 of 3", 0.66)
    assert "fold 2 of 3" in shown.getvalue()


def test_a_bar_that_was_never_told_how_far_it_is_does_no_harm() -> None:
    where, shown = console(terminal=True)
    with Reporter(where).stage("score", "Scoring"):
        pass
    assert "Scoring" in shown.getvalue()


def test_nothing_goes_to_standard_output(capfd: pytest.CaptureFixture[str]) -> None:
    with Reporter().stage("pull", "Reading tasks") as stage:
        stage.count(1, 2)
    assert capfd.readouterr().out == ""


def test_seconds_are_kept_by_stage_and_add_up() -> None:
    where, _ = console(terminal=False)
    reporter = Reporter(where)
    for name in ("pull", "train", "pull"):
        with reporter.stage(name, "Working"):
            pass
    assert list(reporter.seconds) == ["pull", "train"]
    assert all(0 <= seconds < 5 for seconds in reporter.seconds.values())


@pytest.mark.parametrize("terminal", [True, False])
def test_a_stage_that_fails_is_measured_and_its_error_goes_on(terminal: bool) -> None:
    where, _ = console(terminal=terminal)
    reporter = Reporter(where)
    with pytest.raises(RuntimeError, match="stop"), reporter.stage("pull", "Reading"):
        raise RuntimeError("stop")
    assert "pull" in reporter.seconds


def test_what_is_said_can_name_its_project_and_leave_out_the_stages(caplog: pytest.LogCaptureFixture) -> None:
    where, _ = console(terminal=False)
    with caplog.at_level(logging.INFO, "connector"):
        for quiet in (False, True):
            reporter = Reporter(where, about="Project 7: ", quiet=quiet)
            with reporter.stage("pull", "Reading tasks"):
                reporter.say("Somebody had changed it.")
            assert reporter.seconds.keys() == {"pull"}
    told = [record.message for record in caplog.records]
    assert told == ["Project 7: Reading tasks", *["Project 7: Somebody had changed it."] * 2]


@pytest.mark.parametrize("terminal", [True, False])
@pytest.mark.parametrize("left", [0, 1, 2])
def test_work_ends_where_the_checkpoint_says_so(terminal: bool, left: int) -> None:
    passed = []

    def checkpoint() -> None:
        if len(passed) == left:
            raise KeyboardInterrupt
        passed.append(1)

    reporter = Reporter(console(terminal=terminal)[0], quiet=True, checkpoint=checkpoint)

    def work() -> None:
        with reporter.stage("train", "Training") as stage:
            stage.count(1, 2)
            stage.share("fitting", 0.5)
            pytest.fail("went on")

    with pytest.raises(KeyboardInterrupt):
        work()
    assert len(passed) == left
