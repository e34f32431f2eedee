"""Images: brought as small copies, by the digests of their addresses."""

import io
import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from support.drawn_images import KINDS, png
from support.in_process_worker import InProcessWorker
from support.tiny_image_models import build
from support.training_jobs import trained
from support.webhook_events import ANNOTATED

from ml_backend.errors import InvalidRequest, NotFound
from ml_backend.features.encoder import Encoder
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.schemas import TrainRequest
from ml_backend.service import Service
from ml_backend.settings import Settings
from ml_backend.storage.dataset import Dataset, digest
from ml_backend.training.request import TrainingRequest

CONFIG = (
    '<View><Image name="i" value="$image"/><Choices name="shape" toName="i">'
    '<Choice value="circle"/><Choice value="square"/></Choices></View>'
)
COUNT = 24


def address(number: int) -> str:
    return f"/data/upload/1/{number}.png"


def hashes(addresses: list[str]) -> np.ndarray:
    return np.frombuffer(b"".join(map(digest, addresses)), dtype=np.uint8).reshape(-1, 16)


def packed(contents: list[bytes]) -> tuple[np.ndarray, np.ndarray]:
    return np.array([len(one) for one in contents], np.int64), np.frombuffer(b"".join(contents), np.uint8)


def bring(service: Service, project: str, numbers: list[int]) -> None:
    """Put the items and send what is missing, as the connector does."""
    addresses = [address(number) for number in numbers]
    missing = service.set_items(project, np.array(numbers), hashes(addresses), "image")
    contents = packed([png(numbers[place]) for place in missing])
    service.add_media(project, hashes([addresses[place] for place in missing]), *contents)


def train(service: Service, project: str, numbers: list[int], **options: Any) -> str:
    labels = [number % 2 for number in numbers]
    options = {"classes": KINDS, "folds": 2, "control": "shape", **options}
    job = service.train(project, TrainRequest(ids=numbers, labels=labels, **options))
    return trained(service, project, job)


def as_tasks(addresses: list[str]) -> list[dict[str, Any]]:
    return [{"id": number, "data": {"image": one}} for number, one in enumerate(addresses)]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Iterator[Service]:
    """A service whose project "7" has a model of images, by colour and gradients."""
    settings = Settings(model_dir=tmp_path_factory.mktemp("media"), image_encoder="pixels")
    running = Service(settings, tiny_encoder, partial(InProcessWorker, encoder=tiny_encoder))
    bring(running, "7", list(range(COUNT)))
    train(running, "7", list(range(16)))
    yield running
    running.close()


def test_a_model_of_images_tells_them_apart(service: Service) -> None:
    arrays = service.probabilities("7")
    assert arrays["ids"].tolist() == list(range(COUNT))
    predicted = arrays["pred_probs"].argmax(axis=1)
    assert (predicted == np.arange(COUNT) % 2).mean() > 0.9
    assert (arrays["fold"] >= 0).tolist() == [True] * 16 + [False] * 8
    state = service.model("7")
    assert (state.embedding, state.classes) == ("frozen", KINDS)


def test_known_tasks_are_answered_from_their_vectors_and_others_with_nothing(service: Service) -> None:
    addresses = [address(20), "/data/upload/1/unknown.png", address(21)]
    response = service.predict("7.1700000000", CONFIG, [*as_tasks(addresses), {"data": {}}, None])
    assert [entry.result[0]["value"]["choices"] if entry.result else None for entry in response.results] == [
        ["circle"],
        None,
        ["square"],
        None,
        None,
    ]
    assert response.results[1].score == 0.0
    assert response.message == ""


def test_the_same_image_at_two_addresses_is_one_content(service: Service) -> None:
    addresses = [address(1), "https://images.example.com/copy.png", address(2)]
    missing = service.set_items("twice", np.array([1, 2, 3]), hashes(addresses), "image")
    assert missing.tolist() == [0, 1, 2]
    assert service.add_media("twice", hashes(addresses), *packed([png(1), png(1), png(2)])) == []
    assert service.distinct("twice", [1, 2, 3], 3) == [1, 3]
    assert service.set_items("twice", np.array([1, 2, 3]), hashes(addresses), "image").tolist() == []
    digests = service._projects.create("twice").dataset.digests_of_items()
    assert digests[1] == digests[2] != digests[3]
    with pytest.raises(InvalidRequest, match="two different texts"):  # so that no fold could hold one of them out
        train(service, "twice", [1, 2])


def test_what_is_no_image_is_left_out_and_named(service: Service) -> None:
    addresses = [address(number) for number in range(3)]
    service.set_items("odd", np.arange(3), hashes(addresses), "image")
    refused = service.add_media("odd", hashes(addresses), *packed([png(0), b"<html>", b""]))
    assert refused == [1, 2]
    assert service.set_items("odd", np.arange(3), hashes(addresses), "image").tolist() == [1, 2]


def test_media_are_refused_in_a_sentence(service: Service) -> None:
    sources, (sizes, contents) = hashes([address(0)]), packed([png(0)])
    with pytest.raises(NotFound):
        service.add_media("nowhere", sources, sizes, contents)
    service.set_items("texts", np.array([1]), hashes(["Hello"]))
    with pytest.raises(InvalidRequest, match="are texts"):
        service.add_media("texts", sources, sizes, contents)
    for wrong in ((sources, sizes + 1, contents), (sources, sizes[:0], contents), (sources[:, :8], sizes, contents)):
        with pytest.raises(InvalidRequest, match="Send 'sources'"):
            service.add_media("7", *wrong)
    with pytest.raises(InvalidRequest, match="negative"):
        service.add_media("7", hashes(["a", "b"]), np.array([-1, 1 + len(contents)]), contents)


def test_items_that_become_texts_lose_their_images(service: Service) -> None:
    bring(service, "changed", [1, 2])
    dataset = service._projects.create("changed").dataset
    assert (dataset.kind, dataset.count_texts()) == ("image", 2)
    assert service.set_items("changed", np.array([1, 2]), hashes(["Hello", "Bye"])).tolist() == [0, 1]
    assert (dataset.kind, dataset.count_texts()) == ("text", 0)
    service.add_texts("changed", ["Hello", "Bye"])
    assert dataset.digests_of_items() == {1: digest("Hello"), 2: digest("Bye")}


@pytest.mark.parametrize("classifier", ["auto", "logistic-cv", "transformer"])
def test_every_classifier_can_be_asked_for(service: Service, classifier: Any) -> None:
    bring(service, classifier, list(range(12)))
    train(service, classifier, list(range(12)), classifier=classifier)
    assert service.model(classifier).in_training is False
    assert service.probabilities(classifier)["ids"].tolist() == list(range(12))


def test_annotations_that_events_report_train_too(service: Service) -> None:
    bring(service, "70", list(range(12)))
    for number in range(8):
        event = json.loads(json.dumps(ANNOTATED))
        result = [{"from_name": "shape", "to_name": "i", "type": "choices", "value": {"choices": [KINDS[number % 2]]}}]
        event["project"] = {"id": 70, "label_config": CONFIG}
        event["task"] = {"id": number, "data": {"image": address(number)}}
        event["annotation"] = {**event["annotation"], "id": 100 + number, "task": number, "result": result}
        assert service.webhook(json.dumps(event).encode()) == {}
    dataset = service._projects.create("70").dataset
    assert {row.digest for row in dataset.annotations("image")} == {digest(png(number)) for number in range(8)}
    assert dataset.count_texts() == 12  # no address has become a text
    answer = service.webhook(
        json.dumps({"action": "START_TRAINING", "project": {"id": 70, "label_config": CONFIG}}).encode()
    )
    trained(service, "70", service.job("70", answer["job"]))
    assert service.model("70").labels == 8


def test_contents_outlive_a_restart(tmp_path: Path) -> None:
    dataset = Dataset(tmp_path / "pool.sqlite")
    sources = [digest(address(number)) for number in range(2)]
    assert dataset.set_items([1, 2], sources, "image") == [0, 1]
    dataset.add_media(sources[:1], [b"one"])
    again = Dataset(tmp_path / "pool.sqlite")
    assert again.kind == "image"
    assert again.set_items([1, 2], sources, "image") == [1]
    assert again.texts([digest(b"one")]) == {digest(b"one"): b"one"}
    assert again.set_items([2], sources[1:], "image") == [0]
    assert again.digests_of_sources(sources) == [None, None]  # of no item any more


def copies_on_disk(directory: Path) -> int:
    """How many of the images of `bring` are in any file below a folder."""
    files = [path.read_bytes() for path in directory.rglob("*") if path.is_file()]
    return sum(any(png(number)[-200:] in file for file in files) for number in range(COUNT))


def test_copies_are_dropped_when_their_vectors_are_there_and_asked_for_again_by_another_encoder(
    tmp_path: Path, tiny_encoder: Encoder
) -> None:
    folder = tmp_path / "models"
    settings = Settings(model_dir=folder, image_encoder="pixels", keep_media=False)
    numbers, addresses = np.arange(COUNT), [address(number) for number in range(COUNT)]

    def begin(settings: Settings) -> Service:
        return Service(settings, tiny_encoder, partial(InProcessWorker, encoder=tiny_encoder))

    service = begin(settings)
    bring(service, "7", numbers.tolist())
    assert copies_on_disk(folder) == COUNT
    train(service, "7", list(range(16)))
    assert copies_on_disk(folder) == 0
    before = service.probabilities("7")["pred_probs"]
    assert (before.argmax(axis=1) == numbers % 2).mean() > 0.9
    assert len(service.spread("7", numbers.tolist(), 5, 0)) == 5
    assert service.set_items("7", numbers, hashes(addresses), "image").tolist() == []
    new = [*addresses, address(COUNT)]
    assert service.set_items("7", np.arange(COUNT + 1), hashes(new), "image").tolist() == [COUNT]
    train(service, "7", list(range(16)))  # on vectors alone
    service.close()

    other = begin(settings.model_copy(update={"image_encoder": str(build(tmp_path / "dinov2"))}))
    assert other.set_items("7", numbers, hashes(addresses), "image").tolist() == numbers.tolist()
    bring(other, "7", numbers.tolist())
    assert other.set_items("7", numbers, hashes(addresses), "image").tolist() == []
    train(other, "7", list(range(16)))
    assert other.probabilities("7")["ids"].tolist() == numbers.tolist()
    assert copies_on_disk(folder) == 0
    other.close()


def test_a_training_on_images_names_its_stages_after_them(service: Service) -> None:
    bring(service, "staged", list(range(12)))
    project = service._projects.create("staged")
    digests = project.dataset.digests_of_items()
    labelled = [(digests[number], number % 2, 1.0) for number in range(12)]
    request = TrainingRequest.of(Settings(), KINDS, labelled, multilabel=False, folds=2, seed=0, classifier=None)
    told: list[ProgressUpdate] = []
    project.train(request, Progress(told.append))
    assert list(dict.fromkeys(update.stage for update in told)) == ["embedding images", "training"]
    shares = [update.progress for update in told]
    assert shares == sorted(shares)
    assert shares[-1] == 1


def test_copies_are_sent_over_http(server: Any) -> None:
    client = server.client("over-http")
    sources = hashes([address(1), address(2)])
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.array([1, 2]), hashes=sources)
    answer = requests.put(f"{client.base}/items", params={"kind": "image"}, data=buffer.getvalue(), timeout=5)
    assert np.load(io.BytesIO(answer.content))["missing"].tolist() == [0, 1]
    sizes, contents = packed([png(1), b"no image"])
    buffer = io.BytesIO()
    np.savez(buffer, sources=sources, sizes=sizes, contents=contents)
    answer = requests.post(f"{client.base}/media", data=buffer.getvalue(), timeout=5)
    assert (answer.status_code, answer.json()) == (200, {"unusable": [1]})
    assert requests.put(f"{client.base}/items", params={"kind": "film"}, data=b"", timeout=5).status_code == 422
    assert requests.post(f"{client.base}/media", data=b"", timeout=5).status_code == 422
