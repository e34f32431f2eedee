"""Any model of timm, which a user has installed, by its name behind `timm:`."""

from typing import TYPE_CHECKING, Any

from ml_backend.errors import EncoderUnavailable
from ml_backend.features.image_models.resize import Resize
from ml_backend.features.image_models.torch_model import TorchModel

if TYPE_CHECKING:
    from torch import Tensor

PREFIX = "timm:"


def load(name: str) -> TorchModel:
    """Load a model with its pretrained weights. timm's own transforms need torchvision, so these are not used.

    Raises EncoderUnavailable without timm, and errors of timm, of the hub and of the file system.
    """
    try:
        import timm
    except ModuleNotFoundError as error:
        raise EncoderUnavailable(
            "ML_BACKEND_IMAGE_ENCODER names a model of timm, which is not installed. Run: pip install timm."
        ) from error
    network = timm.create_model(name, pretrained=True, num_classes=0)  # without classes, it gives its last features
    config = timm.data.resolve_model_data_config(network)
    _, height, width = config["input_size"]
    resize = Resize(
        width,
        height,
        mean=tuple(255 * value for value in config["mean"]),
        deviation=tuple(255 * value for value in config["std"]),
        interpolation=config["interpolation"],
    )

    def forward(network: Any, pixels: "Tensor") -> "Tensor":
        vectors: Tensor = network(pixels)
        return vectors

    return TorchModel(network, lambda images: {"pixels": resize(images)}, forward, [PREFIX, resize])
