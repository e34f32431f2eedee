"""Audio models of transformers: which vector is a recording's, and what is refused."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from safetensors.torch import load_file, save_file
from support.made_recordings import make
from support.tiny_audio_models import KINDS, build

from ml_backend.features.audio_models import transformers_model
from ml_backend.features.audio_models.torch_model import AudioTorchModel
from ml_backend.features.recordings import SAMPLE_RATE, resample

pytestmark = pytest.mark.usefixtures("single_precision")

WINDOW = make(2, seconds=1.0)


def vectors_of(model: AudioTorchModel, *windows: np.ndarray) -> np.ndarray:
    return model.vectors(model.prepare(windows))


def expected(kind: str, folder: Path) -> np.ndarray:
    """The vector by the classes of each architecture, of length 1."""
    extractor = transformers.AutoFeatureExtractor.from_pretrained(folder)
    rate = extractor.sampling_rate
    inputs = extractor(resample(WINDOW, SAMPLE_RATE, rate), sampling_rate=rate, return_tensors="pt")
    with torch.inference_mode():
        if kind == "clap":
            model = transformers.ClapModel.from_pretrained(folder).eval()
            vector = model.audio_model(**inputs).pooler_output[0]
        elif kind == "ast":
            states = transformers.ASTModel.from_pretrained(folder).eval()(**inputs).last_hidden_state
            vector = (states[0, 0] + states[0, 1]) / 2  # what its classifier reads: both of its own tokens
        else:
            classes = {"hubert": transformers.HubertModel, "wav2vec2": transformers.Wav2Vec2Model}
            vector = classes[kind].from_pretrained(folder).eval()(**inputs).last_hidden_state[0].mean(0)
    return torch.nn.functional.normalize(vector, dim=0).numpy()


@pytest.mark.parametrize("kind", KINDS)
def test_the_vector_is_that_of_the_architecture(kind: str, tmp_path: Path) -> None:
    folder = build(tmp_path / kind, kind)
    model = transformers_model.load(str(folder))
    np.testing.assert_allclose(vectors_of(model, WINDOW)[0], expected(kind, folder), atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors_of(model, WINDOW, WINDOW[:9_000]), axis=1), 1, atol=1e-5)


def test_windows_of_any_length_are_not_padded_by_each_other(tmp_path: Path) -> None:
    model = transformers_model.load(str(build(tmp_path / "m", "wav2vec2")))
    windows = [WINDOW, WINDOW[:5_000], WINDOW, WINDOW[:1_600]]
    alone = np.concatenate([vectors_of(model, window) for window in windows])
    np.testing.assert_allclose(vectors_of(model, *windows), alone, atol=1e-6)


def test_missing_weights_are_refused(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "ast")
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layer" in name)
    save_file({name: tensor for name, tensor in weights.items() if name != gone}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"These weights are missing: .*layer"):
        transformers_model.load(str(folder))


def test_weights_that_only_the_training_needs_may_be_missing(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "wav2vec2")
    weights = load_file(folder / "model.safetensors")
    left = {name: tensor for name, tensor in weights.items() if not name.endswith("masked_spec_embed")}
    assert len(left) == len(weights) - 1
    save_file(left, folder / "model.safetensors")
    assert vectors_of(transformers_model.load(str(folder)), WINDOW).shape == (1, 24)


def test_a_model_of_images_is_refused(tmp_path: Path) -> None:
    from support.tiny_image_models import build as build_image_model

    with pytest.raises(Exception, match=r"feature extractor|preprocessor"):
        transformers_model.load(str(build_image_model(tmp_path / "m")))


def test_the_fingerprint_depends_on_weights_and_preprocessing(tmp_path: Path) -> None:
    folder = build(tmp_path / "m", "ast")
    first = transformers_model.load(str(folder)).fingerprint
    file = folder / "preprocessor_config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps({**settings, "std": 2.0}))
    assert transformers_model.load(str(folder)).fingerprint != first
    file.write_text(json.dumps(settings))
    assert transformers_model.load(str(folder)).fingerprint == first
    assert transformers_model.load(str(build(tmp_path / "n", "ast", seed=1))).fingerprint != first
