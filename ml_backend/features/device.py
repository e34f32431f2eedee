"""The processor that PyTorch computes on: its name, its precision, and how many items it takes at a time."""

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Literal, TypeVar

if TYPE_CHECKING:
    import torch

Content = Literal["texts", "images", "recordings"]
# Short texts of similar lengths stay in the cache. An image is some 200 tokens, so a few fill it. Ten seconds of sound
# are 500 or 1,200 tokens.
_ON_CPU: dict[Content, int] = {"texts": 16, "images": 4, "recordings": 1}
_ON_GPU: dict[Content, int] = {"texts": 256, "images": 64, "recordings": 16}  # at first
BATCHES_A_CHUNK = 4

T = TypeVar("T")

log = logging.getLogger(__name__)
_fits: dict[tuple[str, Content], int] = {}  # by the device's type: items at a time, after it ran out of memory


def set_up(threads: int) -> None:
    """Set the threads of PyTorch (0: its default), and switch off the progress bars of transformers."""
    import torch
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    if threads:
        torch.set_num_threads(threads)


def threads(device: str) -> int:
    """How many threads of this process may compute at a time, with `alone` each: those of PyTorch. 1 on a GPU."""
    import torch

    return int(torch.get_num_threads()) if device == "cpu" else 1


def alone() -> None:
    """Make the calling thread compute without others of PyTorch.

    Where batches are small, several threads with a batch each are quicker than one batch on several: these would wait
    for each other after every layer, and wake up slowly, because they do not spin (OMP_WAIT_POLICY of `serve`).
    """
    import torch
    from threadpoolctl import threadpool_limits

    torch.get_num_threads()  # PyTorch sets the threads of a new one when it first asks
    threadpool_limits(1, user_api="openmp")


def name() -> str:
    """Where new models are loaded, such as "cuda:0", "mps" or "cpu"."""
    from sentence_transformers.util import get_device_name

    return str(get_device_name())


def batch_size(device: str, content: Content = "texts") -> int:
    """How many items go through a model at a time, on a type of device such as "cuda" or "cpu"."""
    return _fits.get((device, content), (_ON_CPU if device == "cpu" else _ON_GPU)[content])


def chunk_size(device: str, content: Content = "texts") -> int:
    """How many items are computed while others wait, and stored together: some batches."""
    return BATCHES_A_CHUNK * batch_size(device, content)


def compute(device: str, with_batch_size: Callable[[int], T], content: Content = "texts") -> T:
    """The result of `with_batch_size(size)`. After the device ran out of memory, again with half the size, from now on.

    Raises what the function raises otherwise, and if not even one item fits.
    """
    from accelerate.utils.memory import clear_device_cache, should_reduce_batch_size

    while True:
        size = batch_size(device, content)
        try:
            return with_batch_size(size)
        except RuntimeError as error:
            if size == 1 or not should_reduce_batch_size(error):
                raise
        # Outside of the handler: the exception's traceback holds the tensors of the batch.
        _fits[device, content] = size // 2
        log.warning(
            "%d %s at a time do not fit into the memory of %s. Going on with %d.", size, content, device, size // 2
        )
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
