"""The mirror follows a server played in memory: what is read, when everything is, and which settings are restored."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from support.simulated_label_studio import CONFIG, Studio

from connector.active_learning.window import Slot
from connector.errors import TryAgainLater, UsageError
from connector.progress import Reporter
from connector.queue.settings import restore
from connector.state.project_state import ProjectState
from connector.state.pull import pull, read_project, read_snapshot
from connector.state.snapshot import ProjectSnapshot
from connector.sync.cycle import sync
from connector.sync.options import SyncOptions

OURS = "activelab-20260301-100000-000000"


@pytest.fixture
def studio() -> Studio:
    return Studio()


@pytest.fixture
def state(adopted_state: ProjectState) -> ProjectState:
    return adopted_state


def read(studio: Studio, state: ProjectState, **how: Any) -> ProjectSnapshot:
    """What a sync reads after it has restored settings."""
    return restore_and_read(studio, state, **how)[1]


def restore_and_read(studio: Studio, state: ProjectState, **how: Any) -> tuple[list[str], ProjectSnapshot]:
    """What was restored, and a pull, with the check that mirror and server are then the same."""
    studio.calls.clear()
    reading, restored = restore(read_project(7, studio), studio, state)  # type: ignore[arg-type]
    pulled = pull(reading, studio, state, **how)  # type: ignore[arg-type]
    assert state.tasks() == pulled.tasks
    return restored, pulled


def same(studio: Studio, pulled: ProjectSnapshot) -> bool:
    """Whether the mirror holds every task, annotation and flag of the server."""
    server = {
        task["id"]: (task["is_labeled"], task["overlap"], [row["id"] for row in task["annotations"]])
        for task in studio.rows.values()
    }
    return server == {
        task.id: (task.is_labeled, task.overlap, [row.id for row in task.annotations]) for task in pulled.tasks.values()
    }


# -- reading ---------------------------------------------------------------------------------------------------------


def test_the_first_reading_takes_everything(studio: Studio, state: ProjectState) -> None:
    studio.annotate(2, 1)
    told: list[tuple[int, int]] = []
    pulled = read(studio, state, progress=lambda done, total: told.append((done, total)))
    assert studio.read_everything()
    assert pulled.changed
    assert same(studio, pulled)
    assert list(pulled.tasks) == [1, 2, 3, 4, 5, 6]
    assert told == [(2, 6), (4, 6), (6, 6)]


def test_later_readings_take_what_changed_since_a_minute_before_the_last(studio: Studio, state: ProjectState) -> None:
    read(studio, state)
    bookmark = studio.clock
    studio.wait(600)
    studio.annotate(3, 1)
    pulled = read(studio, state)
    since = (bookmark - timedelta(seconds=60)).strftime("%Y-%m-%dT%H:%M:%S.000000Z")
    assert studio.calls == ["project", "versions", ("tasks since", since)]
    assert pulled.changed
    assert same(studio, pulled)


def test_a_reading_with_nothing_new_is_three_calls_and_no_change(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(30)  # within the overlap: task 1 is read again
    restored, pulled = restore_and_read(studio, state)
    assert len(studio.calls) == 3
    assert not pulled.changed
    assert restored == []


def test_what_was_written_late_with_an_earlier_time_is_still_found(studio: Studio, state: ProjectState) -> None:
    read(studio, state)
    studio.clock -= timedelta(seconds=50)
    studio.annotate(4, 1)
    studio.wait(900)
    pulled = read(studio, state)
    assert not studio.read_everything()
    assert same(studio, pulled)


def test_updates_skips_and_new_tasks_are_found_without_reading_everything(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(600)
    studio.rows[1]["annotations"][0]["result"][0]["value"]["choices"] = ["Impolite"]
    studio._touch(1)
    studio.annotate(2, 1, None)
    new = studio.add_task()
    pulled = read(studio, state)
    assert not studio.read_everything()
    assert pulled.tasks[1].annotations[0].label == "Impolite"
    assert pulled.tasks[2].annotations[0].skipped
    assert new in pulled.tasks
    assert same(studio, pulled)


def test_flags_that_changed_are_mirrored_and_are_no_news(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(600)
    studio.rows[1].update(is_labeled=False, overlap=2)
    studio._touch(1)
    pulled = read(studio, state)
    assert not pulled.changed
    assert same(studio, pulled)


def test_an_annotation_deleted_is_found_in_its_task(studio: Studio, state: ProjectState) -> None:
    number = studio.annotate(1, 1)
    studio.annotate(1, 2)
    read(studio, state)
    studio.wait(600)
    studio.delete_annotation(number)
    pulled = read(studio, state)
    assert pulled.changed
    assert not studio.read_everything()
    assert same(studio, pulled)


def test_after_an_account_was_deleted_all_its_annotations_are_of_one_annotator(
    studio: Studio, state: ProjectState
) -> None:
    for task in (1, 2, 3):
        studio.annotate(task, 8)
    read(studio, state)
    for task in (1, 2, 3):  # Label Studio leaves their updated_at as it is
        studio.rows[task]["annotations"][0]["completed_by"] = None
    studio.wait(600)
    studio.annotate(1, 7)
    shown = read_snapshot(7, studio, state)  # type: ignore[arg-type]
    pulled = read(studio, state)
    for found in (shown, pulled):
        assert {row.annotator for task in found.tasks.values() for row in task.annotations} == {0, 7}
    assert same(studio, pulled)
    assert studio.read_everything()
    studio.wait(600)
    studio.annotate(2, 7)
    assert same(studio, read(studio, state))
    assert not studio.read_everything()


def test_a_deleted_task_shows_in_the_counters_and_everything_is_read(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(600)
    del studio.rows[1]
    pulled = read(studio, state)
    assert studio.read_everything()
    assert pulled.changed
    assert same(studio, pulled)


def test_a_deletion_beside_new_annotations_shows_too(studio: Studio, state: ProjectState) -> None:
    for task in (1, 2, 3):
        studio.annotate(task, 1)
    read(studio, state)
    studio.wait(600)
    del studio.rows[2]
    studio.annotate(4, 1)  # as many annotations as before, one task less
    pulled = read(studio, state)
    assert studio.read_everything()
    assert same(studio, pulled)


@pytest.fixture
def small_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("connector.state.pull.PAGE_SIZE", 2)


@pytest.mark.usefixtures("small_pages")
@pytest.mark.parametrize("gone", [[7], [1], [40], [7, 8, 9, 10], [3, 33]], ids=str)
def test_of_many_tasks_only_those_beside_a_deleted_one_are_read_again(state: ProjectState, gone: list[int]) -> None:
    studio = Studio(40)
    studio.annotate(7, 1)
    read(studio, state)
    studio.wait(600)
    for task in gone:
        del studio.rows[task]
    pulled = read(studio, state)
    assert same(studio, pulled)
    assert pulled.changed
    assert not studio.read_everything()
    again = [call[1] for call in studio.calls if call[0] == "tasks of"]
    assert sum((upto or 40) - after for after, upto in again) <= 2 * len(gone) + 2
    assert len(studio.calls) <= 7 + 6 * len(gone)


@pytest.mark.usefixtures("small_pages")
def test_of_many_tasks_only_that_whose_annotation_was_deleted_in_silence_is_read_again(state: ProjectState) -> None:
    studio = Studio(40)
    for task in (5, 6, 30):
        studio.annotate(task, 1)
    read(studio, state)
    studio.wait(600)
    studio.rows[30]["annotations"].clear()  # and its updated_at stays
    pulled = read(studio, state)
    assert same(studio, pulled)
    assert pulled.changed
    assert not studio.read_everything()


@pytest.mark.usefixtures("small_pages")
def test_skips_that_only_the_project_counts_make_it_read_everything(state: ProjectState) -> None:
    studio = Studio(8)
    studio.annotate(5, 1, choice=None)
    studio.wait(600)
    read(studio, state)
    studio.wait(600)
    studio.rows[5]["annotations"].clear()
    assert same(studio, read(studio, state))
    assert studio.read_everything()


@pytest.mark.usefixtures("small_pages")
def test_where_deleted_tasks_are_everywhere_everything_is_read(
    state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.state.pull.MOST_COUNTS", 10)
    studio = Studio(60)
    read(studio, state)
    studio.wait(600)
    for task in range(1, 60, 5):
        del studio.rows[task]
    assert same(studio, read(studio, state))
    assert studio.read_everything()
    assert sum(call[0] == "count" for call in studio.calls) <= 10


def test_a_first_reading_that_was_killed_goes_on_behind_its_last_page(
    studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    studio.annotate(5, 1)
    began = studio.clock.replace(microsecond=0)
    kill_at_the_second_page(studio, state, monkeypatch)
    assert (state.record().bookmark, sorted(state.tasks())) == (None, [1, 2, 3, 4])
    studio.wait(3600)
    studio.annotate(1, 1)  # where the reading has been
    studio.annotate(6, 2)
    pulled = read(studio, state)
    assert ("tasks of", (4, None)) in studio.calls
    assert not studio.read_everything()
    # What changed before the page is for the next pull, which knows since when.
    assert datetime.fromisoformat(state.record().bookmark) == began
    pulled = read(studio, state)
    assert same(studio, pulled)
    assert pulled.changed
    assert not studio.read_everything()
    assert not read(studio, state).changed


def test_tasks_deleted_before_a_killed_reading_goes_on_are_gone(
    studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    read(studio, state)
    state.put(bookmark=None)
    kill_at_the_second_page(studio, state, monkeypatch)
    for task in (2, 5):
        del studio.rows[task]
    read(studio, state)
    assert same(studio, read(studio, state))


@pytest.mark.parametrize(
    "change", [{"label_config": CONFIG + "<!-- other -->"}, {"skip_queue": "IGNORE_SKIPPED"}], ids=["config", "skips"]
)
def test_a_killed_reading_under_other_rules_begins_anew(
    studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch, change: dict[str, str]
) -> None:
    kill_at_the_second_page(studio, state, monkeypatch)
    studio.settings.update(change)
    assert same(studio, read(studio, state))
    assert studio.read_everything()


def kill_at_the_second_page(studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch) -> None:
    """Has a reading end by force once its second page is stored."""
    stored, pages = state.store_tasks, [0]

    def store_and_die(*arguments: Any, **how: Any) -> bool:
        differs = stored(*arguments, **how)
        pages[0] += 1
        if pages[0] == 2:
            raise KeyboardInterrupt
        return differs

    with monkeypatch.context() as broken:
        broken.setattr(state, "store_tasks", store_and_die)
        with pytest.raises(KeyboardInterrupt):
            read(studio, state)


def test_what_the_filter_misses_shows_in_the_counters_and_everything_is_read(
    studio: Studio, state: ProjectState
) -> None:
    read(studio, state)
    studio.wait(600)
    studio.annotate(5, 1)
    studio.rows[5]["updated_at"] = "2026-01-01T00:00:00.000000Z"
    pulled = read(studio, state)
    assert studio.read_everything()
    assert same(studio, pulled)


def test_labelling_while_a_sync_reads_does_not_make_it_read_everything(studio: Studio, state: ProjectState) -> None:
    read(studio, state)
    for annotator in range(1, 6):
        studio.wait(600)
        studio.meanwhile = lambda annotator=annotator: studio.annotate(annotator, annotator)  # type: ignore[misc]
        pulled = read(studio, state)
        assert not studio.read_everything()
        assert same(studio, pulled)
        assert studio.calls.count("project") == 2


def test_a_deletion_while_people_label_is_found(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(600)
    del studio.rows[1]
    studio.meanwhile = lambda: studio.annotate(3, 2)
    assert same(studio, read(studio, state))


def test_a_server_that_does_not_tell_the_time_is_followed_by_its_tasks(studio: Studio, state: ProjectState) -> None:
    class Timeless(Studio):
        def get_project(self, project: int) -> dict[str, Any]:
            answer = super().get_project(project)
            self.server_time = None
            return answer

    timeless = Timeless()
    read(timeless, state)
    assert state.record().bookmark == "2026-03-01T10:00:07.500000+00:00"  # the latest updated_at
    timeless.wait(600)
    timeless.annotate(2, 1)
    pulled = read(timeless, state)
    assert not timeless.read_everything()
    assert same(timeless, pulled)


def test_an_empty_project_is_read_like_any_other(state: ProjectState) -> None:
    empty = Studio(tasks=0)
    assert read(empty, state).tasks == {}
    assert not read(empty, state).changed


def test_everything_is_read_when_asked_for(studio: Studio, state: ProjectState) -> None:
    read(studio, state)
    read(studio, state, everything=True)
    assert studio.read_everything()


# -- the labelling config --------------------------------------------------------------------------------------------


def test_a_changed_config_is_followed_and_everything_read_with_it(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1, "Impolite")
    read(studio, state)
    studio.settings["label_config"] = CONFIG.replace('"Impolite"', '"Impolite" alias="rude"')
    pulled = read(studio, state)
    assert studio.read_everything()
    assert pulled.changed
    assert pulled.control.classes == ("Polite", "rude")
    assert pulled.tasks[1].annotations[0].label == "rude"
    assert not read(studio, state).changed
    assert not studio.read_everything()


def test_labels_of_a_class_that_was_removed_are_unknown(studio: Studio, state: ProjectState) -> None:
    studio.annotate(1, 1, "Impolite")
    read(studio, state)
    studio.settings["label_config"] = CONFIG.replace("Impolite", "Rude")
    row = read(studio, state).tasks[1].annotations[0]
    assert (row.label, row.unknown) == (None, True)


def test_a_config_whose_control_is_gone_stops_with_what_was_found(studio: Studio, state: ProjectState) -> None:
    read(studio, state)
    studio.settings["label_config"] = CONFIG.replace("politeness", "tone")
    with pytest.raises(UsageError, match=r"called 'politeness' that can be served\. Found: Choices 'tone'"):
        read(studio, state)


def test_another_rule_for_skipped_tasks_has_everything_read_again_and_once(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.wait(3600)
    studio.settings["skip_queue"] = "IGNORE_SKIPPED"
    for task in studio.rows.values():
        task["is_labeled"] = True  # and updated_at stays
    studio.calls.clear()
    assert all(task.is_labeled for task in read(studio, state).tasks.values())
    assert studio.read_everything()
    state.store_window(OURS, 2, [Slot(1, False)], SyncOptions().window_fingerprint("IGNORE_SKIPPED"))
    studio.calls.clear()
    read(studio, state)
    assert not studio.read_everything()


def test_another_rule_for_skipped_tasks_is_seen_after_a_sync_that_read_answers_and_failed(
    studio: Studio, state: ProjectState
) -> None:
    published(studio, state)
    studio.annotate(1, 1)
    read(studio, state)
    studio.wait(3600)
    studio.settings["skip_queue"] = "IGNORE_SKIPPED"
    for task in studio.rows.values():
        task["is_labeled"] = True
    assert all(task.is_labeled for task in read(studio, state).tasks.values())


# -- settings --------------------------------------------------------------------------------------------------------


def published(studio: Studio, state: ProjectState) -> None:
    """A window of ours stands, and all is as it should be."""
    read(studio, state)
    studio.versions = {OURS: 2, "somebody-elses": 4}
    studio.settings["model_version"] = OURS
    state.store_window(
        OURS, 2, [Slot(1, False), Slot(2, False)], SyncOptions().window_fingerprint("REQUEUE_FOR_OTHERS")
    )


def patches(studio: Studio) -> list[dict[str, Any]]:
    return [call[1] for call in studio.calls if call[0] == "settings"]


def test_settings_as_the_queue_needs_them_are_left_alone(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    assert restore_and_read(studio, state)[0] == []
    assert patches(studio) == []


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("sampling", "Sequential sampling"),
        ("show_collab_predictions", False),
        ("show_overlap_first", True),
        ("maximum_annotations", 3),
    ],
)
def test_a_changed_setting_is_restored_and_keeps_the_window(
    studio: Studio, state: ProjectState, name: str, value: Any
) -> None:
    published(studio, state)
    wanted = studio.settings[name]
    studio.settings[name] = value
    restored, pulled = restore_and_read(studio, state)
    assert restored == [name]
    assert patches(studio) == [{name: wanted, "model_version": OURS}]
    assert (pulled.project[name], pulled.project["model_version"]) == (wanted, OURS)


def test_all_that_changed_is_restored_in_one_patch(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.settings.update(sampling="Uniform sampling", maximum_annotations=2, model_version="")
    restored, _ = restore_and_read(studio, state)
    assert restored == ["maximum_annotations", "model_version", "sampling"]
    assert patches(studio) == [
        {"sampling": "Uncertainty sampling", "maximum_annotations": 1, "model_version": OURS},
    ]


def test_overlaps_that_maximum_annotations_rewrote_are_read_again(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.settings["maximum_annotations"] = 3
    for task in studio.rows.values():
        task["overlap"] = 3  # Label Studio leaves updated_at alone
    studio.wait(600)
    pulled = read(studio, state)
    assert studio.read_everything()
    assert same(studio, pulled)


def test_a_reading_that_failed_after_maximum_annotations_was_restored_is_made_up_for(
    studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(studio, state)
    studio.settings["maximum_annotations"] = 3
    for task in studio.rows.values():
        task["overlap"] = 3
    studio.wait(600)

    def fail(*arguments: Any, **how: Any) -> Any:
        raise TryAgainLater("Label Studio does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(studio, "tasks", fail)
        with pytest.raises(TryAgainLater):
            read(studio, state)
    assert studio.settings["maximum_annotations"] == 1
    assert same(studio, read(studio, state))
    assert studio.read_everything()


def test_a_sync_that_was_killed_while_it_stored_what_it_read_leaves_the_next_one_work(
    studio: Studio, state: ProjectState, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(studio, state)
    studio.annotate(3, 1)
    stored = state.store_tasks

    def store_and_die(*arguments: Any, **how: Any) -> None:
        stored(*arguments, **how)
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(state, "store_tasks", store_and_die)
        with pytest.raises(KeyboardInterrupt):
            read(studio, state)
    assert asks_for_the_backend(studio, state)


@pytest.mark.parametrize("version", ["", None, "somebody-elses"])
def test_another_model_version_is_replaced_by_the_published_window(
    studio: Studio, state: ProjectState, version: str | None
) -> None:
    published(studio, state)
    studio.settings["model_version"] = version
    restored, pulled = restore_and_read(studio, state)
    assert restored == ["model_version"]
    assert studio.settings["model_version"] == OURS == pulled.project["model_version"]


def test_a_newer_window_of_ours_is_left_standing(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    newer = "activelab-20260301-110000-000000"
    studio.versions[newer] = 2
    studio.settings["model_version"] = newer
    assert restore_and_read(studio, state)[0] == []
    assert studio.settings["model_version"] == newer


def test_a_window_that_was_deleted_is_said_and_not_pointed_at(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    del studio.versions[OURS]
    studio.settings["model_version"] = ""
    restored, _ = restore_and_read(studio, state)
    assert set(restored) == {"model_version", "predictions"}
    assert patches(studio) == []
    assert studio.settings["model_version"] == ""


def test_before_the_first_window_the_projects_model_version_is_its_own(studio: Studio, state: ProjectState) -> None:
    studio.versions = {"somebody-elses": 4}
    studio.settings.update(model_version="somebody-elses", sampling="Sequential sampling")
    assert restore_and_read(studio, state)[0] == ["sampling"]
    assert studio.settings["model_version"] == "somebody-elses"


def test_a_pull_changes_nothing_on_the_server(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.settings.update(sampling="Sequential sampling", model_version="")
    pull(read_project(7, studio), studio, state)  # type: ignore[arg-type]
    assert patches(studio) == []


# -- a sync that ends early ------------------------------------------------------------------------------------------


def asks_for_the_backend(studio: Studio, state: ProjectState, **options: Any) -> bool:
    """Runs a sync whose ML backend is away; whether it came to need the backend."""

    def away() -> Any:
        raise TryAgainLater("The ML backend does not answer.")

    try:
        sync(7, studio, away, state, SyncOptions(**options), Reporter())  # type: ignore[arg-type]
    except TryAgainLater:
        return True
    return False


def test_a_sync_with_nothing_new_never_asks_for_the_backend(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.calls.clear()
    assert not asks_for_the_backend(studio, state)
    assert len(studio.calls) <= 5


def test_a_sync_that_failed_after_reading_is_made_up_for_by_the_next(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    assert not asks_for_the_backend(studio, state)
    studio.annotate(3, 1)
    assert asks_for_the_backend(studio, state)
    assert asks_for_the_backend(studio, state)


def test_a_dry_run_does_not_hide_what_is_new_from_the_next_sync(studio: Studio, state: ProjectState) -> None:
    published(studio, state)
    studio.annotate(3, 1)
    assert asks_for_the_backend(studio, state, dry_run=True)
    assert asks_for_the_backend(studio, state)


@pytest.mark.parametrize("options", [{"window": 50}, {"max_annotations_per_task": 3}, {"train": "always"}])
def test_other_options_ask_for_another_window(studio: Studio, state: ProjectState, options: dict[str, Any]) -> None:
    published(studio, state)
    assert asks_for_the_backend(studio, state, **options)


def test_a_project_that_was_not_taken_over_is_wrong_usage(studio: Studio, state: ProjectState) -> None:
    state.put(adopted_at=None)
    with pytest.raises(UsageError, match=r"not set up yet: run connector init --project 7 first"):
        asks_for_the_backend(studio, state)
    assert studio.calls == []
