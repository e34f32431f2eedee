"""The classifier `auto` on images and recordings: their encoders are fine-tuned as those of texts are."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support import made_recordings, tiny_audio_models, tiny_image_models
from support.drawn_images import as_bytes
from support.tiny_image_models import SIDE
from support.training_harness import TrainingHarness

from ml_backend.features.audio_encoder import AudioEncoder
from ml_backend.features.encoder import Encoder
from ml_backend.progress import Progress, ProgressUpdate
from ml_backend.storage.dataset import Kind, digest
from ml_backend.training import train as training

pytestmark = pytest.mark.service
FEW = {"finetune": "now", "finetune_steps": 80, "finetune_learning_rate": 2e-3}
Make = Callable[..., TrainingHarness]


@pytest.fixture(scope="session")
def images() -> list[bytes]:
    """200 images of grey waves, which run down and across in turn."""

    def image(number: int) -> bytes:
        random = np.random.default_rng(number)
        along = np.mgrid[:SIDE, :SIDE][number % 2] * random.uniform(0.4, 0.9) + random.uniform(0, 6)
        shades = 128 + 60 * np.sin(along) + random.normal(0, 20, (SIDE, SIDE))
        return as_bytes(Image.fromarray(shades.clip(0, 255).astype(np.uint8)))

    return [image(number) for number in range(200)]


@pytest.fixture(scope="session")
def recordings() -> list[bytes]:
    """200 short recordings of sounds that fall and rise in turn."""
    rising = [made_recordings.make(number, "chirp", seconds=0.4) for number in range(200)]
    return [
        made_recordings.as_bytes(samples if number % 2 else samples[::-1].copy())
        for number, samples in enumerate(rising)
    ]


@pytest.fixture
def make(tmp_path: Path, tiny_encoder: Encoder) -> Make:
    """Makes a project with tiny encoders. Called again, the same project with other settings."""
    image_model = tiny_image_models.build(tmp_path / "image-model")
    audio_model = tiny_audio_models.build(tmp_path / "audio-model")

    def project(**settings: object) -> TrainingHarness:
        encoders = {"image_encoder": str(image_model), "audio_encoder": str(audio_model)}
        return TrainingHarness(tmp_path / "project", tiny_encoder, "encoders", **{**encoders, **FEW, **settings})

    return project


@pytest.fixture
def media(
    request: pytest.FixtureRequest, make: Make, monkeypatch: pytest.MonkeyPatch
) -> tuple[TrainingHarness, list[bytes]]:
    """A project of a kind of media, which it holds. What takes a GPU with real weights takes no time with tiny ones."""
    kind: Kind = request.param
    monkeypatch.setattr(AudioEncoder, "is_trainable", True)
    contents = request.getfixturevalue({"image": "images", "audio": "recordings"}[kind])
    bench = make()
    bench.hold_media(kind, contents)
    return bench, contents


both = pytest.mark.parametrize("media", ["image", "audio"], indirect=True)


@both
def test_labels_by_chance_stay_by_chance_out_of_sample(
    media: tuple[TrainingHarness, list[bytes]], by_chance: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(training, "is_better", lambda losses: True)
    bench, contents = media
    for size in (100, 199):  # the second time with encoders that have seen half of the labels
        model = bench.train(contents[:size], by_chance[:size])
        assert model.feature_spec.embedding == "fine-tuned"
        probabilities, folds = bench.out_of_sample(contents[:size])
        assert (folds >= 0).all()
        assert abs((probabilities.argmax(axis=1) == by_chance[:size]).mean() - 0.5) < 0.17


@both
def test_the_one_that_predicts_unseen_labels_better_serves(media: tuple[TrainingHarness, list[bytes]]) -> None:
    bench, contents = media
    truth = [number % 2 for number in range(200)]
    told: list[ProgressUpdate] = []
    bench.project.train(bench.request(contents[:100], truth[:100]), Progress(told.append))
    model = bench.model
    losses = model.settings["losses"]
    assert model.feature_spec.embedding == min(losses, key=losses.get)
    assert losses["fine-tuned"] < 0.8 * losses["frozen"]
    assert bench.right(contents[100:], truth[100:]) > 0.8
    # The encoders of the folds have seen the labelled ones only. All are embedded with their mean.
    keys = [digest(content) for content in contents]
    stored = [len(bench.project.dataset.features(key, keys)) for key in model.feature_spec.finetuned]
    assert stored == [100, 100, 200]
    words = {"image": "images", "audio": "recordings"}[bench.project.features.kind]
    assert list(dict.fromkeys(update.stage for update in told)) == [
        *(f"embedding {words}", "fine-tuning encoders", f"embedding labelled {words}", "training"),
        f"embedding {words} anew",
    ]


def is_due(bench: TrainingHarness, contents: list[bytes]) -> bool:
    """Whether encoders would be fine-tuned after a training on 100 labels."""
    labels = [number % 2 for number in range(100)]
    request = bench.request(contents[:100], labels, finetune="background")
    bench.project.train(request, Progress(lambda update: None))
    return bench.project.finetuning_is_due(request)


def test_encoders_without_weights_are_not_fine_tuned(make: Make, images: list[bytes], recordings: list[bytes]) -> None:
    bench = make(image_encoder="pixels", audio_encoder="melstats")
    bench.hold_media("image", images)
    assert not is_due(bench, images)
    bench.hold_media("audio", recordings)
    assert not is_due(bench, recordings)


def test_recordings_need_a_gpu(make: Make, recordings: list[bytes]) -> None:
    bench = make()
    bench.hold_media("audio", recordings)
    assert not is_due(bench, recordings)


def test_images_that_were_dropped_are_not_learned_from(make: Make, images: list[bytes]) -> None:
    bench = make(keep_media=False)
    bench.hold_media("image", images)
    assert not is_due(bench, images)
    kept = make(keep_media=True)  # the copies are gone all the same
    assert not is_due(kept, images)
    kept.project.dataset.add_media([digest(image) for image in images], images)
    assert is_due(kept, images)
