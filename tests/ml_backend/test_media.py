"""Images and recordings: brought as small copies, by the digests of their addresses."""

import base64
import io
import json
import logging
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
from pydantic import SecretStr
from support.drawn_images import KINDS, png
from support.in_process_worker import InProcessWorker
from support.made_recordings import as_bytes, make, wav
from support.media_server import MediaServer, Reply
from support.tiny_image_models import build
from support.training_jobs import trained
from support.webhook_events import ANNOTATED

from ml_backend.errors import EncoderUnavailable, InvalidRequest, NotFound
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


def test_images_of_new_tasks_are_fetched_if_the_server_knows_label_studio(
    tmp_path: Path, tiny_encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    with closing(MediaServer()) as label_studio:
        label_studio.replies["/data/upload/1/new.png"] = Reply(png(20))
        label_studio.replies["/data/upload/1/silent.png"] = Reply(how="silent")
        settings = Settings(
            model_dir=tmp_path,
            image_encoder="pixels",
            label_studio_url=f"{label_studio.url}/projects/1",  # as people copy it
            label_studio_api_key=SecretStr("0123456789abcdef0123456789abcdef01234567"),
            media_seconds=3,
        )
        running = Service(settings, tiny_encoder, partial(InProcessWorker, encoder=tiny_encoder))
        bring(running, "7", list(range(16)))
        train(running, "7", list(range(16)))
        label_studio.requests.clear()
        private = "http://127.0.0.2:1/a.png"
        addresses = ["/data/upload/1/new.png", address(3), "/data/upload/1/silent.png", private, "file:///etc/passwd"]
        with caplog.at_level(logging.INFO):
            response = running.predict("7.1700000000", CONFIG, as_tasks(addresses))
        assert [entry.result[0]["value"]["choices"] if entry.result else None for entry in response.results] == [
            ["circle"],
            ["square"],
            None,
            None,
            None,
        ]
        assert sorted(label_studio.paths) == ["/data/upload/1/new.png", "/data/upload/1/silent.png"]
        assert {request.headers["authorization"] for request in label_studio.requests} == {
            "Token 0123456789abcdef0123456789abcdef01234567"
        }
        assert "Task 2 gets no prediction" in caplog.text
        assert running.set_items("7", np.array([50]), hashes(["/data/upload/1/new.png"]), "image").tolist() == [0]
        running.close()


def test_the_same_image_at_two_addresses_is_one_content(service: Service) -> None:
    addresses = [address(1), "https://images.example.com/copy.png", address(2)]
    missing = service.set_items("twice", np.array([1, 2, 3]), hashes(addresses), "image")
    assert missing.tolist() == [0, 1, 2]
    assert service.add_media("twice", hashes(addresses), *packed([png(1), png(1), png(2)])) == []
    assert service.distinct("twice", [1, 2, 3], 3) == [1, 3]
    assert service.set_items("twice", np.array([1, 2, 3]), hashes(addresses), "image").tolist() == []
    digests = service._projects.create("twice").dataset.digests_of_items()
    assert digests[1] == digests[2] != digests[3]
    with pytest.raises(InvalidRequest, match="two items that differ"):  # so that no fold could hold one of them out
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


SOUNDS = (
    '<View><Audio name="a" value="$sound"/><Choices name="kind" toName="a">'
    '<Choice value="tone"/><Choice value="noise"/></Choices></View>'
)


def bring_recordings(service: Service, project: str, numbers: list[int]) -> None:
    """Put the items and send what is missing: tones for even numbers, noises for odd ones."""
    addresses = [f"/data/upload/1/{number}.wav" for number in numbers]
    missing = service.set_items(project, np.array(numbers), hashes(addresses), "audio")
    contents = packed([recording(numbers[place]) for place in missing])
    assert service.add_media(project, hashes([addresses[place] for place in missing]), *contents) == []


def recording(number: int) -> bytes:
    return as_bytes(make(number, ("tone", "noise")[number % 2]), "FLAC")


@pytest.fixture(scope="module")
def listening(tmp_path_factory: pytest.TempPathFactory, tiny_encoder: Encoder) -> Iterator[Service]:
    """A service whose project "7" has a model of recordings, by their bands."""
    settings = Settings(model_dir=tmp_path_factory.mktemp("sounds"), audio_encoder="melstats")
    running = Service(settings, tiny_encoder, partial(InProcessWorker, encoder=tiny_encoder))
    bring_recordings(running, "7", list(range(COUNT)))
    train(running, "7", list(range(16)), classes=["tone", "noise"], control="kind")
    yield running
    running.close()


def test_a_model_of_recordings_tells_them_apart(listening: Service) -> None:
    arrays = listening.probabilities("7")
    assert arrays["ids"].tolist() == list(range(COUNT))
    assert (arrays["pred_probs"].argmax(axis=1) == np.arange(COUNT) % 2).mean() > 0.9
    assert listening.model("7").embedding == "frozen"


def test_recordings_that_were_brought_or_are_in_the_task_are_answered(listening: Service) -> None:
    inside = base64.b64encode(recording(101)).decode()
    addresses = ["/data/upload/1/20.wav", f"data:audio/flac;base64,{inside}", "/data/upload/1/unknown.wav"]
    addresses += [f"data:audio/mpeg;base64,{base64.b64encode(as_bytes(make(0), 'MP3')).decode()}"]
    tasks = [{"id": number, "data": {"sound": one}} for number, one in enumerate(addresses)]
    response = listening.predict("7.1700000000", SOUNDS, tasks)
    found = [entry.result[0]["value"]["choices"] if entry.result else None for entry in response.results]
    assert found == [["tone"], ["noise"], None, None]


def test_a_model_of_recordings_does_not_answer_about_images(listening: Service) -> None:
    config = SOUNDS.replace("<Audio", "<Image")
    response = listening.predict("7.1700000000", config, [{"id": 1, "data": {"sound": "/data/upload/1/20.wav"}}])
    assert response.results[0].result == []


def test_what_is_no_recording_is_left_out_and_named(listening: Service) -> None:
    addresses = [address(number) for number in range(3)]
    listening.set_items("odd", np.arange(3), hashes(addresses), "audio")
    assert listening.add_media("odd", hashes(addresses), *packed([wav(0), png(0), b""])) == [1, 2]
    assert listening.set_items("odd", np.arange(3), hashes(addresses), "audio").tolist() == [1, 2]
    # The same addresses as those of images are read anew.
    assert listening.set_items("odd", np.arange(3), hashes(addresses), "image").tolist() == [0, 1, 2]
    assert listening._projects.create("odd").dataset.count_texts() == 0


def test_near_duplicates_among_recordings_wait(listening: Service) -> None:
    again = (make(4, "tone") * 0.5).astype(np.float32)
    contents = [recording(4), recording(6), as_bytes(again), recording(8)]
    addresses = [f"/data/upload/2/{number}.wav" for number in range(4)]
    listening.set_items("twice", np.arange(4), hashes(addresses), "audio")
    assert listening.add_media("twice", hashes(addresses), *packed(contents)) == []
    assert listening.distinct("twice", [0, 1, 2, 3], 4) == [0, 1, 3]


def test_embeddings_that_were_computed_stay_if_a_request_ends_early(
    listening: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_recordings(listening, "early", list(range(12)))
    features = listening._projects.create("early").features
    dataset, encode, calls = listening._projects.create("early").dataset, features._encoder.encode, list[int]()

    def fail_at_the_third(contents: list[bytes]) -> np.ndarray:
        calls.append(len(contents))
        if len(calls) == 3:
            raise EncoderUnavailable("The machine has no memory left.")
        return encode(contents)

    with monkeypatch.context() as patched:
        patched.setattr(features._encoder, "encode", fail_at_the_third)
        with pytest.raises(EncoderUnavailable):
            listening.spread("early", list(range(12)), 5, 0)
    assert calls == [4, 4, 4]
    assert len(dataset.lacking(features.fingerprint)) == 4
    assert len(listening.spread("early", list(range(12)), 5, 0)) == 5
    assert dataset.lacking(features.fingerprint) == []


def test_a_window_is_spread_over_what_could_be_embedded_in_time(
    listening: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    bring_recordings(listening, "slow", list(range(12)))
    monkeypatch.setattr("ml_backend.service._SPREAD_SECONDS", 0.0)
    first = listening.spread("slow", list(range(12)), 12, 0)
    assert len(first) == 4  # a chunk
    assert set(first) != set(range(4))  # at random, because the order of the items may mean something
    assert set(first) < set(listening.spread("slow", list(range(12)), 12, 0))  # goes on where it ended
    monkeypatch.undo()
    assert sorted(listening.spread("slow", list(range(12)), 12, 0)) == list(range(12))
