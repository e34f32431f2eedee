"""Image models of transformers: which vector is a picture's, and what is refused."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from PIL import Image
from safetensors.torch import load_file, save_file
from support.drawn_pictures import picture
from support.tiny_image_models import KINDS, SIDE, build

from ml_backend.features import device
from ml_backend.features.image_models import transformers_model
from ml_backend.features.image_models.torch_model import TorchModel

pytestmark = pytest.mark.usefixtures("single_precision")


@pytest.fixture(scope="module")
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model of the kind that a test names."""
    return build(tmp_path_factory.mktemp("tiny") / request.param, request.param)


def vectors_of(model: TorchModel, *images: Image.Image) -> np.ndarray:
    return model.vectors(model.prepare(images))


def expected(kind: str, folder: Path, pixels: torch.Tensor) -> torch.Tensor:
    """The vectors by the classes of each architecture."""
    if kind == "vit":
        return transformers.ViTModel.from_pretrained(folder, add_pooling_layer=False)(pixels).last_hidden_state[:, 0]
    classes = {
        "clip": transformers.CLIPVisionModel,
        "siglip": transformers.SiglipVisionModel,
        "dinov2": transformers.Dinov2Model,
        "dinov3": transformers.DINOv3ViTModel,
        "convnextv2": transformers.ConvNextV2Model,
        "resnet": transformers.ResNetModel,
    }
    outputs = classes[kind].from_pretrained(folder).eval()(pixels)
    if kind in ("dinov2", "dinov3"):
        return outputs.last_hidden_state[:, 0]
    return outputs.pooler_output.flatten(1)


@pytest.mark.parametrize(("folder", "kind"), [(kind, kind) for kind in KINDS], indirect=["folder"])
def test_each_architecture_gives_the_vector_that_its_classifier_reads(folder: Path, kind: str) -> None:
    images = [picture(seed, (SIDE, SIDE)) for seed in range(3)]
    pixels = np.stack([np.asarray(image, np.float32) for image in images]).transpose(0, 3, 1, 2) / 255
    with torch.inference_mode():
        reference = expected(kind, folder, torch.from_numpy((pixels - 0.5) / 0.5)).numpy()
    vectors = vectors_of(transformers_model.load(str(folder)), *images)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, reference / np.linalg.norm(reference, axis=1, keepdims=True), atol=1e-5)
    assert np.abs(vectors[0] - vectors[1]).max() > 1e-3  # they are different pictures


@pytest.mark.parametrize("folder", ["clip"], indirect=True)
def test_texts_need_no_memory(folder: Path) -> None:
    model = transformers_model.load(str(folder))
    whole = transformers.CLIPModel.from_pretrained(folder)
    names = {name.removeprefix("vision_model.") for name, _ in whole.named_parameters() if "vision_model" in name}
    assert {name for name, _ in model._network.named_parameters()} == names


def test_fingerprints_are_those_of_weights_and_preprocessing(tmp_path: Path) -> None:
    def fingerprint(name: str, **changes: Any) -> str:
        return transformers_model.load(str(build(tmp_path / name, **changes))).fingerprint

    first = fingerprint("first")
    assert fingerprint("again") == first
    others = [
        fingerprint("weights", seed=1),
        fingerprint("crop", size={"shortest_edge": 40}),
        fingerprint("colours", image_mean=[0.485, 0.456, 0.406]),
        fingerprint("interpolation", resample=2),
    ]
    assert len({first, *others}) == 5


def test_vectors_in_bfloat16_are_nearly_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = transformers_model.load(str(build(tmp_path / "model")))
    images = [picture(seed) for seed in range(8)]
    single = vectors_of(model, *images)
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: True)
    half = vectors_of(model, *images)
    assert half.dtype == np.float32
    assert 0.999 < (single * half).sum(1).min() < 1 - 1e-7


def test_weights_in_half_precision_are_computed_in_single(tmp_path: Path) -> None:
    folder = build(tmp_path / "half")
    file = folder / "model.safetensors"
    save_file({name: tensor.half() for name, tensor in load_file(file).items()}, file, {"format": "pt"})
    config = folder / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"dtype": "float16", "torch_dtype": "float16"}))
    model = transformers_model.load(str(folder))
    assert {parameter.dtype for parameter in model._network.parameters()} == {torch.float32}
    whole = transformers_model.load(str(build(tmp_path / "single")))
    images = [picture(seed) for seed in range(3)]
    np.testing.assert_allclose(vectors_of(model, *images), vectors_of(whole, *images), atol=0.01)
    assert model.fingerprint != whole.fingerprint


def test_a_checkpoint_without_some_weights_is_refused(tmp_path: Path) -> None:
    file = build(tmp_path / "model") / "model.safetensors"
    state = load_file(file)
    save_file({name: tensor for name, tensor in state.items() if "layernorm" not in name}, file, {"format": "pt"})
    with pytest.raises(ValueError, match=r"missing: layernorm\.bias"):
        transformers_model.load(str(tmp_path / "model"))


def test_a_model_of_texts_is_refused(tmp_path: Path) -> None:
    config = transformers.BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20)
    transformers.BertModel(config).save_pretrained(tmp_path)
    with pytest.raises((OSError, ValueError)):
        transformers_model.load(str(tmp_path))


def test_a_model_whose_vectors_depend_on_chance_is_refused(tmp_path: Path) -> None:
    folder = build(tmp_path / "vit", "vit")  # for its image processor
    config = transformers.ViTMAEConfig(
        hidden_size=24, num_hidden_layers=1, num_attention_heads=2, intermediate_size=48, image_size=SIDE, patch_size=8
    )
    transformers.ViTMAEModel(config).save_pretrained(folder)
    with pytest.raises(ValueError, match="depend on chance"):
        transformers_model.load(str(folder))


def test_code_of_a_model_never_runs(tmp_path: Path) -> None:
    folder = build(tmp_path / "model")
    (folder / "own.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\nfrom transformers import BertModel as Own\n")
    config = folder / "config.json"
    own = {"model_type": "own", "auto_map": {"AutoConfig": "own.Own", "AutoModel": "own.Own"}}
    config.write_text(json.dumps(json.loads(config.read_text()) | own))
    with pytest.raises(ValueError, match="custom code"):
        transformers_model.load(str(folder))
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    ("outputs", "first_token", "mean"),
    [
        ({"last_hidden_state": torch.arange(24.0).reshape(2, 3, 4), "pooler_output": None}, True, [1.5, 13.5]),
        ({"last_hidden_state": torch.arange(24.0).reshape(2, 3, 4), "pooler_output": None}, False, [5.5, 17.5]),
        ({"last_hidden_state": torch.arange(24.0).reshape(2, 4, 3, 1)}, False, [5.5, 17.5]),
        ({"last_hidden_state": torch.zeros(2, 3, 4), "pooler_output": torch.ones(2, 4, 1, 1)}, False, [1, 1]),
    ],
)
def test_a_picture_has_one_vector(outputs: dict[str, Any], first_token: bool, mean: list[float]) -> None:
    vectors = transformers_model.image_vectors(SimpleNamespace(**outputs), first_token)
    assert vectors.shape == (2, 4)
    assert vectors.mean(1).tolist() == mean
