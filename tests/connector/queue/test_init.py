"""Taking a project over, against a server played in memory; and making one from a file of texts."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

import pytest
from support import ROOT

from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.queue.import_tasks import create
from connector.queue.init import format_init, initialize
from connector.queue.views import DISCUSS_TAB, QUEUE_TAB, SECOND_OPINIONS_TAB, TAB_TITLES, tab_definition
from connector.state.project_state import Original, ProjectState, State

CONFIG = (ROOT / "label_config.xml").read_text(encoding="utf-8")
READY = {
    "sampling": "Uncertainty sampling",
    "maximum_annotations": 1,
    "show_collab_predictions": True,
    "show_overlap_first": False,
}


class Server:
    """A project of six tasks in three pages; `writes` is all that was changed in it."""

    def __init__(self, *, data: dict[str, Any] | None = None, **settings: Any) -> None:
        self.data = data or {"text": "Text"}
        self.project = {
            "id": 7,
            "title": "Requests",
            "label_config": CONFIG,
            "model_version": "",
            "overlap_cohort_percentage": 100,
            "skip_queue": "REQUEUE_FOR_OTHERS",
            "sampling": "Sequential sampling",
            "maximum_annotations": 1,
            "show_collab_predictions": False,
            "show_overlap_first": False,
            **settings,
        }
        self.overlaps = {number: number % 3 + 1 for number in range(1, 7)}
        self.fail_on_page = 0
        self.views: list[dict[str, Any]] = []
        self.deleted_tabs = 0
        self.connected: list[dict[str, Any]] = []
        self.refusal: ConnectorError | None = None
        self.made: list[tuple[str, str]] = []
        self.imported: list[dict[str, Any]] = []
        self.deleted: list[int] = []
        self.away = False
        self.writes: list[Any] = []
        self.versions: dict[str, int] = {}
        self.server_time = datetime(2026, 3, 1, 12, tzinfo=timezone.utc)

    @contextlib.contextmanager
    def guard_writes(self, check: Callable[[], None]) -> Iterator[None]:
        self.check = check
        yield
        del self.check

    def get_project(self, project: int) -> dict[str, Any]:
        return dict(self.project)

    def tasks(self, project: int, **how: Any) -> Iterator[list[dict[str, Any]]]:
        for page in (1, 2, 3):
            if page == self.fail_on_page:
                raise TryAgainLater("Label Studio does not answer.")
            yield [
                {
                    "id": number,
                    "data": self.data,
                    "is_labeled": number % 2 == 0,
                    "overlap": self.overlaps[number],
                    "updated_at": "2026-03-01T10:00:00.000000Z",
                    "annotations": [],
                }
                for number in (2 * page - 1, 2 * page)
            ]

    def tasks_by_id(self, project: int, ids: list[int]) -> Iterator[dict[str, Any]]:
        yield from (raw for page in self.tasks(project) for raw in page if raw["id"] in ids)

    def update_project(self, project: int, **settings: Any) -> dict[str, Any]:
        self.check()
        self.writes.append(settings)
        self.project.update(settings)
        if "maximum_annotations" in settings:
            self.overlaps = dict.fromkeys(self.overlaps, settings["maximum_annotations"])
        return dict(self.project)

    def tabs(self, project: int) -> list[dict[str, Any]]:
        return self.views

    def columns(self, project: int) -> list[dict[str, Any]]:
        return [{"id": "text", "parent": "data", "target": "tasks"}, {"id": "id", "target": "tasks"}]

    def create_tab(self, project: int, data: dict[str, Any]) -> dict[str, Any]:
        self.check()
        self.writes.append("tab")
        self.views.append({"id": 30 + len(self.views) + self.deleted_tabs, "data": data})
        return self.views[-1]

    def delete_tab(self, tab: int) -> None:
        self.views = [view for view in self.views if view["id"] != tab]
        self.deleted_tabs += 1

    def backends(self, project: int) -> list[dict[str, Any]]:
        return self.connected

    def model_versions(self, project: int) -> dict[str, int]:
        return self.versions

    def webhooks(self, project: int) -> list[dict[str, Any]]:
        return []

    def connect_backend(self, project: int, url: str, title: str) -> dict[str, Any]:
        if self.refusal is not None:
            raise self.refusal
        self.check()
        self.writes.append("backend")
        self.connected.append({"id": 50, "url": f"{url}/", "title": title})
        self.project["model_version"] = self.project["model_version"] or title  # as Label Studio does
        return self.connected[-1]

    def create_project(self, title: str, label_config: str) -> dict[str, Any]:
        self.made.append((title, label_config))
        return {"id": 8}

    def import_tasks(self, project: int, data: list[dict[str, Any]]) -> None:
        assert project == 8
        self.imported += data
        if self.refusal is not None:
            raise self.refusal

    def delete_project(self, project: int) -> None:
        if self.away:
            raise TryAgainLater("Label Studio does not answer.")
        self.deleted.append(project)


@pytest.fixture
def state() -> Iterator[ProjectState]:
    opened = State("sqlite://")
    yield opened.project("http://studio", 7)
    opened.close()


def never(question: str) -> bool:
    raise AssertionError(f"asked: {question}")


def init(server: Server, state: ProjectState, confirm: Callable[[str], bool] = never, **options: Any) -> dict[str, Any]:
    return initialize(7, server, state, confirm=confirm, **options)  # type: ignore[arg-type]


# -- settings and memory ---------------------------------------------------------------------------------------------


def test_the_settings_the_queue_needs_are_set_and_those_before_remembered(state: ProjectState) -> None:
    server = Server()
    done = init(server, state)
    assert {name: server.project[name] for name in READY} == READY
    assert done["changed"] == ["sampling", "show_collab_predictions"]
    original = state.record().original_settings
    assert (original["sampling"], original["show_collab_predictions"]) == ("Sequential sampling", False)
    assert state.originals() == {number: Original(number % 3 + 1, number % 2 == 0, answers=0) for number in range(1, 7)}
    assert (done["control"], done["classes"]) == ("politeness", ["Polite", "Impolite"])


def test_twice_is_the_same_as_once(state: ProjectState) -> None:
    server = Server()
    assert not init(server, state, backend_url="http://model:9090")["already"]
    before = state.record()
    server.writes.clear()
    again = init(server, state, backend_url="http://model:9090")
    assert again["already"]
    assert (server.writes, again["changed"]) == ([], [])
    assert replace(state.record(), lock_until=None) == replace(before, lock_until=None)


def test_init_ends_an_undo_that_was_interrupted(state: ProjectState) -> None:
    server = Server()
    init(server, state)
    found = state.record().found
    state.put(found={**(found or {}), "undo_began": "2026-03-02"})
    init(server, state)
    assert state.record().found == found


def test_a_project_that_is_ready_is_not_changed(state: ProjectState) -> None:
    server = Server(**READY)
    init(server, state)
    assert server.writes == ["tab", "tab", "tab"]


def test_setting_up_keeps_the_model_version(state: ProjectState) -> None:
    server = Server(model_version="v1")
    init(server, state)
    assert server.writes[0]["model_version"] == "v1"


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({"my text": "a", "body": "b"}, "(it has no 'text'). The tasks have 'my text', 'body'. In Settings, Labeling"),
        ({"text": "s3://bucket/a.txt"}, "('text' is only a link to a file). Import tasks with a text under 'text'."),
    ],
    ids=["another key", "links"],
)
def test_where_no_task_has_a_text_nothing_is_changed_and_the_keys_are_named(
    state: ProjectState, data: dict[str, Any], says: str
) -> None:
    server = Server(data=data)
    with pytest.raises(UsageError, match="no task of project 7 has a text under 'text'") as refused:
        init(server, state)
    assert f"shows: 1, 2, 3, 4, 5, … {says}" in str(refused.value)
    assert (server.writes, state.record().adopted_at) == ([], None)
    server.data = {"text": "Text"}
    assert not init(server, state)["already"]


def test_a_part_of_the_config_that_is_left_out_is_named(state: ProjectState) -> None:
    server = Server(label_config=CONFIG.replace("</Choices>", '<Choice value=""/></Choices>'))
    done = init(server, state)
    assert done["classes"] == ["Polite", "Impolite"]
    assert done["notes"] == ["A Choice without a value is left out: give it a value or an alias."]


@pytest.mark.parametrize(
    ("key", "column"),
    [("text", "text"), ("llm.outputs", "llm"), ("a.b", "a.b"), ("a[0].b", "a"), ("missing", "missing")],
)
def test_a_tab_shows_the_column_of_the_text(key: str, column: str) -> None:
    columns = [{"id": name, "parent": "data", "target": "tasks"} for name in ("text", "llm", "a", "a.b")]
    made = tab_definition(TAB_TITLES[0], columns, [key])
    assert made["columnsWidth"][f"tasks:data.{column}"] == 600
    hidden = {f"tasks:data.{name}" for name in ("text", "llm", "a", "a.b")} - {f"tasks:data.{column}"}
    assert set(made["hiddenColumns"]["explore"]) == hidden


def test_a_tab_shows_the_columns_of_both_sides_of_a_pair() -> None:
    columns = [{"id": name, "parent": "data", "target": "tasks"} for name in ("left", "right", "source")]
    made = tab_definition(TAB_TITLES[0], columns, ["left", "right"])
    widths = made["columnsWidth"]
    assert (widths["tasks:data.left"], widths["tasks:data.right"]) == (300, 300)
    assert made["hiddenColumns"]["explore"] == ["tasks:data.source"]


def test_overlaps_are_all_remembered_even_when_the_first_init_failed_half_way(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)
    server.fail_on_page = 2
    with pytest.raises(TryAgainLater):
        init(server, state, lambda question: True)
    assert server.writes == []
    server.fail_on_page = 0
    init(server, state, lambda question: True)
    assert state.originals() == {number: Original(number % 3 + 1, number % 2 == 0, answers=0) for number in range(1, 7)}
    assert state.record().original_settings["maximum_annotations"] == 3


def test_a_later_init_does_not_take_our_settings_for_the_originals(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)
    init(server, state, lambda question: True)
    server.project["sampling"] = "Uniform sampling"
    assert init(server, state)["changed"] == ["sampling"]
    assert state.record().original_settings["sampling"] == "Sequential sampling"
    assert (state.originals()[1].overlap, state.originals()[1].is_labeled) == (2, False)


def test_an_init_that_lost_its_lock_writes_nothing(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)

    def lose_the_lock(question: str) -> bool:
        state.put(lock_holder="elsewhere:1:abc")  # as another process that takes the project over
        return True

    with pytest.raises(TryAgainLater, match="took this project over"):
        init(server, state, lose_the_lock, backend_url="http://model:9090")
    assert server.writes == []
    assert state.record().adopted_at is None


@pytest.mark.parametrize("done", range(5))
def test_an_init_that_loses_its_lock_between_two_writes_stops_there(state: ProjectState, done: int) -> None:
    server = Server()

    class Losing(Server):
        @contextlib.contextmanager
        def guard_writes(self, check: Callable[[], None]) -> Iterator[None]:
            def check_lost_lock() -> None:
                if len(self.writes) == done:
                    state.put(lock_holder="elsewhere:1:abc")
                check()

            with super().guard_writes(check_lost_lock):
                yield

    server = Losing()
    with pytest.raises(TryAgainLater, match="took this project over"):
        init(server, state, backend_url="http://model:9090")
    assert len(server.writes) == done  # of five: the settings, three tabs, the backend
    assert state.record().adopted_at is None


# -- the rule of several annotations ---------------------------------------------------------------------------------


def test_ending_a_rule_of_several_annotations_needs_a_yes(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)
    asked: list[str] = []
    with pytest.raises(UsageError, match=r"Nothing was changed: project 7 has maximum_annotations = 3\. Give --yes"):
        init(server, state, lambda question: bool(asked.append(question)))
    assert "asks for 3 annotations per task" in asked[0]
    assert server.writes == []
    assert state.record().adopted_at is None
    assert state.originals() == {}
    init(server, state, lambda question: True)
    assert server.project["maximum_annotations"] == 1


def test_a_number_for_every_task_is_kept_within_our_queue(state: ProjectState) -> None:
    server = Server(maximum_annotations=2)
    init(server, state, lambda question: True, min_annotations_per_task=2)
    assert state.record().min_annotations_per_task == 2
    state.put(window_options={"window": 100, "skip_queue": "IGNORE_SKIPPED"})
    init(server, state)
    assert state.record().min_annotations_per_task == 2
    assert state.record().window_options == {"window": 100, "skip_queue": "IGNORE_SKIPPED"}
    init(server, state, min_annotations_per_task=3)  # a new window is due; flags are as under that rule
    assert state.record().window_options == {"skip_queue": "IGNORE_SKIPPED"}


# -- the control -----------------------------------------------------------------------------------------------------

TWO = (
    '<View><Text name="t" value="$text"/>'
    '<Choices name="one" toName="t"><Choice value="A"/><Choice value="B"/></Choices>'
    '<Choices name="two" toName="t"><Choice value="C"/><Choice value="D"/></Choices></View>'
)


def test_a_config_that_cannot_be_served_changes_nothing(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    with pytest.raises(UsageError, match="called 'three' that can be served"):
        init(server, state, control_names=["one", "three"])
    assert server.writes == []
    assert state.record().adopted_at is None


def test_all_controls_are_served_and_a_second_init_keeps_those_of_the_first(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    done = init(server, state)
    assert done["questions"] == [{"control": "one", "classes": ["A", "B"]}, {"control": "two", "classes": ["C", "D"]}]
    assert "is set up: 'one' (A, B) and 'two' (C, D). Changed:" in format_init(done)
    more = TWO.replace("</View>", '<Rating name="three" toName="t"/></View>')
    server.project["label_config"] = more
    again = init(server, state)
    assert [row["control"] for row in again["questions"]] == ["one", "two"]
    # The first question keeps the project's model, whatever the order of the options is.
    state.store_trained({1: '{"one": "A"}'})
    chosen = init(server, state, control_names=["three", "one"])
    assert [row["control"] for row in chosen["questions"]] == ["one", "three"]
    assert state.trained() == {}
    lines = format_init(chosen).splitlines()
    assert "  controls                  'one, two' before, now 'one, three'" in lines
    assert "Labels of 'two' no longer count." in lines


def test_after_undo_all_controls_are_taken_again(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    init(server, state, control_names=["two"])
    state.store_trained({1: "C"})
    state.forget_adoption()
    server.views.clear()
    done = init(server, state)
    assert [row["control"] for row in done["questions"]] == ["one", "two"]
    assert state.trained() == {}, "labels of one question are written in another way"


def test_the_chosen_control_is_remembered_and_another_can_be_chosen(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    assert init(server, state, control_names=["two"])["classes"] == ["C", "D"]
    assert init(server, state)["control"] == "two"
    state.put(bookmark="2026-03-01T10:00:00+00:00")
    assert init(server, state, control_names=["one"])["control"] == "one"
    assert state.record().bookmark is None  # the mirror holds labels of the other one


@pytest.mark.parametrize(
    "change",
    [{"label_config": CONFIG.replace('"Impolite"', '"Rude"')}, {"maximum_annotations": 3}],
    ids=["another config", "overlaps rewritten"],
)
def test_what_makes_the_mirror_stale_between_two_inits_is_read_again(
    state: ProjectState, change: dict[str, Any]
) -> None:
    server = Server()
    init(server, state)
    state.put(bookmark="2026-03-01T10:00:00+00:00", window_options={"window": 100})
    init(server, state)
    assert state.record().bookmark is not None
    server.project.update(change)
    init(server, state)
    assert (state.record().bookmark, state.record().window_options) == (None, None)


# -- the tab and the backend -----------------------------------------------------------------------------------------


def refused_then_agreed(server: Server, state: ProjectState, refusal: str) -> list[str]:
    """What init asks. It changes nothing after a no, and goes on after a yes."""
    with pytest.raises(UsageError, match=refusal):
        init(server, state, lambda question: False)
    assert server.writes == []
    assert state.record().original_settings is None
    asked: list[str] = []
    init(server, state, lambda question: not asked.append(question))  # type: ignore[func-returns-value]
    return asked


def test_a_project_that_another_state_database_runs_is_not_taken_over_without_asking(state: ProjectState) -> None:
    server = Server()
    server.versions = {"theirs": 3, "activelab-20260301-100000-000000": 20}
    asked = refused_then_agreed(server, state, r"Nothing was changed.*does not know.*--yes")
    assert "Another connector runs it, or its state database is lost" in asked[0]
    init(server, state)  # a project that is ours by now is not asked about again


def test_predictions_under_the_name_of_published_consensus_are_not_given_up_without_asking(state: ProjectState) -> None:
    server = Server()
    server.versions = {"theirs": 3, "activelab-consensus": 20}
    refusal = r"Nothing was changed.*20 predictions of.*'activelab-consensus'.*--yes"
    asked = refused_then_agreed(server, state, refusal)
    assert [question.partition(".")[0] for question in asked] == [
        "Project 7 has 20 predictions of the model version 'activelab-consensus', under which syncs publish consensus "
        "labels"
    ]


def test_a_connected_backend_that_refuses_label_studio_since_is_told(state: ProjectState) -> None:
    server = Server()
    init(server, state, backend_url="http://model:9090")
    server.connected[0] |= {"state": "ER", "error_message": "401 Client Error: Unauthorized for url: http://model:9090"}
    with pytest.raises(UsageError, match=r"refuses Label Studio.*Set ML_BACKEND_USERNAME"):
        init(server, state, backend_url="http://model:9090")
    server.connected[0] |= {"error_message": "timed out"}  # it may be away for a while
    init(server, state, backend_url="http://model:9090")


def test_all_that_a_yes_agrees_to_is_named_at_once_and_told(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)
    server.versions = {"activelab-20260301-100000-000000": 20, "activelab-consensus": 6}
    refusal = (
        r"Nothing was changed: project 7 has windows that .* --yes to take the project over as it is\. Project 7 has 6 "
        r"predictions of .* Project 7 has maximum_annotations = 3\. Give --yes to end that rule, or --yes --min-anno"
    )
    with pytest.raises(UsageError, match=refusal):
        init(server, state, lambda question: False)
    with pytest.raises(UsageError, match=r"^Nothing was changed: project 7 has maximum_annotations = 3"):
        init(server, state, lambda question: "asks for 3" not in question)
    done = init(server, state, lambda question: True)
    assert done["notes"] == [
        "The project was taken over from another state database. Only that one knows its settings from before.",
        "The next sync deletes 6 predictions of the model version 'activelab-consensus'.",
    ]
    assert done["notes"][1] in format_init(done)
    assert init(server, state)["notes"] == []


def test_the_tab_orders_by_prediction_score_and_is_made_once(state: ProjectState) -> None:
    server = Server()
    server.views.append({"id": 3, "data": {"title": "Default"}})
    init(server, state)
    init(server, state)
    assert [tab["data"]["title"] for tab in server.views] == ["Default", *TAB_TITLES]
    assert server.views[1]["data"]["ordering"] == ["tasks:predictions_score"]
    assert state.record().found["tabs"] == [3]
    assert state.record().found["made_tabs"] == [31, 32, 33]


def test_tabs_that_an_init_made_before_it_was_killed_are_known_by_their_titles(state: ProjectState) -> None:
    server = Server()
    init(server, state)
    found = state.record().found
    state.put(found={"tabs": found["tabs"], "backends": [], "webhooks": []})
    init(server, state)
    assert state.record().found["made_tabs"] == found["made_tabs"] == [30, 31, 32]
    assert len(server.views) == 3


def test_a_tab_of_someone_else_in_place_of_ours_is_named_until_it_is_renamed(state: ProjectState) -> None:
    server = Server(**READY)
    theirs = {"id": 3, "data": {"title": QUEUE_TAB, "ordering": ["-tasks:id"]}}
    server.views.append(theirs)
    sentence = (
        "The project has a tab 'ActiveLab queue' that init did not make, with another order or other filters. To get "
        "ours, rename it and run connector init --project 7 again."
    )
    first = init(server, state)
    assert (first["tabs"], first["tabs_in_the_way"]) == ([SECOND_OPINIONS_TAB, DISCUSS_TAB], [QUEUE_TAB])
    assert sentence in format_init(first).splitlines()
    assert sentence in format_init(init(server, state)).splitlines()
    theirs["data"] = {**theirs["data"], "title": "Mine"}
    renamed = init(server, state)
    assert (renamed["tabs"], renamed["tabs_in_the_way"]) == ([*TAB_TITLES], [])
    assert [tab["data"]["title"] for tab in server.views] == ["Mine", *TAB_TITLES]
    assert 3 not in state.record().found["made_tabs"]


def test_a_tab_like_ours_by_another_connector_is_enough_if_a_person_says_so(state: ProjectState) -> None:
    server = Server()
    server.views = [
        {"id": number, "data": tab_definition(title, [], ["text"])} for number, title in enumerate(TAB_TITLES, start=3)
    ]
    with pytest.raises(UsageError, match="has our tabs that this state database"):
        init(server, state, lambda question: False)
    assert server.writes == []
    done = init(server, state, lambda question: True)
    # Their syncs, not ours, say what is to be discussed.
    assert (done["tabs"], done["tabs_in_the_way"], len(server.views)) == ([], [DISCUSS_TAB], 3)
    assert state.record().found["made_tabs"] == []
    assert state.record().found["taken_over"]


def test_the_models_of_questions_that_are_not_served_any_more_are_remembered(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    init(server, state)
    assert state.record().found["former_models"] == []
    init(server, state, control_names=["one"])
    assert state.record().found["former_models"] == ["7/questions/two"]
    init(server, state, control_names=["one", "two"])
    assert state.record().found["former_models"] == []


def test_our_tab_stays_ours_beside_another_of_its_title(state: ProjectState) -> None:
    server = Server()
    init(server, state)
    server.views.insert(0, {"id": 3, "data": {"title": QUEUE_TAB}})
    assert init(server, state)["tabs_in_the_way"] == []
    assert state.record().found["made_tabs"] == [30, 31, 32]


def test_models_can_read_other_fields_until_they_are_taken_back(state: ProjectState) -> None:
    server = Server()
    server.data = {"text": "Look.", "title": "A request"}
    first = init(server, state, fields=["title", "text"])
    assert first["fields"] == {"before": [], "after": ["title", "text"]}
    assert "  fields                    what the form shows before, now title, text" in format_init(first).splitlines()
    assert state.record().control["fields"] == ["title", "text"]
    again = init(server, state)
    assert again["fields"] == {"before": ["title", "text"], "after": ["title", "text"]}
    assert "fields" not in format_init(again)
    assert init(server, state, fields=[])["fields"] == {"before": ["title", "text"], "after": []}
    assert state.record().control["fields"] == []


def test_a_field_that_no_task_has_is_refused(state: ProjectState) -> None:
    server = Server()
    server.data = {"text": "Look.", "title": "A request"}
    with pytest.raises(UsageError) as error:
        init(server, state, fields=["title", "body"])
    assert str(error.value) == (
        "Nothing was changed: no task of the first 2 has 'body'. Their keys are 'text', 'title'."
    )
    assert server.writes == []


def test_our_tab_stays_ours_under_another_title(state: ProjectState) -> None:
    server = Server()
    init(server, state)
    server.views[0]["data"]["title"] = "Mine"
    for _ in range(2):
        assert init(server, state)["tabs_in_the_way"] == []
        assert [tab["data"]["title"] for tab in server.views] == ["Mine", *TAB_TITLES]
        assert sorted(state.record().found["made_tabs"]) == sorted(tab["id"] for tab in server.views)


@pytest.mark.parametrize("version", ["", "v1"])
def test_connecting_the_backend_leaves_the_model_version(state: ProjectState, version: str) -> None:
    server = Server(model_version=version)
    init(server, state, backend_url="http://model:9090")
    assert server.project["model_version"] == version
    assert state.record().found["backends"] == []
    assert state.record().found["connected"] == ["http://model:9090"]


def test_a_backend_that_is_connected_is_not_connected_again(state: ProjectState) -> None:
    server = Server()
    server.connected.append({"id": 9, "url": "http://model:9090/", "title": "Ours"})
    init(server, state, backend_url="http://model:9090")
    assert "backend" not in server.writes
    assert state.record().found["backends"] == [9]
    assert "connected" not in state.record().found


def test_a_backend_that_label_studio_cannot_reach_is_told_with_what_to_do(state: ProjectState) -> None:
    server = Server()
    server.refusal = ConnectorError("Label Studio refused: URL resolves to a reserved network address.")
    with pytest.raises(UsageError, match=r"ML_BLOCK_LOCAL_IP=false .* reserved network address"):
        init(server, state, backend_url="http://127.0.0.1:9090")


# -- a new project ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("texts.csv", '\ufefftext,source\nHello,a\n"Two\nlines, quoted",b\n'),
        ("texts.jsonl", '{"text": "Hello", "source": "a"}\n\n{"text": "Two\\nlines, quoted", "source": "b"}\n'),
        ("texts.ndjson", '{"text": "Hello", "source": "a"}\n{"text": "Two\\nlines, quoted", "source": "b"}\n'),
    ],
)
def test_a_project_is_made_from_a_file_of_texts(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content, encoding="utf-8")
    server = Server()
    assert create("New", tmp_path / name, server, CONFIG) == 8  # type: ignore[arg-type]
    assert server.made == [("New", CONFIG)]
    assert server.imported == [{"text": "Hello", "source": "a"}, {"text": "Two\nlines, quoted", "source": "b"}]


@pytest.mark.parametrize("line", ["3", "null", '"text"', "[1]", "{}"])
def test_a_line_that_is_no_row_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text(f'{{"text": "Hello"}}\n{line}\n')
    with pytest.raises(UsageError, match="Line 2"):
        create("New", path, Server(), CONFIG)  # type: ignore[arg-type]


@pytest.mark.parametrize("line", [r'{"text": "a\u0000b"}', r'{"text": "a", "more": ["x", {"y": "half \ud83d"}]}'])
def test_a_text_that_not_every_database_can_hold_is_refused_before_anything_is_made(tmp_path: Path, line: str) -> None:
    path = tmp_path / "texts.jsonl"
    path.write_text('{"text": "whole \\ud83d\\ude00, and \\\\u0000"}\n' + line + "\n")
    server = Server()
    with pytest.raises(UsageError, match=r"Line 2 of .*texts\.jsonl holds a NUL character or half a surrogate pair"):
        create("New", path, server, CONFIG)  # type: ignore[arg-type]
    assert server.made == []


@pytest.mark.parametrize("content", [b"text\n\xff\x00\xfe\n", b'text\n"never ended', b"text\nHello,and,more\n"])
def test_a_file_that_is_not_what_it_says_is_refused_before_anything_is_made(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "texts.csv"
    path.write_bytes(content)
    server = Server()
    with pytest.raises(UsageError, match=r"texts\.csv"):
        create("New", path, server, CONFIG)  # type: ignore[arg-type]
    assert server.made == []


@pytest.mark.parametrize("refusal", [UsageError("Refused."), TryAgainLater("Cut off."), ConnectorError("A row.")])
def test_a_project_whose_tasks_are_not_imported_is_deleted(tmp_path: Path, refusal: ConnectorError) -> None:
    path = tmp_path / "texts.csv"
    path.write_text("text\nHello\n")
    server = Server()
    server.refusal = refusal
    with pytest.raises(ConnectorError, match=str(refusal)) as failed:
        create("New", path, server, CONFIG)  # type: ignore[arg-type]
    assert failed.value.exit_code == (3 if isinstance(refusal, TryAgainLater) else 2)
    assert server.deleted == [8]
    server.away = True
    with pytest.raises(ConnectorError) as failed:
        create("New", path, server, CONFIG)  # type: ignore[arg-type]
    assert str(failed.value) == (
        f"{refusal} Project 8, made for these tasks, lacks some or all: delete it in Label Studio."
    )


# -- what it says ------------------------------------------------------------------------------------------------------


def test_old_and_new_values_the_tabs_and_the_way_back_are_said(state: ProjectState) -> None:
    server = Server(maximum_annotations=3)
    done = init(server, state, lambda question: True, min_annotations_per_task=2, backend_url="http://model:9090")
    assert format_init(done).splitlines() == [
        "Project 7 (Requests) is set up: 'politeness' with Polite, Impolite. Changed:",
        "  maximum_annotations       3 before, now 1",
        "  sampling                  'Sequential sampling' before, now 'Uncertainty sampling'",
        "  show_collab_predictions   off before, now on",
        "  min_annotations_per_task  1 before, now 2",
        "  tabs                      added 'ActiveLab queue', 'Second opinions', 'Discuss'",
        "  ML backend                connected http://model:9090",
        "Every labelled task is to have at least 2 labels.",
        "To restore the project as it was: connector undo --project 7",
        "Next: connector sync --project 7",
    ]


def test_a_repeated_init_says_what_it_changed_and_what_holds(state: ProjectState) -> None:
    server = Server()
    init(server, state)
    again = [
        "To restore the project as it was: connector undo --project 7",
        "Next: connector sync --project 7",
    ]
    head = "Project 7 (Requests) was already set up: 'politeness' with Polite, Impolite."
    assert format_init(init(server, state)).splitlines() == [f"{head} Nothing was changed.", *again]
    rule = "Every labelled task is to have at least 2 labels."
    assert format_init(init(server, state, min_annotations_per_task=2)).splitlines() == [
        f"{head} Changed:",
        "  min_annotations_per_task  1 before, now 2",
        rule,
        *again,
    ]
    for options in ({"min_annotations_per_task": 2}, {}):
        assert format_init(init(server, state, **options)).splitlines() == [
            f"{head} Nothing was changed.",
            rule,
            *again,
        ]


def test_another_control_is_a_change_and_says_what_it_means(state: ProjectState) -> None:
    server = Server(label_config=TWO)
    init(server, state, control_names=["two"])
    done = init(server, state, control_names=["one"])
    assert (done["control_before"], done["control"]) == ("two", "one")
    assert format_init(done).splitlines() == [
        "Project 7 (Requests) was already set up: 'one' with A, B. Changed:",
        "  control                   'two' before, now 'one'",
        "Labels of 'two' no longer count. The next training replaces its model by one of 'one'.",
        "To restore the project as it was: connector undo --project 7",
        "Next: connector sync --project 7",
    ]
    assert "Nothing was changed." in format_init(init(server, state, control_names=["one"]))


def test_what_was_there_is_recorded_for_undo(state: ProjectState) -> None:
    server = Server(created_at="2026-03-01T10:00:00.123456Z")
    server.versions = {"theirs": 3}
    init(server, state)
    record = state.record()
    assert record.created_at == "2026-03-01T10:00:00.123456Z"
    assert (record.found["versions"], record.found["taken_over"]) == (["theirs"], False)
