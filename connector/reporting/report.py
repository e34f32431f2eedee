"""`connector report`: the progress of a project as one page. Label Studio and the state are only read."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from connector.active_learning.window import Slot
from connector.annotations.form.regions import quoted
from connector.annotations.questions import Questions
from connector.backend import Backend
from connector.errors import UsageError
from connector.formatting import count, now_here
from connector.label_studio.client import LabelStudio
from connector.progress import Reporter
from connector.reporting.atomic_output import (
    check_file,
    check_writable,
    replace,
    resolve_output,
    staging_directory,
    translate_os_errors,
)
from connector.reporting.content import AnnotatorsSection, ConsensusSection, Content, Question
from connector.reporting.no_model import suggest_no_model
from connector.reporting.numbers import NO_BREAK
from connector.reporting.report_data import NAME_LENGTH, ReportData, shorten
from connector.reporting.section_annotators import annotators_section
from connector.reporting.section_head import head_section
from connector.reporting.section_labels import class_counts, consensus_section, pace_section
from connector.reporting.section_learning_curve import Replay, curve_section, read_replay
from connector.reporting.section_window import window_section
from connector.state.project_state import ProjectState
from connector.state.pull import read_snapshot
from connector.state.snapshot import ProjectSnapshot
from connector.sync.accepted import accepted_words, still_accepted, without_label
from connector.sync.review import reviews

if TYPE_CHECKING:
    from connector.reporting.thumbnails import Thumbnails


def report(
    project_id: int,
    gateway: LabelStudio,
    backend: Backend | None,
    state: ProjectState,
    out: Path,
    reporter: Reporter,
    draw: Callable[[Content], str],
    *,
    scorer: str = "activelab",
    simulated: Path | None = None,
    target: float | None = None,
    media_hosts: Collection[str] = (),
    clock: Callable[[], datetime] = now_here,
) -> dict[str, Any]:
    """Writes the project's report to `out` and returns counts, the object that `--json` prints.

    It takes no lock. `out` is replaced as a whole or left as it was.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio.
        backend: the ML backend. Without it, consensus labels are majority votes and the model is left out.
        state: the project's rows of the state database.
        out: the HTML file.
        reporter: shows the progress.
        draw: makes HTML of the content.
        scorer: a key of SCORERS.
        simulated: the folder that `connector simulate` has written, for the learning curve.
        target: the share of the labels that are to be right, for which the page tells what it takes.
        media_hosts: private hosts from which media may be fetched.
        clock: gives an aware datetime, in whose time zone a day begins.

    Raises:
        UsageError: the project is not set up, `simulated` has no replay of it, or `out` cannot be written.
        TryAgainLater: a server is unavailable or the disk is full.
    """
    state.require_initialized()
    replay = None if simulated is None else read_replay(simulated, project_id)
    with translate_os_errors(out):
        file = resolve_output(out)
        check_file(out, "a report")
        check_writable(file, out)
    if backend is not None:
        with suggest_no_model("report"):
            backend.check()  # reading Label Studio takes minutes if there are many tasks, so ask the backend first
    with staging_directory(file, out, "report") as folder:
        with reporter.stage("read", "Reading the project in Label Studio") as stage:
            pulled = read_snapshot(project_id, gateway, state, stage.count)
        _require_question(replay, pulled.questions)
        with suggest_no_model("report"):
            reviewed, joined = reviews(pulled, backend, reporter, state, scorer)
        with (
            reporter.stage("report", f"Writing a report on {count(len(pulled.tasks), 'task')} to {out}"),
            _thumbnails(pulled, gateway, media_hosts) as thumbnails,
        ):
            content = build_content(
                ReportData.of(pulled, reviewed, joined, gateway.emails(), state.record(), state.rounds(), thumbnails),
                state.window(),
                state.answers_at_publishing(),
                label_studio=gateway.url,
                now=clock(),
                replay=replay,
                asked_model=backend is not None,
                target=target,
                accepted=_accepted(pulled, state),
            )
            # A lone surrogate has no UTF-8 form. It becomes a question mark, as in the mirror.
            html = draw(content).encode("utf-8", errors="replace")
            with translate_os_errors(out):
                (folder / "new").write_bytes(html)
                replace(file, folder / "new")
    return {
        "project": project_id,
        "out": str(out),
        "tasks": content.head.tasks,
        "annotations": content.head.labels,
        "suspects": sum(len(one.consensus.suspects) + one.consensus.suspects_left_out for one in content.of_questions),
        "ambiguous": sum(
            len(one.consensus.disputed or ()) + one.consensus.disputed_left_out for one in content.of_questions
        ),
        "alpha": content.people.alpha,
        **(
            {"questions": [{"control": one.name, "alpha": one.content.people.alpha} for one in content.questions]}
            if content.questions
            else {}
        ),
        "bytes": len(html),
        "model_version": content.head.model_version,
    }


@contextlib.contextmanager
def _thumbnails(
    pulled: ProjectSnapshot, gateway: LabelStudio, media_hosts: Collection[str]
) -> Iterator[Thumbnails | None]:
    """What makes small pictures of the tasks. None: they have texts alone."""
    if not pulled.questions.has_media:
        yield None
        return
    from connector.reporting.thumbnails import Thumbnails
    from connector.sync.media import open_fetcher

    with open_fetcher(gateway, media_hosts) as fetcher:
        yield Thumbnails(fetcher)


def _accepted(pulled: ProjectSnapshot, state: ProjectState) -> str:
    done = state.record().finish
    if done is None:
        return ""
    labels = len(still_accepted(pulled, state.accepted()))
    words = accepted_words(labels, without_label(pulled) - labels, done["max_error"], done["bound"])
    return f"Accepted is {words}.".replace(" %", f"{NO_BREAK}%")


def _require_question(replay: Replay | None, questions: Questions) -> None:
    """Raises UsageError if a replay is about none of several questions."""
    if replay is None or not questions.several or replay.control in questions.names:
        return
    of = f"of the question {quoted(replay.control)}" if replay.control else "of no question of this project"
    controls = " or ".join(f"--control {shlex.quote(name)}" for name in questions.names)
    raise UsageError(
        f"--simulated is a replay {of}. The project has several: make one with connector simulate and {controls}."
    )


def format_report_result(result: Mapping[str, Any]) -> str:
    """What `report` returned, as a sentence."""
    labels = count(result["annotations"], "label")
    return f"Wrote a report on {count(result['tasks'], 'task')} with {labels} to {result['out']}."


def build_content(
    data: ReportData,
    window: Sequence[Slot],
    answers: Mapping[int, int],
    *,
    label_studio: str,
    now: datetime,
    replay: Replay | None = None,
    asked_model: bool = True,
    target: float | None = None,
    accepted: str = "",
    question: str = "",
) -> Content:
    """Everything that the page shows.

    Args:
        data: the project.
        window: the published window.
        answers: {task: number of answers when the window was published}.
        label_studio: Label Studio's address.
        now: an aware datetime, in whose time zone a day begins.
        replay: the replay of this project, if there is one.
        asked_model: whether the ML backend was asked.
        target: the share of the labels that are to be right.
        accepted: sentences on accepted labels of the model.
        question: of several questions, the one that it is about.
    """
    questions = [
        Question(
            shorten(part.control.name, NAME_LENGTH),
            build_content(
                part,
                (),
                {},
                label_studio=label_studio,
                now=now,
                replay=replay if replay is not None and replay.control == part.control.name else None,
                asked_model=asked_model,
                target=target,
                question=part.control.name,
            ),
        )
        for part in data.parts
    ]
    classes, classes_left_out = ([], 0) if questions else class_counts(data)
    return Content(
        head=head_section(data, label_studio, now, asked_model=asked_model, target=target, accepted=accepted),
        curve=curve_section(
            data.rounds,
            replay,
            data.pulled.project["id"],
            multiple=any(control.multiple for control in data.pulled.questions.controls),
            replayable=data.replayable,
            question=question,
        ),
        window=window_section(data, window, answers),
        consensus=ConsensusSection([], [], 0) if questions else consensus_section(data),
        people=AnnotatorsSection([], 0, [], 0, None, "") if questions else annotators_section(data),
        classes=classes,
        classes_left_out=classes_left_out,
        pace=pace_section(data, now),
        questions=questions,
    )
