"""The processor that PyTorch computes on: its name, its precision, and how many texts it takes at a time."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import torch

_ON_CPU = 16  # the fastest: short texts of similar lengths stay in the cache
_ON_GPU = 256  # at first
_BATCHES_A_CHUNK = 4

T = TypeVar("T")

log = logging.getLogger(__name__)
_fits: dict[str, int] = {}  # by the device's type: texts at a time, after it ran out of memory


def name() -> str:
    """Where new models are loaded, such as "cuda:0", "mps" or "cpu"."""
    from sentence_transformers.util import get_device_name

    return str(get_device_name())


def batch_size(device: str) -> int:
    """How many texts go through a model at a time, on a type of device such as "cuda" or "cpu"."""
    return _fits.get(device, _ON_CPU if device == "cpu" else _ON_GPU)


def chunk_size(device: str) -> int:
    """How many texts are computed while others wait, and stored together: some batches."""
    return _BATCHES_A_CHUNK * batch_size(device)


def compute(device: str, with_batch_size: Callable[[int], T]) -> T:
    """The result of `with_batch_size(size)`. After the device ran out of memory, again with half the size, from now on.

    Raises what the function raises otherwise, and if not even one text fits.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    while True:
        size = batch_size(device)
        try:
            return with_batch_size(size)
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        # Outside of the handler: the exception's traceback holds the tensors of the batch.
        _fits[device] = size // 2
        log.warning("%d texts at a time do not fit into the memory of %s. Going on with %d.", size, device, size // 2)
        clear_device_cache(garbage_collection=True)


def precision(device: "torch.device") -> AbstractContextManager[Any]:
    """Compute in bfloat16 if the processor supports it, which halves the time, else in float32."""
    import torch

    return torch.autocast(device.type, torch.bfloat16, enabled=has_fast_bfloat16(device.type))


def has_fast_bfloat16(device: str) -> bool:
    """Whether a type of device, such as "cuda" or "cpu", computes quickly in bfloat16."""
    import torch

    if device == "cuda":
        return bool(torch.cuda.is_bf16_supported())
    if device != "cpu":
        return False
    return bool(getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)())
