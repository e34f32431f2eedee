"""Several questions in one project: a model each, under the project's id and under ID/questions/NAME."""

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from click.testing import CliRunner
from support.in_process_worker import InProcessWorker
from support.training_jobs import trained
from support.webhook_events import ANNOTATED, EventHarness

from ml_backend.cli import main
from ml_backend.errors import InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.project import question_name
from ml_backend.schemas import PredictResponse, TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import digest

Sentences = Callable[..., tuple[list[str], list[int]]]
MOODS, THINGS = ["Polite", "Impolite"], ["page", "image"]
TEXT = '<Text name="t" value="$text"/>'
ON_POLITE = 'visibleWhen="choice-selected" whenTagName="mood" whenChoiceValue="Polite"'


def choices(name: str, classes: Sequence[str], attributes: str = "") -> str:
    inner = "".join(f'<Choice value="{one}"/>' for one in classes)
    return f'<Choices name="{name}" toName="t" {attributes}>{inner}</Choices>'


def view(*controls: str) -> str:
    return f"<View>{TEXT}{''.join(controls)}</View>"


BOTH = view(choices("thing", THINGS), choices("mood", MOODS))


def as_tasks(texts: Sequence[str]) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"text": text}} for number, text in enumerate(texts)]


def train(service: Service, project: str, texts: list[str], labels: list[int], **options: Any) -> str:
    """Send texts and train on their labels, as the connector does. Returns the version."""
    hashes = np.frombuffer(b"".join(map(digest, texts)), dtype=np.uint8).reshape(-1, 16)
    service.set_items(project, np.arange(len(texts)), hashes)
    service.add_texts(project, texts)
    request = TrainRequest(ids=list(range(len(texts))), labels=labels, folds=2, **options)
    return trained(service, project, service.train(project, request))


# -- over HTTP -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("question", ["topic", "jobs", "model"])
def test_every_route_of_a_project_is_there_for_its_questions(
    server: Any, make_sentences: Sentences, question: str
) -> None:
    texts, labels = make_sentences(10)
    first, further = server.client(f"of-{question}"), server.client(f"of-{question}/questions/{question}")
    further.send(range(10), texts)
    assert first.get("probabilities").status_code == 404
    first.send(range(10), texts)
    jobs = [client.train(range(10), labels, control=question) for client in (first, further)]
    assert [job["state"] for job in jobs] == ["done", "done"]
    assert further.get(f"jobs/{jobs[1]['job']}").json()["model_version"] == jobs[1]["model_version"]
    assert further.get(f"jobs/{jobs[0]['job']}").status_code == 404
    cancelled = requests.delete(f"{further.base}/jobs/{jobs[1]['job']}", timeout=5).json()
    assert cancelled["state"] == "done"
    assert further.get("model").json()["model_version"] == jobs[1]["model_version"]
    assert str(further.probabilities()["control"]) == question
    assert len(further.post("spread", ids=list(range(10)), count=3).json()["ids"]) == 3
    assert further.post("distinct", ids=list(range(10)), count=1).json()["ids"] == [0]
    assert further.post("rollback", model_version=jobs[1]["model_version"]).status_code == 200
    versions = partial(requests.get, f"{server.url}/versions", timeout=5)
    both = [job["model_version"] for job in jobs][::-1]
    assert versions(params={"project": first.project}).json()["versions"] == both
    assert versions(params={"project": further.project}).json()["versions"] == both[:1]
    assert f'project="{further.project}"' in requests.get(f"{server.url}/metrics", timeout=5).text
    assert requests.delete(f"{first.base}/model", timeout=5).json()["model_version"] is None
    assert further.get("model").json()["model_version"] == jobs[1]["model_version"]
    setup = requests.post(f"{server.url}/setup", json={"project": f"{first.project}.17"}, timeout=5).json()
    assert setup == {"model_version": jobs[1]["model_version"]}


@pytest.mark.parametrize(
    "name", ["7/questions/a.b", "7/questions/" + "a" * 65, "a b/questions/c", "7/questions/%2e%2e", "7/questions/%00"]
)
def test_other_names_of_questions_are_refused_in_a_sentence(server: Any, name: str) -> None:
    answer = requests.get(f"{server.url}/api/projects/{name}/model", timeout=5)
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith("ID/questions/NAME for a further question.")


@pytest.mark.parametrize(
    "name",
    ["7/questions", "7/questions/", "7/others/a", "7/questions/a/b", "7/questions/a/questions/b", "/questions/a"],
)
def test_other_paths_are_not_found(server: Any, name: str) -> None:
    assert requests.get(f"{server.url}/api/projects/{name}/model", timeout=5).status_code == 404


def test_the_document_and_the_metrics_have_one_path_for_both(server: Any) -> None:
    server.client("any/questions/thing").get("model")
    document = requests.get(f"{server.url}/openapi.json", timeout=5).json()
    (parameter,) = document["paths"]["/api/projects/{project}/model"]["get"]["parameters"]
    assert parameter["schema"]["pattern"] == "^[A-Za-z0-9_-]{1,64}(/questions/[A-Za-z0-9_-]{1,64})?$"
    assert 'route="/api/projects/{project}/model"' in requests.get(f"{server.url}/metrics", timeout=5).text


def test_a_question_is_named_by_its_control_or_by_a_digest() -> None:
    assert question_name("7", "topic-2_b") == "7/questions/topic-2_b"
    for control in ("a b", "a/b", "..", "a" * 65, "söz", ""):
        name = question_name("7", control)
        assert name.removeprefix("7/questions/").isalnum()
        assert len(name) == len("7/questions/") + 16
    assert question_name("7", "a b") == "7/questions/" + "bb37dea5c027f928"


# -- one embedding per text --------------------------------------------------------------------------------------------


class CountingEncoder(Encoder):
    """An encoder that remembers what it was asked for."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        self.asked += texts
        return super().encode(texts)


def test_a_text_is_embedded_once_for_all_questions(
    tmp_path: Path, tiny_folder: Path, make_sentences: Sentences
) -> None:
    encoder = CountingEncoder(str(tiny_folder))
    service = Service(
        Settings(model_dir=tmp_path, classifier="logistic"), encoder, partial(InProcessWorker, encoder=encoder)
    )
    texts, labels = make_sentences(12)
    train(service, "7/questions/thing", texts[:8], labels[:8], classes=THINGS)
    assert sorted(encoder.asked) == sorted(texts[:8])
    train(service, "7", texts[:10], labels[:10], classes=MOODS)
    train(service, "7/questions/topic", texts, labels, classes=MOODS)
    assert sorted(encoder.asked) == sorted(texts)
    # Without a training, too.
    service.set_items("7", np.arange(12), np.frombuffer(b"".join(map(digest, texts)), np.uint8).reshape(-1, 16))
    service.add_texts("7", texts)
    assert len(service.spread("7", list(range(12)), 12, 0)) == 12
    assert sorted(encoder.asked) == sorted(texts)
    expected = service._projects.create("7/questions/topic").features.embeddings([digest(text) for text in texts])
    found = service._projects.create("7").features.embeddings([digest(text) for text in texts])
    assert np.array_equal(found[0], expected[0])
    # Another project is no sibling.
    train(service, "70", texts[:8], labels[:8], classes=MOODS)
    assert len(encoder.asked) == 20
    service.close()


# -- predictions -----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def service(
    tmp_path_factory: pytest.TempPathFactory, make_service: Callable[[Settings], Service], make_sentences: Sentences
) -> Iterator[Service]:
    """A service whose project "7" has a model for `mood`, and one for `thing`, which is older."""
    running = make_service(Settings(model_dir=tmp_path_factory.mktemp("questions"), classifier="logistic"))
    texts, labels = make_sentences(24)
    things = [int("page" in text) for text in texts]
    train(running, "7/questions/thing", texts, things, classes=THINGS, control="thing")
    train(running, "7", texts, labels, classes=MOODS, control="mood")
    yield running
    running.close()


def answers(response: PredictResponse) -> list[list[tuple[str, str]]]:
    return [
        [(region["from_name"], *region["value"]["choices"]) for region in entry.result] for entry in response.results
    ]


def test_all_questions_are_answered_in_the_order_of_the_config(service: Service, make_sentences: Sentences) -> None:
    texts, _ = make_sentences(6)
    tasks = [*as_tasks(texts), {"data": {}}]
    response = service.predict("7.1700000000", BOTH, tasks)
    mood, thing = (service.model(name).model_version for name in ("7", "7/questions/thing"))
    assert mood is not None
    assert thing is not None
    assert response.model_version == service.version("7") == mood == max(mood, thing)
    assert response.message == ""
    alone = [
        service.predict("7/questions/thing", BOTH, tasks),
        service.predict("7", view(choices("mood", MOODS)), tasks),
    ]
    for place, entry in enumerate(response.results[:6]):
        parts = [one.results[place] for one in alone]
        assert entry.result == parts[0].result + parts[1].result
        assert [region["from_name"] for region in entry.result] == ["thing", "mood"]
        assert entry.score == pytest.approx((parts[0].score + parts[1].score) / 2)
        assert entry.model_version == mood
    assert (response.results[6].result, response.results[6].score) == ([], 0.0)
    assert service.versions("7.17") == sorted([mood, thing], reverse=True)


@pytest.mark.parametrize("around", [False, True], ids=["itself", "around"])
def test_a_question_that_the_form_hides_is_not_answered(
    service: Service, make_sentences: Sentences, around: bool
) -> None:
    thing = choices("thing", THINGS, "" if around else ON_POLITE)
    config = view(f"<View {ON_POLITE}>{thing}</View>" if around else thing, choices("mood", MOODS))
    tasks = as_tasks(make_sentences(12)[0])
    shown, whole = service.predict("7", config, tasks), service.predict("7", BOTH, tasks)
    assert {len(entry.result) for entry in shown.results} == {1, 2}
    for entry, all_of_it in zip(shown.results, whole.results, strict=True):
        if entry.result[-1]["value"]["choices"] == ["Polite"]:
            assert entry == all_of_it
        else:
            assert entry.result == all_of_it.result[1:]
            assert entry.score == service_score(service, all_of_it.result[1:], tasks, shown.results.index(entry))


def service_score(service: Service, result: list[Any], tasks: list[Any], place: int) -> float:
    """The score of the first question alone."""
    entry = service.predict("7", view(choices("mood", MOODS)), tasks).results[place]
    assert entry.result == result
    return entry.score


def test_a_condition_on_a_question_without_a_model_hides_nothing(service: Service, make_sentences: Sentences) -> None:
    condition = 'visibleWhen="choice-selected" whenTagName="other"'
    config = view(choices("other", ["A", "B"]), choices("thing", THINGS, condition), choices("mood", MOODS))
    assert [len(entry.result) for entry in service.predict("7", config, as_tasks(make_sentences(3)[0])).results] == [
        2
    ] * 3


def test_a_model_whose_control_is_gone_answers_no_other_question(service: Service, make_sentences: Sentences) -> None:
    config = view(choices("renamed", THINGS), choices("mood", MOODS))
    response = service.predict("7", config, as_tasks(make_sentences(2)[0]))
    assert [[name for name, _ in one] for one in answers(response)] == [["mood"], ["mood"]]
    version = service.model("7/questions/thing").model_version
    assert response.message == (
        f"The labelling config has no control 'thing', which model version {version} answers. Put it back, or name the "
        "others with connector init --control."
    )
    changed = service.predict("7", view(choices("mood", ["A", "B"]), choices("thing", ["C", "D"])), [])
    assert changed.message.count("has changed since model version") == 2
    assert service.predict("7", "<View", []).message.count("cannot be read") == 2


def test_of_two_models_for_one_control_the_projects_own_answers(
    tmp_path: Path, make_service: Callable[[Settings], Service], make_sentences: Sentences
) -> None:
    service = make_service(Settings(model_dir=tmp_path, classifier="logistic"))
    texts, labels = make_sentences(10)
    config = view(choices("mood", MOODS))
    for name in ("7/questions/b", "7/questions/a"):
        train(service, name, texts, labels, classes=MOODS, control="mood")
    tasks = as_tasks(texts[:1])
    of_a = service.predict("7/questions/a", config, tasks)
    assert service.predict("7", config, tasks) == of_a  # the newer one, and the first by name
    train(service, "7", texts, [1 - label for label in labels], classes=MOODS, control="mood")
    both = service.predict("7", config, tasks)
    assert answers(both) != answers(of_a)
    assert both.message == ""
    # A model without a name answers what no other is named for.
    train(service, "7", texts, labels, classes=MOODS)
    found = service.predict("7", view(choices("mood", MOODS), choices("tone", MOODS)), tasks)
    assert [name for name, _ in answers(found)[0]] == ["mood", "tone"]
    service.close()


def test_forgetting_a_model_leaves_the_other_questions(
    tmp_path: Path, make_service: Callable[[Settings], Service], make_sentences: Sentences
) -> None:
    service = make_service(Settings(model_dir=tmp_path, classifier="logistic"))
    texts, labels = make_sentences(10)
    for name in ("7", "7/questions/b"):
        train(service, name, texts, labels, classes=MOODS, control="mood")
    service.forget_model("7")
    listed = CliRunner().invoke(main, ["versions", "--project", "7/questions/b", "--model-dir", str(tmp_path)])
    assert listed.output == f"* {service.model('7/questions/b').model_version}\n"
    again = make_service(Settings(model_dir=tmp_path))
    for served in (service, again):
        assert served.model("7").model_version is None
        assert served.version("7") == served.model("7/questions/b").model_version != ""
        assert set(served.overview()) == {"7", "7/questions/b"}
    with pytest.raises(NotFound):
        service.forget_model("7/questions/c")
    with pytest.raises(InvalidRequest):
        service.forget_model("7/questions/../../8")
    service.close()
    again.close()


# -- events ----------------------------------------------------------------------------------------------------------


def annotate(events: EventHarness, config: str, item: int, given: Mapping[str, Sequence[str]], **data: str) -> None:
    event = deepcopy(ANNOTATED)
    event["project"]["label_config"] = config
    event["annotation"] |= {"id": item, "task": item}
    event["annotation"]["result"] = [
        {"from_name": name, "to_name": "t", "type": "choices", "value": {"choices": list(classes)}}
        for name, classes in given.items()
    ]
    event["task"] |= {"id": item, "data": data}
    assert events.send(event) == {}


def press(events: EventHarness, config: str) -> dict[str, Any]:
    return events.send({"action": "START_TRAINING", "project": {"id": 1, "label_config": config}})


def stored(events: EventHarness, name: str) -> set[str]:
    project = events.projects.get(name)
    assert project is not None
    return set(project.dataset.texts(list(project.dataset.digests_of_items().values())).values())


def test_annotations_are_stored_and_trained_on_for_every_question(tmp_path: Path) -> None:
    events = EventHarness(tmp_path)
    config = view(
        '<Text name="u" value="$title"/>',
        choices("mood", MOODS),
        choices("a thing", THINGS).replace('toName="t"', 'toName="u"'),
        choices("rare", ["A", "B"]),
    )
    for item, (mood, thing) in enumerate(zip(MOODS, THINGS, strict=True)):
        annotate(events, config, item, {"mood": [mood], "a thing": [thing]}, text=f"text {item}", title=f"title {item}")
    thing = question_name("1", "a thing")
    assert events.projects.names == sorted(["1", thing, "1/questions/rare"])
    assert stored(events, "1") == stored(events, "1/questions/rare") == {"text 0", "text 1"}
    assert stored(events, thing) == {"title 0", "title 1"}
    assert press(events, config) == {"job": "job-1"}
    assert [(name, request.control, request.labels) for name, request in events.started] == [
        ("1", "mood", (0, 1)),
        (thing, "a thing", (0, 1)),
    ]
    events.send({"action": "ANNOTATIONS_DELETED", "project": {"id": 1}, "annotations": [{"id": 0}]})
    answer = press(events, config)
    assert "at least two classes" in answer["detail"]
    events.send({"action": "TASKS_DELETED", "project": {"id": 1}, "tasks": [{"id": 1}]})
    assert [stored(events, name) for name in ("1", thing)] == [{"text 0"}, {"title 0"}]


def test_nothing_chosen_in_a_hidden_question_is_no_label(tmp_path: Path) -> None:
    events = EventHarness(tmp_path)
    several = choices("things", THINGS, 'choice="multiple"')
    config = view(choices("mood", MOODS), f"<View {ON_POLITE}>{several}</View>")
    annotate(events, config, 0, {"mood": ["Polite"], "things": ["page"]}, text="a")
    annotate(events, config, 1, {"mood": ["Polite"]}, text="b")
    annotate(events, config, 2, {"mood": ["Impolite"]}, text="c")
    press(events, config)
    name, request = events.started[-1]
    assert (name, request.labels) == ("1/questions/things", ((0,), ()))


def test_start_training_trains_every_question_that_is_served(
    service: Service, make_sentences: Sentences, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "ml_backend")
    before = [service.model(name).model_version for name in ("7", "7/questions/thing")]
    config = view(choices("thing", THINGS), choices("mood", MOODS), choices("unserved", ["A", "B"]))
    event = {"action": "START_TRAINING", "project": {"id": 7, "label_config": config}}
    answer = service.webhook(json.dumps(event).encode())
    job = service.job("7", answer["job"])
    while job.active or service.model("7/questions/thing").in_training:
        time.sleep(0.02)
        job = service.job("7", answer["job"])
    assert job.state == "done"
    after = [service.model(name).model_version for name in ("7", "7/questions/thing")]
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert [service.model(name).classes for name in ("7", "7/questions/thing")] == [MOODS, THINGS]
    assert "Project 7/questions/thing: Start Training starts job" in caplog.text
    assert service._projects.questions("7") == ["7", "7/questions/thing"]
    assert service.predict("7", BOTH, as_tasks(make_sentences(2)[0])).message == ""
