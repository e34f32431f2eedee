"""`connector sync` on a real Label Studio with the real backend: the command itself, what it picks up, how it fails."""

from __future__ import annotations

import json
import sqlite3
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from support.connector_commands import connector, connector_process, start_connector
from support.label_studio_server import Annotators
from support.project_driver import (
    ProjectDriver,
    StartProject,
    new,
    on_both_databases,
    personal_access_token,
    second,
    texts,
)
from support.proxy import Proxy
from support.waiting import until
from support.watched_queue import Expected, Watched

from connector.backend import Backend
from connector.errors import TryAgainLater
from connector.queue.settings import wrong_settings
from connector.simulation.local_backend import start_ml_backend, stop_ml_backend
from connector.state.project_state import State

pytestmark = on_both_databases

KEYS = {
    "project",
    "round",
    "tasks",
    "annotations",
    "annotators",
    "labels_changed",
    "trained",
    "model_version",
    "queue_version",
    "window",
    "model_agreement",
    "ground_truth_tasks",
    "ground_truth_accuracy",
    "forecast",
    "model_embedding",
    "model_embedding_since",
    "model_in_training",
    "audit",
    "without_text",
    "unknown_choices",
    "unreadable_annotations",
    "left_out",
    "restored",
    "seconds",
    "ambiguous",
    "codebook",
    "people",
}
NOWHERE = "http://127.0.0.1:9"


def summary(loop: ProjectDriver, *options: str, **environment: str) -> dict[str, Any]:
    """What one run of `connector sync --json` prints, which must be one line."""
    done = connector(loop, "sync", "--project", str(loop.id), "--json", *options, **environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("\n") == 1
    printed: dict[str, Any] = json.loads(done.stdout)
    return printed


def label_some(loop: ProjectDriver, people: Annotators, count: int = 8) -> list[int]:
    """The first person labels `count` tasks by their texts, the second one two of them: both are active."""
    first, other = people(2)
    labelled = loop.tasks[:count]
    for index, task in enumerate(labelled):
        loop.label(first, task, "Impolite" if index % 2 else "Polite")
    loop.label(other, labelled[0], "Polite")
    loop.label(other, labelled[1], "Polite")
    return labelled


def mirrored(loop: ProjectDriver) -> dict[int, Any]:
    """What the state knows of each task: its text and what people did."""
    return {task.id: (task.digest, task.annotations) for task in loop.state.tasks().values()}


def in_label_studio(loop: ProjectDriver, tmp_path: Path) -> dict[int, Any]:
    """The same as a new installation reads it."""
    database = State(f"sqlite:///{tmp_path}/{uuid.uuid4()}.sqlite")
    fresh = ProjectDriver(**{**vars(loop), "state": database.project(loop.gateway.url, loop.id)})
    known = loop.state.record()
    fresh.state.put(control=known.control, label_config=known.label_config)
    fresh.read()
    read = mirrored(fresh)
    database.close()
    return read


# -- end to end --------------------------------------------------------------------------------------------------------


def test_a_model_that_was_fine_tuned_in_the_background_is_taken_by_the_next_sync(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(110))
    label_some(loop, people, count=100)
    server = start_ml_backend(tmp_path, environment={"ML_BACKEND_FINETUNE_STEPS": "2"})
    try:
        first = summary(loop, ML_BACKEND_URL=server.url)
        assert (first["trained"], first["model_embedding"], first["model_in_training"]) == (True, "frozen", True)
        shown = connector(loop, "status", "--project", str(loop.id)).stdout
        assert "the ML backend goes on fine-tuning: the next connector sync takes the result" in shown
        backend = Backend(server.url)
        until(lambda: not backend.model(str(loop.id))["in_training"])
        second = summary(loop, ML_BACKEND_URL=server.url)
        assert (second["round"], second["trained"]) == (first["round"] + 1, False)
        assert second["model_version"] == backend.model(str(loop.id))["model_version"] != first["model_version"]
        assert not second["model_in_training"]
        loop.assert_published()
        third = summary(loop, ML_BACKEND_URL=NOWHERE)  # with nothing new and nothing in training, it is not asked
        assert (third["round"], third["model_version"]) == (second["round"], second["model_version"])
    finally:
        stop_ml_backend(tmp_path)


def test_loop_runs_from_no_label_to_second_opinions_by_the_command_alone(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(60), adopted=False)
    assert connector(loop, "init", "--project", str(loop.id)).returncode == 0
    cold = summary(loop, "--window", "20")
    assert cold.keys() == KEYS
    assert cold["window"] == {"size": 20, "new": 20, "relabel": 0}
    assert (cold["project"], cold["round"], cold["tasks"], cold["annotations"]) == (loop.id, 1, 60, 0)
    assert (cold["trained"], cold["model_version"], cold["restored"]) == (False, None, [])
    assert cold["queue_version"] == loop.project()["model_version"]
    assert loop.window != sorted(loop.window), "spread over the embedding space"

    team, rude = people(3), set(loop.tasks[1::2])
    expected = Expected(loop)
    for turn in range(14):
        person = team[turn % 3]
        task = loop.give(person)
        assert task is not None
        assert task == expected.turn(person)
        loop.label(person, task, "Impolite" if task in rude else "Polite")

    warm = summary(loop, "--window", "60")
    assert warm.keys() == KEYS
    assert (warm["round"], warm["annotations"], warm["annotators"], warm["trained"]) == (2, 14, 3, True)
    assert warm["labels_changed"] == 14
    assert warm["model_version"]
    assert warm["window"] == {"size": 60, "new": 46, "relabel": 14}
    assert all(type(seconds) is float for seconds in warm["seconds"].values())
    loop.assert_published()
    expected = Expected(loop)
    for turn in range(6):
        assert loop.turn(team[turn % 3]) == expected.turn(team[turn % 3])

    again = summary(loop, "--window", "60")
    assert (again["annotations"], again["trained"]) == (20, False), "six labels are too few to train again"
    assert again["model_version"] == warm["model_version"]
    idle = summary(loop, "--window", "60")
    assert idle["queue_version"] == again["queue_version"]
    assert (idle["round"], idle["window"], idle["seconds"].keys()) == (3, again["window"], {"pull"})


def test_sync_with_nothing_new_makes_few_calls_and_no_write(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = start(texts(20), through=proxy.url)
    label_some(loop, people)
    assert loop.sync()["window"]["relabel"] > 0
    before = loop.dump()

    proxy.calls.clear()
    first = summary(loop, ML_BACKEND_URL=NOWHERE)
    assert len(proxy.calls) <= 5
    assert {method for method, _ in proxy.calls} == {"GET"}
    assert (first["trained"], first["labels_changed"], first["restored"]) == (False, 0, [])

    proxy.calls.clear()
    second_time = summary(loop, ML_BACKEND_URL=NOWHERE, LABEL_STUDIO_API_KEY=personal_access_token(loop.server))
    assert len(proxy.calls) <= 5
    assert ("POST", "/api/token/refresh/") in proxy.calls or ("POST", "/api/token/refresh") in proxy.calls
    assert {**second_time, "seconds": {}} == {**first, "seconds": {}}
    assert loop.dump() == before


def test_whole_sync_runs_with_a_personal_access_token(start: StartProject) -> None:
    loop = start(texts(12))
    token = personal_access_token(loop.server)
    done = connector(loop, "sync", "--project", str(loop.id), "--verbose", LABEL_STUDIO_API_KEY=token)
    assert done.returncode == 0, done.stderr
    assert "12 new" in done.stdout
    loop.assert_published()
    forged = token[:-6] + ("abcdef" if token[-6:] != "abcdef" else "ghijkl")
    refused = connector(loop, "sync", "--project", str(loop.id), "--verbose", LABEL_STUDIO_API_KEY=forged)
    assert refused.returncode == 2
    assert "refuses the token in LABEL_STUDIO_API_KEY" in refused.stderr
    for output in (done.stdout, done.stderr, refused.stdout, refused.stderr):
        assert token.split(".")[1] not in output
        assert token.split(".")[2][:-6] not in output


# -- what it picks up --------------------------------------------------------------------------------------------------


def test_changes_are_picked_up_without_reading_everything_again(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(16))
    first, other = people(2)
    t = loop.tasks
    loop.sync()

    def synced() -> list[str]:
        gateway = Watched(loop)
        done = loop.sync(gateway, train="never")
        assert mirrored(loop) == in_label_studio(loop, tmp_path)
        assert done["tasks"] == len(loop.rows())
        loop.assert_published()
        return gateway.readings

    annotation = loop.label(first, t[0], "Impolite")
    loop.label(other, t[1])
    assert synced() == ["changes"]
    first.update(annotation, "politeness", "text", "Polite")
    other.skip({"id": t[2]})
    assert synced() == ["changes"]
    assert loop.state.tasks()[t[0]].annotations[0].label == "Polite"

    more = loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": "A new one."}, {"text": "Another."}])
    assert more["task_count"] == 2
    loop.call("PATCH", f"/api/tasks/{t[3]}", json={"data": {"text": "Quite another text."}})
    assert synced() == ["changes"]
    assert loop.state.texts([t[3]]) == {t[3]: "Quite another text."}
    added = sorted(set(loop.state.tasks()) - set(t))
    assert len(added) == 2
    assert set(added) < set(loop.window)

    first.draft({"id": t[4]}, "politeness", "text", "Polite")
    synced()
    assert loop.state.tasks()[t[4]].annotations == ()

    # What is gone no filter shows: the counters tell.
    first.delete(annotation)
    synced()
    loop.call("DELETE", f"/api/tasks/{t[1]}")
    assert synced()[-1] == "all"
    # One task deleted, one imported: the number of tasks is the same.
    loop.call("DELETE", f"/api/tasks/{t[5]}")
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": "In its place."}])
    synced()
    loop.label(first, t[6])
    synced()
    # One label taken away by the Data Manager, another one given.
    action = {"id": "delete_tasks_annotations", "project": loop.id}
    some = {"selectedItems": {"all": False, "included": [t[6]]}, "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=action, json=some)
    loop.label(first, t[7])
    synced()


def test_task_deleted_between_two_pages_of_a_reading_is_no_error(
    start: StartProject, people: Annotators, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("connector.label_studio.client.PAGE_SIZE", 4)
    loop = start(texts(9))
    loop.sync()
    assert mirrored(loop).keys() == set(loop.tasks)

    class Deleting(Watched):
        def tasks(self, *values: Any, **how: Any) -> Iterator[list[dict[str, Any]]]:
            for number, page in enumerate(super().tasks(*values, **how)):
                yield page
                if number == 1 and self.readings == ["all"]:
                    loop.call("DELETE", f"/api/tasks/{loop.tasks[8]}")

    loop.label(people(1)[0], loop.tasks[0])
    loop.state.put(bookmark=None)
    loop.sync(Deleting(loop))
    assert loop.tasks[8] not in {row["id"] for row in loop.rows()}
    loop.sync()
    assert mirrored(loop) == in_label_studio(loop, tmp_path)
    loop.assert_published()


class Counting(Backend):
    """The real backend; `sent` holds how many texts each statement of the items made travel."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self.sent: list[int] = []

    def put_items(
        self,
        project: str,
        ids: Sequence[int],
        digests: Sequence[str],
        texts: Callable[[Sequence[int]], Mapping[int, str]],
        progress: Callable[[int, int], None] = lambda done, total: None,
    ) -> None:
        self.sent.append(0)

        def count(done: int, total: int) -> None:
            self.sent[-1] = done
            progress(done, total)

        super().put_items(project, ids, digests, texts, count)


def test_only_new_and_changed_texts_travel_to_the_backend(start: StartProject, people: Annotators) -> None:
    mark = uuid.uuid4().hex  # the backend stores a text once, whatever project it came with
    loop = start([f"{text} {mark}" for text in texts(12)])
    backend = Counting(loop.backend)
    loop.sync(backend=backend)
    loop.label(people(1)[0], loop.tasks[0])
    loop.sync(backend=backend)
    loop.call("PATCH", f"/api/tasks/{loop.tasks[3]}", json={"data": {"text": f"Changed. {mark}"}})
    loop.call("POST", f"/api/projects/{loop.id}/import", json=[{"text": f"New. {mark}"}])
    loop.sync(backend=backend)
    loop.sync(backend=backend, train="always")
    assert backend.sent == [12, 0, 2, 0]


def test_class_that_the_config_gained_is_trained_at_the_next_sync(start: StartProject, people: Annotators) -> None:
    loop = start(texts(20))
    label_some(loop, people)
    assert loop.sync()["trained"]
    config = loop.project()["label_config"].replace(
        '<Choice value="Polite"', '<Choice value="Odd"/><Choice value="Polite"'
    )
    loop.set(label_config=config, show_collab_predictions=True, model_version=loop.project()["model_version"])
    done = loop.sync()
    assert done["trained"]
    probabilities = Backend(loop.backend).probabilities(str(loop.id))
    assert probabilities is not None
    assert probabilities.classes == ("Odd", "Polite", "Impolite")
    loop.assert_published()


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.nightly
def test_train_option_decides_whether_a_model_is_trained(start: StartProject, people: Annotators) -> None:
    loop = start(texts(24))
    label_some(loop, people)
    never = loop.sync(train="never")
    assert (never["trained"], never["model_version"], never["window"]["relabel"]) == (False, None, 0)
    assert never["labels_changed"] == 8
    trained = loop.sync(train="always")
    assert trained["trained"]
    assert trained["window"]["relabel"] > 0
    again = loop.sync(train="always")
    assert again["trained"], "even with nothing new"
    loop.label(people(1)[0], loop.tasks[8])
    waits = loop.sync()
    assert (waits["trained"], waits["labels_changed"]) == (False, 1), "one label is not enough"
    assert waits["model_version"] == again["model_version"]


def test_auto_trains_again_once_ten_labels_changed(start: StartProject, people: Annotators) -> None:
    loop = start(texts(22))
    label_some(loop, people)
    version = loop.sync()["model_version"]
    for task in loop.tasks[8:18]:
        loop.label(people(1)[0], task, "Impolite" if (task - loop.tasks[0]) % 2 else "Polite")
    done = loop.sync()
    assert (done["trained"], done["labels_changed"] >= 10) == (True, True)
    assert done["model_version"] != version


def test_dry_run_says_the_next_window_and_changes_nothing(start: StartProject, people: Annotators) -> None:
    loop = start(texts(24))
    loop.sync()
    label_some(loop, people)
    loop.set(sampling="Sequential sampling")
    before, window = loop.dump(), loop.window
    told = summary(loop, "--dry-run", "--window", "7")
    assert told.keys() - {"dry_run"} == KEYS
    assert told["trained"] is False
    assert told["window"]["size"] > 0
    assert loop.dump() == before
    assert loop.window == window
    sentence = connector(loop, "sync", "--project", str(loop.id), "--dry-run").stdout
    assert "Would publish" in sentence

    done = loop.sync()
    assert done["trained"], "the labels that the dry run saw are not lost"
    assert done["restored"] == ["sampling"]
    loop.assert_published()


def test_prelabel_shows_the_model_s_answer_on_new_tasks_only(start: StartProject, people: Annotators) -> None:
    loop = start(texts(20))
    labelled = label_some(loop, people)
    done = summary(loop, "--prelabel", "new")
    assert done["trained"]
    assert done["window"]["relabel"] > 0
    shown = {row["task"]: row["result"] for row in loop.served()}
    assert all(shown[task] == [] for task in shown if task in labelled)
    probabilities = Backend(loop.backend).probabilities(str(loop.id))
    assert probabilities is not None
    for task, row in zip(probabilities.ids, probabilities.pred_probs, strict=True):
        if int(task) in shown and int(task) not in labelled:
            (region,) = shown[int(task)]
            assert region["value"]["choices"] == [probabilities.classes[row.argmax()]]
            assert (region["from_name"], region["to_name"], region["type"]) == ("politeness", "text", "choices")

    summary(loop)
    assert {str(row["result"]) for row in loop.served()} == {"[]"}, "another option asks for another window"


def test_window_and_maximum_of_annotations_are_kept(start: StartProject, people: Annotators) -> None:
    loop = start(texts(40))
    label_some(loop, people)
    first = loop.sync(window=15)
    assert 15 <= first["window"]["size"] <= 25  # what was asked for, and a tail of ten new tasks
    assert [slot.relabel for slot in loop.state.window()][-10:] == [False] * 10

    two = loop.sync(max_annotations_per_task=2)
    counts = {row["id"]: len(row["annotations"]) for row in loop.rows()}
    asked = {slot.task for slot in loop.state.window() if slot.relabel}
    assert two["window"]["relabel"] == len(asked) == 6
    assert max(counts[task] for task in asked) == 1
    one = loop.sync(max_annotations_per_task=1)
    assert one["window"]["relabel"] == 0
    assert sorted(loop.window) == loop.tasks[8:]
    loop.assert_published()


# -- how it fails ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "unset", "words"),
    [
        ({"LABEL_STUDIO_API_KEY": "f" * 40}, [], "refuses the token in LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_API_KEY": "secret.not-a-token.at-all"}, [], "LABEL_STUDIO_API_KEY"),
        ({"LABEL_STUDIO_API_KEY": " "}, [], "LABEL_STUDIO_API_KEY is empty"),
        ({"LABEL_STUDIO_URL": "localhost:8080"}, [], "LABEL_STUDIO_URL must start with http:// or https://"),
        ({"ML_BACKEND_URL": "ftp://localhost"}, [], "ML_BACKEND_URL must start with http:// or https://"),
        ({}, ["LABEL_STUDIO_URL"], "LABEL_STUDIO_URL is not set"),
        ({}, ["LABEL_STUDIO_API_KEY"], "LABEL_STUDIO_API_KEY is not set"),
        ({"CONNECTOR_STATE": "sqlite:////proc/no/such/place.sqlite"}, [], "CONNECTOR_STATE cannot be opened"),
        ({"CONNECTOR_STATE": "nonsense"}, [], "CONNECTOR_STATE cannot be opened"),
    ],
    ids=lambda value: None,
)
def test_wrong_settings_end_with_2_and_one_sentence(
    start: StartProject, changed: dict[str, str], unset: list[str], words: str
) -> None:
    loop = start([], adopted=False)
    loop.state.put(adopted_at="2026-01-01T00:00:00+00:00")
    done = connector(loop, "sync", "--project", str(loop.id), unset=unset, **changed)
    assert (done.returncode, done.stdout) == (2, "")
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    for secret in (loop.server.token, changed.get("LABEL_STUDIO_API_KEY", "").strip()):
        assert not secret or secret not in done.stderr


@pytest.mark.parametrize("token", ["f" * 40, "eyJhbGciOiJI.eyJzZWNyZXQi.c2VjcmV0", "secret"])
def test_traceback_comes_only_with_verbose_and_never_with_the_token(start: StartProject, token: str) -> None:
    loop = start([], adopted=False)
    loop.state.put(adopted_at="2026-01-01T00:00:00+00:00")
    done = connector(loop, "sync", "--project", str(loop.id), "--verbose", LABEL_STUDIO_API_KEY=token)
    assert (done.returncode, done.stdout) == (2, "")
    assert "Traceback" in done.stderr
    assert not any(part in done.stderr for part in [token, *token.split(".")])


def test_settings_come_from_options_before_the_environment_before_the_env_file(
    start: StartProject, tmp_path: Path
) -> None:
    loop = start(texts(2))
    file = {"LABEL_STUDIO_URL": NOWHERE, "LABEL_STUDIO_API_KEY": loop.server.token, "ML_BACKEND_URL": NOWHERE}
    (tmp_path / ".env").write_text("".join(f"{name}={value}\n" for name, value in file.items()))
    done = connector_process(
        loop,
        *("sync", "--project", str(loop.id), "--ml-backend-url", f"{loop.backend}/"),
        unset=["LABEL_STUDIO_API_KEY"],
        ML_BACKEND_URL="http://127.0.0.1:1",
    )
    assert done.returncode == 0, done.stderr
    assert "2 new" in done.stdout


def test_project_that_is_not_set_up_and_wrong_usage_end_with_2(start: StartProject) -> None:
    loop = start(texts(2), adopted=False)
    before = loop.dump()
    refused = connector_process(loop, "sync", "--project", str(loop.id))
    assert refused.returncode == 2
    assert f"connector init --project {loop.id}" in refused.stderr
    assert connector_process(loop, "sync").returncode == 2
    assert connector_process(loop, "sync", "--project", "0").returncode == 2
    assert connector_process(loop, "init", "--project", "1", "--title", "T").returncode == 2
    missing = connector_process(loop, "init", "--project", "999999")
    assert missing.returncode == 2
    assert "no project 999999" in missing.stderr
    assert loop.dump() == before

    loop.adopt()
    loop.call("DELETE", f"/api/projects/{loop.id}/")
    deleted = connector_process(loop, "sync", "--project", str(loop.id))
    assert deleted.returncode == 2
    assert f"no project {loop.id}" in deleted.stderr


def test_label_studio_that_is_away_ends_with_3(start: StartProject, proxy: Proxy) -> None:
    loop = start(texts(3), through=proxy.url)
    proxy.fail_with = 502
    done = connector_process(loop, "sync", "--project", str(loop.id))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"Label Studio at {proxy.url} failed with 502" in done.stderr
    proxy.close()
    done = connector_process(loop, "sync", "--project", str(loop.id))
    assert (done.returncode, done.stdout) == (3, "")
    assert f"Label Studio at {proxy.url} does not answer" in done.stderr
    assert "Traceback" not in done.stderr
    assert loop.state.record().lock_holder is None


def test_backend_that_is_away_ends_with_3_and_settings_are_restored_all_the_same(
    start: StartProject, people: Annotators
) -> None:
    loop = start(texts(20))
    loop.sync()
    label_some(loop, people)
    loop.set(sampling="Uniform sampling", model_version="")
    window = loop.window

    done = connector(loop, "sync", "--project", str(loop.id), ML_BACKEND_URL=NOWHERE)
    assert (done.returncode, done.stdout) == (3, "")
    assert f"The ML backend at {NOWHERE} does not answer" in done.stderr
    assert wrong_settings(loop.project()) == {}
    assert loop.window == window
    assert loop.project()["model_version"] == loop.state.record().queue_version

    later = loop.sync()
    assert later["trained"], "what the failed sync had read is not forgotten"
    loop.assert_published()


def test_something_else_at_the_backend_s_address_ends_with_2(start: StartProject) -> None:
    loop = start(texts(3))
    done = connector(loop, "sync", "--project", str(loop.id), ML_BACKEND_URL=loop.server.url)
    assert done.returncode == 2, done.stderr
    assert "ML_BACKEND_URL" in done.stderr
    assert "Traceback" not in done.stderr


def test_second_sync_of_a_project_ends_with_3_while_the_first_one_runs(start: StartProject, proxy: Proxy) -> None:
    loop = start(texts(12), through=proxy.url)
    proxy.hold("POST", r"/api/projects/\d+/import/predictions")
    running = start_connector(loop, "sync", "--project", str(loop.id))
    try:
        assert proxy.wait_until_reached(running)
        done = connector_process(loop, "sync", "--project", str(loop.id))
        assert (done.returncode, done.stdout) == (3, "")
        assert "Another sync holds this project" in done.stderr
        with pytest.raises(TryAgainLater):
            loop.adopt()
    finally:
        proxy.release()
        _, errors = running.communicate(timeout=60)
    assert running.returncode == 0, errors
    loop.assert_published()


@pytest.mark.nightly
def test_sync_after_one_that_was_killed_leaves_one_window_as_it_was_published(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = start(texts(20), through=proxy.url)
    first, other, third = people(3)
    t = loop.tasks
    label_some(loop, people, 6)
    before = loop.annotations()
    assert loop.sync()["window"]["relabel"] == 4
    project = rf"/api/projects/{loop.id}"
    moments = {
        "the window was imported": ("POST", f"{project}/import/predictions"),
        "a second opinion was opened": ("PATCH", rf"/api/tasks/{t[5]}"),
        "the project was flipped": ("PATCH", f"{project}/"),
        "a second opinion was closed": ("PATCH", rf"/api/tasks/{t[0]}"),
    }
    for moment, (method, path) in moments.items():
        # A sync will close the first of these, which both active people have labelled, and open another one.
        loop.publish([*second(t[0], *t[2:5]), *new(*t[6:])], options={})
        proxy.hold(method, path)
        killed = start_connector(loop, "sync", "--project", str(loop.id))
        reached = proxy.wait_until_reached(killed)
        killed.kill()
        _, errors = killed.communicate(timeout=60)
        proxy.release()
        assert reached, f"{moment}: {errors}"
        assert loop.state.record().lock_holder is not None, moment
        assert loop.give(third) is not None, moment

        loop.sync()
        loop.assert_published()
        assert loop.state.reopened() == dict.fromkeys(t[2:6], 1), moment
        assert loop.flags(*t[:6]) == [(1, True)] * 2 + [(2, False)] * 4, moment
        assert loop.state.record().lock_holder is None, moment

    assert loop.sync()["seconds"].keys() == {"pull"}
    assert loop.annotations() == before
    expected = Expected(loop)
    expected.hold(third, loop.give(third))
    for person in (other, first, third, other, first):
        assert loop.turn(person) == expected.turn(person)


def test_sync_after_one_that_trained_and_was_killed_publishes_a_window_of_the_new_model(
    start: StartProject, people: Annotators, proxy: Proxy
) -> None:
    loop = start(texts(20), through=proxy.url)
    label_some(loop, people, 6)
    first = loop.sync()
    proxy.hold("POST", rf"/api/projects/{loop.id}/import/predictions")
    killed = start_connector(loop, "sync", "--project", str(loop.id), "--train", "always")
    assert proxy.wait_until_reached(killed)
    killed.kill()
    killed.communicate(timeout=60)
    proxy.release()

    again = loop.sync()
    assert (again["trained"], again["labels_changed"]) == (False, 0)
    assert again["round"] == first["round"] + 1
    assert again["model_version"] != first["model_version"]
    loop.assert_published()
    assert loop.sync()["seconds"].keys() == {"pull"}


def test_a_window_of_another_state_database_is_replaced_and_named(
    start: StartProject, people: Annotators, tmp_path: Path
) -> None:
    loop = start(texts(12))
    other, older = tmp_path / "copied.sqlite", tmp_path / "older.sqlite"
    _copy(loop, older)
    loop.sync()
    _copy(loop, other)
    loop.label(people(1)[0], loop.window[0])
    loop.sync()
    done = connector(loop, "sync", "--project", str(loop.id), CONNECTOR_STATE=f"sqlite:///{other}")
    assert done.returncode == 0
    assert "Label Studio serves a newer window than the state database knows: a sync was killed" in done.stderr
    assert connector(loop, "sync", "--project", str(loop.id)).stderr.count("newer window") == 1
    assert "newer window" not in connector(loop, "sync", "--project", str(loop.id)).stderr
    before = {"CONNECTOR_STATE": f"sqlite:///{older}"}  # from after init
    status = connector(loop, "status", "--project", str(loop.id), **before).stdout
    assert "Label Studio serves a window that the state database does not know: run connector sync" in status
    assert (
        "newer window than the state database knows"
        in connector(loop, "sync", "--project", str(loop.id), **before).stderr
    )


def _copy(loop: ProjectDriver, to: Path) -> None:
    """Copies the state database."""
    with sqlite3.connect(loop.state_url.removeprefix("sqlite:///")) as here, sqlite3.connect(to) as there:
        here.backup(there)
