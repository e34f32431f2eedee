"""`connector doctor` without servers: its output, and the checks that only read what is handed to them."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from support.record_factory import project_record

from connector.active_learning.window import Slot
from connector.annotations.controls.choices import Choices
from connector.annotations.label_config import find_control, find_questions, packaged_label_config
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task
from connector.backend import Backend
from connector.diagnostics import content_checks, queue_checks, server_checks
from connector.diagnostics.doctor import examine, exit_code, format_findings
from connector.diagnostics.finding import Finding, ok, problem, warning
from connector.errors import TryAgainLater, UsageError
from connector.label_studio.client import LabelStudio
from connector.queue.settings import REQUIRED_SETTINGS
from connector.retry import Retries
from connector.settings import Settings
from connector.state.project_state import ProjectState, State
from connector.state.snapshot import ProjectSnapshot

NOW = datetime(2026, 3, 1, 10, tzinfo=timezone.utc)
VERSION = "activelab-20260301-090000-000000"
CONTROL = Choices("politeness", "text", "text", ("Polite", "Impolite"), {"Polite": "Polite", "Impolite": "Impolite"})
SAVED = {
    "id": 7,
    "title": "Requests",
    "skip_queue": "REQUEUE_FOR_OTHERS",
    "model_version": VERSION,
    **REQUIRED_SETTINGS,
}
KNOWN = {"queue_version": VERSION, "queue_size": 5, "model_version": None, "lock_holder": None, "lock_until": None}
NOWHERE = "http://127.0.0.1:9"


# -- what is printed ---------------------------------------------------------------------------------------------------


def test_words_are_a_line_a_check_with_problems_first() -> None:
    found = [
        ok("version", "It is right."),
        warning("texts", "Two tasks have no text.", "Delete them."),
        problem("sampling", "It is wrong.", "Run connector sync."),
        ok("token", "It is yours."),
    ]
    assert format_findings(7, found).splitlines() == [
        "Project 7: 1 problem and 1 warning.",
        "Problem  sampling  It is wrong. Run connector sync.",
        "Warning  texts     Two tasks have no text. Delete them.",
        "Fine     version   It is right.",
        "Fine     token     It is yours.",
    ]
    assert format_findings(7, [*found, found[1], found[2]]).startswith("Project 7: 2 problems and 2 warnings.\n")
    assert format_findings(7, found[:1]).startswith("Project 7: all 1 checks are fine.\n")
    assert format_findings(7, found[:2]).startswith("Project 7: 1 warning.\n")


def test_exit_code_tells_what_somebody_has_to_do() -> None:
    fine, doubt = ok("version", ""), warning("texts", "", "")
    wrong, away = problem("sampling", "", ""), problem("backend", "", "", unavailable=True)
    assert exit_code([fine]) == 0
    assert exit_code([fine, doubt]) == 0
    assert exit_code([fine, doubt, away]) == 3
    assert exit_code([fine, wrong, away]) == 2


def test_a_finding_in_json_has_four_keys() -> None:
    told = problem("backend", "It does not answer.", "Start it.", unavailable=True).to_json()
    assert told == {
        "check": "backend",
        "level": "problem",
        "cause": "It does not answer.",
        "remedy": "Start it.",
    }


# -- the token ---------------------------------------------------------------------------------------------------------


def personal_access_token(ends: datetime) -> str:
    parts = ({"alg": "HS256"}, {"token_type": "refresh", "exp": int(ends.timestamp())})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join([*encoded, "signature"])


def test_a_token_that_ends_soon_is_a_warning() -> None:
    later = server_checks.token(personal_access_token(NOW + timedelta(days=15)), "ann@example.com", NOW)
    assert (later.level, later.cause) == (
        "ok",
        "A personal access token of ann@example.com, valid until 2026-03-16.",
    )
    soon = server_checks.token(personal_access_token(NOW + timedelta(days=13)), "ann@example.com", NOW)
    assert soon.level == "warning"
    assert "2026-03-14" in soon.cause
    assert "Personal Access Token" in soon.remedy


@pytest.mark.parametrize("key", ["0123456789abcdef" * 2 + "01234567", "a.b.c", "a.e30.c", "x." + "é" * 3 + ".y"])
def test_any_other_token_is_a_legacy_one(key: str) -> None:
    found = server_checks.token(key, "ann@example.com", NOW)
    assert (found.level, found.cause) == ("ok", "A legacy token of ann@example.com, valid until it is reset.")


def test_missing_rights_are_named_and_unknown_ones_are_no_fault() -> None:
    held = [name for name in server_checks.NEEDED_RIGHTS if name not in ("tasks.change", "views.view")]
    found = server_checks.rights({"email": "ann@example.com", "permissions": held})
    assert (found.level, found.cause) == ("problem", "ann@example.com lacks tasks.change, views.view in Label Studio.")
    assert (
        server_checks.rights({"email": "ann@example.com", "permissions": [*server_checks.NEEDED_RIGHTS, "more"]}).level
        == "ok"
    )
    assert server_checks.rights({"email": "ann@example.com"}).level == "ok"


# -- settings and the window -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value", "told"),
    [
        ("sampling", "Sequential sampling", "It is 'Sequential sampling' instead of 'Uncertainty sampling'"),
        ("maximum_annotations", 3, "It is 3 instead of 1"),
        ("show_overlap_first", True, "It is on instead of off"),
        ("show_collab_predictions", False, "It is off instead of on"),
    ],
)
def test_each_setting_is_a_check_of_its_own(name: str, value: object, told: str) -> None:
    fine = list(server_checks.settings(SAVED))
    assert [finding.check for finding in fine] == list(REQUIRED_SETTINGS)
    assert {finding.level for finding in fine} == {"ok"}
    wrong = [finding for finding in server_checks.settings({**SAVED, name: value}) if finding.level != "ok"]
    assert [finding.check for finding in wrong] == [name]
    assert wrong[0].cause.startswith(told)
    assert "connector sync --project 7" in wrong[0].remedy


@pytest.mark.parametrize(
    ("served", "versions", "known", "level", "told"),
    [
        (VERSION, {VERSION: 5}, {}, "ok", VERSION),
        ("", {VERSION: 5}, {}, "problem", "is empty"),
        (None, {VERSION: 5}, {}, "problem", "is empty"),
        ("bert-3", {VERSION: 5, "bert-3": 9}, {}, "problem", "'bert-3', not our window"),
        (VERSION, {VERSION: 3}, {}, "problem", "has 3 predictions instead of 5"),
        ("", {}, {}, "problem", "is gone"),
        ("", {}, {"queue_version": None, "queue_size": None}, "problem", "Nothing is published yet"),
        (VERSION, {VERSION: 5}, {"queue_version": None, "queue_size": None}, "warning", "state database knows of none"),
        ("", {}, {"queue_version": "", "queue_size": 0}, "ok", "The window is empty"),
        ("bert-3", {"bert-3": 9}, {"queue_version": "", "queue_size": 0}, "problem", "'bert-3', not our window"),
    ],
)
def test_what_became_of_the_window(
    served: str | None, versions: dict[str, int], known: dict[str, Any], level: str, told: str
) -> None:
    found = server_checks.model_version(
        {**SAVED, "model_version": served}, versions, project_record(**{**KNOWN, **known})
    )
    assert (found.check, found.level) == ("model_version", level)
    assert told in found.cause
    assert ("connector sync --project 7" in found.remedy) == (level != "ok")


# -- members and the backend's address ---------------------------------------------------------------------------------


class Enterprise(LabelStudio):
    """Answers who the members are, or that there is no such call."""

    def __init__(self, *found: str, known: bool = True) -> None:
        self._found = list(found)
        self._known = known

    def members(self, project: int) -> list[str]:
        if not self._known:
            raise UsageError("Label Studio has no such list.")
        return self._found


def test_members_are_asked_of_other_editions_only() -> None:
    people = ["ann@example.com", "ben@example.com"]
    assert server_checks.members(7, "Community", Enterprise(*people)).level == "ok"
    assert server_checks.members(7, "Enterprise", Enterprise(known=False)).level == "ok"
    assert server_checks.members(7, "Enterprise", Enterprise(people[0])).level == "ok"
    found = server_checks.members(7, "Enterprise", Enterprise(*people))
    assert found.level == "problem"
    assert "2 members (ann@example.com, ben@example.com)" in found.cause


def connected(state: str, readable: str, said: str | None = None) -> list[dict[str, Any]]:
    return [{"url": "http://ml:9090/", "state": state, "readable_state": readable, "error_message": said}]


def test_a_backend_that_label_studio_cannot_reach_is_told_with_its_words() -> None:
    assert server_checks.backend_address([], None).level == "ok"
    assert server_checks.backend_address(connected("CO", "Connected"), None).level == "ok"
    gone = server_checks.backend_address(connected("DI", "Disconnected", "an older error"), "http://ml:9090")
    assert gone.level == "warning"
    assert "http://ml:9090/ is Disconnected. The connector reaches it, Label Studio does not." in gone.cause
    assert "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false" in gone.remedy
    failed = server_checks.backend_address(connected("ER", "Error", "500 Server Error"), "http://elsewhere:9090")
    assert "is Error: 500 Server Error." in failed.cause
    assert "The connector reaches it" not in failed.cause


class Serving(Backend):
    """An ML backend with a model of these classes, or none."""

    def __init__(self, *classes: str) -> None:
        super().__init__(NOWHERE)
        self._classes = list(classes)

    def check(self) -> None:
        pass

    def model(self, project: str) -> dict[str, Any] | None:
        return {"model_version": "3", "classes": self._classes} if self._classes else None


def test_a_model_that_is_lost_or_knows_other_classes_is_a_warning() -> None:
    def examined(server: Backend, **known: Any) -> Finding:
        return server_checks.backend(7, lambda: server, Questions((CONTROL,)), project_record(**{**KNOWN, **known}))

    assert examined(Serving()).level == "ok"
    assert examined(Serving("Impolite", "Polite")).level == "ok"
    assert examined(Serving("Impolite", "Polite"), model_version="3").cause == "It answers. Its model is 3."
    rolled_back = examined(Serving("Impolite", "Polite"), model_version="4")
    assert rolled_back.cause == "It answers. Its model is 3. The last window was chosen by 4."
    lost = examined(Serving(), model_version="2")
    assert lost.level == "warning"
    assert "has lost its model (2)" in lost.cause
    other = examined(Serving("Polite", "Rude"))
    assert other.level == "warning"
    assert "knows Polite, Rude, the labelling config has Polite, Impolite" in other.cause
    assert "--train always" in other.remedy
    away = examined(Backend(NOWHERE, retries=Retries(0)))
    assert (away.level, away.unavailable) == ("problem", True)


# -- tasks and answers -------------------------------------------------------------------------------------------------


def row(task: int, who: int, *, skipped: bool = False, minutes: float = 0) -> Annotation:
    at = (NOW + timedelta(minutes=minutes)).isoformat()
    label = None if skipped else "Polite"
    return Annotation(task * 100 + who, task, who, label, skipped, False, at, False, at, 4.0)


def charted(
    tasks: list[Task], *, window: list[Slot] | None = None, rule: str = "REQUEUE_FOR_OTHERS", **changed: Any
) -> queue_checks.WindowSnapshot:
    by_id = {task.id: task for task in tasks}
    pulled = ProjectSnapshot(
        {**SAVED, "skip_queue": rule}, Questions((CONTROL,)), by_id, {}, changed=False, texts=lambda ids: {}
    )
    slots = [Slot(task.id, relabel=False) for task in tasks] if window is None else window
    people = {row.annotator for task in tasks for row in task.annotations}
    given: dict[str, Any] = {"unanswered": {slot.task for slot in slots}, "reopened": set(), "answers": []}
    return queue_checks.WindowSnapshot(
        project_id=7, pulled=pulled, version=VERSION, slots=slots, active=people, **{**given, **changed}
    )


def task(number: int, *rows: Annotation, done: bool = False, overlap: int = 1) -> Task:
    return Task(number, f"Text {number}", done, overlap, NOW.isoformat(), rows)


def test_a_window_with_fewer_places_than_people_is_used_up() -> None:
    people = [task(1, row(1, 1), row(1, 2), row(1, 3), done=True), task(2), task(3), task(4)]
    assert queue_checks.places_left(charted(people, unanswered={2, 3, 4})).level == "ok"
    assert queue_checks.places_left(charted(people, unanswered={2, 3})).level == "ok", "no task is left beyond them"
    window = [Slot(number, relabel=False) for number in (1, 2, 3, 4)]
    used_up = queue_checks.places_left(charted([*people, task(5)], window=window, unanswered={2, 3}))
    assert used_up.level == "warning"
    assert used_up.cause.startswith("2 of the window's 4 places are left for 3 active annotators")
    small = [Slot(4, relabel=False)]
    assert queue_checks.places_left(charted(people, window=small, unanswered={4})).level == "ok", "all that there was"
    assert queue_checks.places_left(charted(people, window=[], unanswered=set())).level == "ok"
    nothing = queue_checks.places_left(charted(people, unanswered=set()))
    assert (nothing.level, nothing.remedy) == (
        "warning",
        "Run connector sync --project 7: if tasks need more labels, it asks for them.",
    )


@pytest.mark.parametrize(
    ("rule", "stuck"), [("REQUEUE_FOR_OTHERS", None), ("REQUEUE_FOR_ME", "wait for"), ("IGNORE_SKIPPED", "count as")]
)
def test_skipped_tasks_are_stuck_by_the_rule(rule: str, stuck: str | None) -> None:
    tasks = [
        task(1, row(1, 1, skipped=True)),
        task(2, row(2, 1, skipped=True), row(2, 2)),
        task(3, row(3, 3)),
        task(4, row(4, 1, skipped=True), row(4, 2, skipped=True)),
        task(5),
    ]
    asked = []

    def emails() -> dict[int, str]:
        asked.append(1)
        return {1: "ann@example.com"}

    found = queue_checks.skip_queue(charted(tasks, rule=rule), "http://ls", emails)
    if stuck is None:
        assert (found.level, asked) == ("ok", [])
        return
    assert found.level == "warning"
    assert f"2 skipped tasks (1, 4) {stuck}" in found.cause
    assert "(ann@example.com, user 2)" in found.cause


def test_open_tasks_that_nobody_asked_for_are_told_from_those_that_are_never_served() -> None:
    tasks = [
        task(1, row(1, 1)),  # open, and its row is as many as are wanted: never served
        task(2, row(2, 1), overlap=2),  # open for one more
        task(3, row(3, 1), overlap=2),  # the same, and asked for
        task(4, row(4, 1), done=True),  # asked for, and closed by somebody
        task(5, row(5, 1), overlap=2),  # reopened by a sync that did not get further
        task(6, row(6, 1, skipped=True)),
    ]
    window = [Slot(3, relabel=True), Slot(4, relabel=True), Slot(6, relabel=False)]
    chart = charted(tasks, window=window, reopened={3, 4, 5})
    stuck = queue_checks.stuck_tasks(chart, "http://ls")
    assert stuck.level == "warning"
    assert "1 labelled task (1) is open and yet never served" in stuck.cause
    assert "1 second opinion (4) of the window cannot be served" in stuck.cause
    unknown = queue_checks.second_opinions(chart, "http://ls")
    assert unknown.level == "warning"
    assert unknown.cause.startswith("1 labelled task (2) is open for one more annotation without")
    healthy = charted(tasks[2:3], window=window[:1], reopened={3})
    assert queue_checks.stuck_tasks(healthy, "http://ls").level == "ok"
    assert queue_checks.second_opinions(healthy, "http://ls").level == "ok"


def test_tasks_that_are_complete_without_an_answer_are_named() -> None:
    skipped = task(4, row(4, 1, skipped=True), done=True)
    chart = charted([task(1), task(2, done=True), task(3, row(3, 1), done=True), skipped])
    found = queue_checks.stuck_tasks(chart, "http://ls")
    assert found.level == "warning"
    assert found.cause == "2 tasks (2, 4) without an answer are marked as complete, so Label Studio never serves them."
    assert found.remedy == (
        'To have them labelled, PATCH http://ls/api/tasks/ID/ with {"is_labeled": false}. '
        "Then run connector sync --project 7."
    )


@pytest.mark.parametrize(
    ("control", "label", "remedy"),
    [
        ('<Rating name="c" toName="t" maxRating="3"/>', "5", "Set maxRating so that the form has these stars again"),
        (
            '<Number name="c" toName="t" min="0" max="3"/>',
            "7",
            "Set min, max and step so that the form has these again",
        ),
    ],
)
def test_an_answer_that_is_gone_has_a_way_back_of_its_kind(control: str, label: str, remedy: str) -> None:
    served = find_control(f'<View><Text name="t" value="$text"/>{control}</View>')
    gone = row(1, 1)._replace(label=None, unknown=True, problem=f"'{label}'")
    pulled = replace(charted([task(1, gone)]).pulled, questions=Questions((served,)))
    found = content_checks.choices(pulled)
    assert found.cause == (
        f"1 annotation has an answer that the labelling config does not have: 101 ('{label}'). It counts as no label."
    )
    assert found.remedy.startswith(remedy)


def test_many_tasks_are_told_by_number_and_the_first_few() -> None:
    tasks = [Task(number, None, False, 1, NOW.isoformat(), problem="it has no 'text'") for number in range(1, 9)]
    found = content_checks.texts(charted(tasks).pulled, "http://ls", lambda ids: ["a b", "body"])
    assert found.cause == "8 tasks have no text and will never be asked for: 1, 2, 3, 4, 5, … (it has no 'text')."
    assert found.remedy == (
        "The tasks have 'a b', 'body'. In Settings, Labeling Interface, let the Text show one of these, such as "
        'value="$body".'
    )


def test_a_project_without_tasks_is_not_fine() -> None:
    found = content_checks.texts(charted([]).pulled, "http://ls", lambda ids: [])
    assert (found.level, found.cause) == ("warning", "The project has no tasks.")
    assert found.remedy == "Import some in Label Studio. Then run connector sync --project 7."


def test_tasks_that_people_have_annotated_are_never_to_be_deleted() -> None:
    at = NOW.isoformat()
    blank = Task(1, None, True, 1, at, (row(1, 1),), problem="'text' is blank")
    skipped = Task(2, None, True, 1, at, (row(2, 1, skipped=True),), problem="'text' is blank")
    found = content_checks.texts(charted([blank, skipped, task(3)]).pulled, "http://ls", lambda ids: [])
    assert "1 task of them has annotations (1)." in found.cause
    assert "Keep the tasks that have annotations" in found.remedy
    assert "elete" not in found.remedy
    found = content_checks.texts(charted([skipped, task(3)]).pulled, "http://ls", lambda ids: [])
    assert "Delete them" in found.remedy
    partial = Task(4, "digest", False, 1, at, (row(4, 1),), problem="it has no 'more'")
    found = content_checks.texts(charted([skipped, partial, task(3)]).pulled, "http://ls", lambda ids: [])
    assert "1 task has only a part of what models read: 4" in found.cause
    assert found.remedy.startswith("Delete those without a text in the Data Manager, or give them a text:")
    assert "Keep those that have a part: they are asked for." in found.remedy


def test_annotations_that_give_no_label_are_named() -> None:
    assert content_checks.answers(charted([task(1)]).pulled, "http://ls").cause == "There are no annotations yet."
    labels = [task(number, row(number, 1)) for number in (1, 2)]
    good = content_checks.answers(charted(labels).pulled, "http://ls")
    assert (good.level, good.cause) == ("ok", "2 of 2 annotations give a label.")
    silent = row(3, 1)._replace(label=None)
    some = content_checks.answers(charted([*labels, task(3, silent)]).pulled, "http://ls")
    assert some.level == "ok"
    broken = [task(3, silent), task(4, silent._replace(id=4, task=4, problem="its value is null"))]
    found = content_checks.answers(charted(broken).pulled, "http://ls")
    assert found.level == "warning"
    assert found.cause.startswith("0 of 2 annotations give a label. 1 annotation has an answer that cannot be read: ")
    assert found.cause.endswith(" (its value is null). 1 annotation has no answer in 'politeness': 301.")
    assert "http://ls/projects/7/data?task=" in found.remedy
    blank = content_checks.answers(charted([labels[0], *(task(n, silent._replace(id=n)) for n in (5, 6))]).pulled, "x")
    assert blank.level == "warning"


REGION = {"from_name": "politeness", "to_name": "text", "type": "choices"}


@pytest.mark.parametrize(
    ("region", "call"),
    [
        ({**REGION, "value": None}, "DELETE"),
        (REGION, "DELETE"),
        ({**REGION, "value": "Polite"}, "DELETE"),
        ({**REGION, "value": ["Polite"]}, "DELETE"),
        ({**REGION, "value": 5}, "DELETE"),
        ({**REGION, "type": 5, "value": {"choices": ["Polite"]}}, "DELETE"),
        (None, "DELETE"),
        ("Polite", "DELETE"),
        ({**REGION, "value": {}}, "PATCH"),
        ({**REGION, "value": {"choices": 5}}, "PATCH"),
        ({**REGION, "value": {"choices": ["Polite", None]}}, "PATCH"),
        ({**REGION, "value": {"choices": ["Polite", "Impolite"]}}, "PATCH"),
    ],
)
def test_only_calls_that_label_studio_takes_are_advised(region: Any, call: str) -> None:
    """As a Label Studio 1.23.2 answered them."""
    problem = find_control(packaged_label_config()).read([region]).problem
    number = task(1, row(1, 1)._replace(label=None, problem=problem))
    remedy = content_checks.answers(charted([number]).pulled, "http://ls").remedy
    assert f"Or {call} http://ls/api/annotations/101/" in remedy


def last_sync(last: dict[str, Any] | None, *minutes: float, unavailable: bool = False, **known: Any) -> Finding:
    tasks = [task(number, row(number, 1, minutes=at)) for number, at in enumerate(minutes, start=1)]
    return queue_checks.last_sync(7, project_record(**{**KNOWN, "last_sync": last, **known}), tasks, NOW, unavailable)


def test_last_sync_is_judged_by_its_end_and_by_what_came_since() -> None:
    def ended(minutes: float, result: str = "published", error: str | None = None) -> dict[str, Any]:
        return {"at": (NOW - timedelta(minutes=minutes)).isoformat(), "result": result, "error": error}

    assert last_sync(None).cause == "No sync has run yet."
    assert last_sync(ended(59), -58).level == "ok"
    assert last_sync(ended(600), -601).level == "ok", "nothing came since"
    late = last_sync(ended(61), -60, -58, -62)
    assert late.level == "warning"
    assert "2026-03-01 08:59 UTC, and 2 annotations have come since" in late.cause
    failed = last_sync(ended(1, "failed", "The ML backend is down."))
    assert (failed.level, failed.unavailable) == ("problem", False)
    assert "The ML backend is down." in failed.cause
    assert last_sync(ended(1, "failed", "Down."), unavailable=True).unavailable

    until = NOW.timestamp() + 60
    assert (
        "A process holds the project now (host:12)"
        in last_sync(None, lock_holder="host:12:ab34", lock_until=until).cause
    )
    assert last_sync(None, lock_holder="host:12:ab34", lock_until=until - 61).cause == "No sync has run yet."


# -- a server that is away ---------------------------------------------------------------------------------------------


@pytest.fixture
def state(tmp_path: Path) -> Iterator[ProjectState]:
    database = State(f"sqlite:///{tmp_path}/state.sqlite")
    yield database.project("http://ls", 7)
    database.close()


class Away(LabelStudio):
    """Answers `calls` times and then no more."""

    def __init__(self, calls: int) -> None:
        self.url = "http://ls"
        self.retries = Retries(0)
        self._left = calls

    def _call(self, method: str, path: str, **request: Any) -> Any:
        if self._left == 0:
            raise TryAgainLater("Label Studio at http://ls does not answer.")
        self._left -= 1
        answers: dict[str, Any] = {
            "api/version/": {"release": "1.23.2", "edition": "Community"},
            "api/current-user/whoami": {"email": "ann@example.com"},
            "api/projects/7/": {**SAVED, "label_config": "<View/>", "task_number": 0},
            "api/ml/": [],
        }
        return answers[path]


@pytest.mark.parametrize(
    ("calls", "checked"),
    [(0, []), (1, []), (2, ["version", "token", "rights"]), (3, ["version", "token", "rights", "project"])],
)
def test_label_studio_away_ends_what_depends_on_it_with_one_problem(
    calls: int, checked: list[str], state: ProjectState
) -> None:
    given = {"LABEL_STUDIO_URL": "http://ls", "LABEL_STUDIO_API_KEY": "0" * 40, "ML_BACKEND_URL": NOWHERE}
    state.put(adopted_at=NOW.isoformat())
    found = examine(7, Away(calls), state, Settings(**given), lambda: NOW)
    assert [finding.check for finding in found] == ["label_studio", *checked, "backend", "last_sync"]
    assert {finding.check for finding in found if finding.level != "ok"} == {"label_studio", "backend"}
    assert exit_code(found) == 3


TREE = (
    '<View><Text name="t" value="$text"/><Taxonomy name="tree" toName="t" leafsOnly="true" maxUsages="1">'
    '<Choice value="A"><Choice value="B"/><Choice value="C"/></Choice></Taxonomy>'
    '<Rating name="stars" toName="t" maxRating="3"/></View>'
)


def unknown_answers(*results: list[dict[str, Any]]) -> Finding:
    questions = find_questions(TREE)
    rows = []
    for number, result in enumerate(results, start=1):
        read = questions.read(result)
        rows.append(Annotation(number, 1, number, read.label, False, False, "", read.unknown, problem=read.problem))
    tasks = {1: Task(1, "d", True, 1, "", tuple(rows))}
    return content_checks.choices(ProjectSnapshot({"id": 7}, questions, tasks, {}, False, lambda ids: {}))


def region(name: str, kind: str, answer: object) -> dict[str, Any]:
    return {"from_name": name, "to_name": "t", "type": kind, "value": {kind: answer}}


def test_a_choice_that_only_its_leaves_replace_has_a_way_back_of_its_own() -> None:
    found = unknown_answers([region("tree", "taxonomy", [["A"]])])
    assert found.cause == (
        "1 annotation has an answer that cannot be chosen any more: 1 (tree: 'A'). It counts as no label."
    )
    assert found.remedy.startswith(
        "A choice that has others inside cannot be chosen any more, since the tag has leafsOnly"
    )
    assert "alias" not in found.remedy
    both = unknown_answers([region("tree", "taxonomy", [["A"]])], [region("tree", "taxonomy", [["D"]])])
    assert "the labelling config does not have" in both.cause
    assert "leafsOnly" in both.remedy
    assert "alias" in both.remedy


def test_ways_back_are_those_of_the_questions_with_unknown_answers() -> None:
    found = unknown_answers([region("tree", "taxonomy", [["A", "B"]]), region("stars", "rating", 5)])
    assert found.remedy.startswith("Set maxRating so that the form has these stars again")
    assert "alias" not in found.remedy
