"""Fits the layers of an encoder, and a linear head on the embedding, to labels: AdamW on the cross-entropy."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from ml_backend.errors import InvalidRequest
from ml_backend.features.device import precision
from ml_backend.features.lazy_encoder import Identity
from ml_backend.parallel import RemoteCall
from ml_backend.settings import Settings

if TYPE_CHECKING:
    import torch

Network = TypeVar("Network", bound="torch.nn.Module")
Weights = npt.NDArray[np.float64]
_WARM_UP = 0.1  # share of the steps up to the full learning rate, which then falls to zero
_HEAD_FASTER = 20  # the head starts at zero, the layers are trained already
_LARGEST_GRADIENT = 1.0
_AT_ONCE = 8  # contents of a batch: the gradients of its parts are added up, which needs less memory
_BATCHES_SORTED = 8  # batches of contents that are sorted by cost together, for less padding


@dataclass(frozen=True)
class Schedule:
    """How a model is fine-tuned: `steps` of AdamW on `batch_size` contents, texts of at most `max_length` tokens."""

    steps: int
    learning_rate: float
    batch_size: int
    max_length: int

    @classmethod
    def of(cls, settings: Settings) -> "Schedule":
        """The settings ML_BACKEND_FINETUNE_…, for encoders."""
        return cls(
            settings.finetune_steps,
            settings.finetune_learning_rate,
            settings.finetune_batch_size,
            settings.finetune_max_length,
        )


class Trainable(Protocol):
    """A `variant` of an encoder's network, and how it embeds contents."""

    @property
    def network(self) -> "torch.nn.Module":
        """The variant, whose layers are trained."""

    def embed(self, contents: Sequence[Any]) -> "torch.Tensor":
        """Embeddings (n, d) with their gradients."""

    def cost(self, content: Any) -> int:
        """How long a content takes, roughly: those that take equally long are in one batch."""


class TrainableEncoder(Protocol):
    """An encoder whose layers can be fitted to labels."""

    seconds_a_step: float  # of a batch on two cores, roughly

    @property
    def fingerprint(self) -> str:
        """Hex digits that depend on the weights, and on what is done before and after them."""

    @property
    def identity(self) -> Identity:
        """What another process needs to find the same encoder."""

    @staticmethod
    def same(identity: Identity) -> "TrainableEncoder":
        """The encoder of another process in this one. Raises EncoderUnavailable."""

    def copy(self, trained: "Mapping[str, torch.Tensor] | None" = None) -> Any:
        """A `variant` of the model. Raises EncoderUnavailable."""

    def trainable(self, model: Any, max_length: int) -> Trainable:
        """A `copy` that can be fitted. Of a text, it reads `max_length` tokens."""

    def encode_with(self, model: Any, lock: Lock, contents: Sequence[Any]) -> npt.NDArray[np.float32]:
        """Embeddings by a `copy`, float32 (n, d). `lock` protects it from other threads."""

    def remote_call(self, trained: "Mapping[str, torch.Tensor] | None" = None) -> RemoteCall:
        """A call that embeds as the encoder or its `copy` does, in any process that can load it."""


def finetune(
    model: Trainable,
    contents: Sequence[Any],
    labels: npt.NDArray[np.int64],
    classes: int,
    weights: Weights,
    schedule: Schedule,
    seed: int,
    report: Callable[[int, int], None],
) -> "dict[str, torch.Tensor]":
    """Fit a `variant` of an encoder to labels.

    Args:
        model: The variant.
        contents: n contents.
        labels: Positions of classes (n,), or for several classes per item 0 and 1 (n, `classes`).
        classes: The number of classes.
        weights: How much each label counts (n,).
        schedule: The steps.
        seed: The same seed gives the same parameters on the same machine.
        report: `report(step, steps)` is called before each step. An exception that it raises ends the work.

    Returns:
        The trained parameters by name, in bfloat16.
    """
    import torch
    from torch.nn import functional

    network = model.network.eval()  # without dropout, a step takes less time, and is as good (docs/decisions/0071)
    with torch.no_grad():
        dimensions = model.embed(contents[:1]).shape[1]
    place = next(network.parameters()).device
    head = torch.nn.Linear(dimensions, classes).to(place)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    scale = dimensions**0.5  # of a vector of length one, to components of about one
    trained = {name: parameter for name, parameter in network.named_parameters() if parameter.requires_grad}
    rate = schedule.learning_rate
    optimizer = torch.optim.AdamW(
        [{"params": list(trained.values()), "lr": rate}, {"params": head.parameters(), "lr": _HEAD_FASTER * rate}],
        fused=True,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schedule.steps))
    targets = torch.from_numpy(labels).to(place)
    counts = torch.from_numpy(weights).float().to(place)
    costs = np.array([model.cost(content) for content in contents])
    batches = _batches(costs, schedule.batch_size, np.random.default_rng(seed))
    for step in range(schedule.steps):
        report(step, schedule.steps)
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        total = counts[batch].sum()
        for start in range(0, len(batch), _AT_ONCE):
            part = batch[start : start + _AT_ONCE]
            with precision(place):
                vectors = model.embed([contents[position] for position in part])
                logits = head(scale * functional.normalize(vectors.float(), dim=1)).float()
            if labels.ndim == 2:
                losses = functional.binary_cross_entropy_with_logits(logits, targets[part].float(), reduction="none")
                losses = losses.mean(dim=1)
            else:
                losses = functional.cross_entropy(logits, targets[part], reduction="none")
            loss = losses @ counts[part] / total
            loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(trained.values(), _LARGEST_GRADIENT)
        optimizer.step()
        rates.step()
    return {name: parameter.detach().bfloat16().cpu().contiguous() for name, parameter in trained.items()}


def variant(
    encoder: Network, trained: "Mapping[str, torch.Tensor] | None" = None, *, needs_layers: bool = True
) -> Network:
    """A copy of a network in which only the layers require gradients, with the parameters `trained` if given.

    It shares everything else with `encoder`. The embeddings of tokens are most of a small encoder, and learn little
    from few labels. Without a list of layers, it raises InvalidRequest, or trains everything if none is needed.
    """
    from torch.nn import ModuleList

    stacks = [module for module in encoder.modules() if isinstance(module, ModuleList)]
    if not stacks and needs_layers:
        raise InvalidRequest(
            "The encoder has no layers to fine-tune. Train with another classifier, such as logistic-cv."
        )
    own = {id(parameter) for parameter in max(stacks, key=len, default=encoder).parameters()}
    frozen: dict[int, Any] = {id(p): p for p in encoder.parameters() if id(p) not in own}
    # A card of its own would refer back to the copy. The copy would then be in memory until Python looks for cycles.
    card = getattr(encoder, "model_card_data", None)
    model: Network = copy.deepcopy(encoder, {**frozen, id(card): card}).eval()
    for parameter in model.parameters():
        parameter.requires_grad_(id(parameter) not in frozen)
    if trained is not None:
        model.load_state_dict(trained, strict=False)
    return model


def average(members: "Sequence[Mapping[str, torch.Tensor]]") -> "dict[str, torch.Tensor]":
    """The mean of the parameters of several variants, in bfloat16.

    Models that were fine-tuned from the same weights have a mean that is as good as their ensemble, at the cost of one
    (Wortsman et al. 2022, "Model soups").
    """
    import torch

    return {
        name: torch.stack([member[name].float() for member in members]).mean(dim=0).bfloat16() for name in members[0]
    }


def _rate(step: int, steps: int) -> float:
    return float(min((step + 1) / (_WARM_UP * steps), 1.0, (steps - step) / ((1 - _WARM_UP) * steps)))


def _batches(costs: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Batches of positions, in a new order in every pass over all of them."""
    while True:
        order = random.permutation(len(costs))
        parts = []
        for start in range(0, len(order), size * _BATCHES_SORTED):
            block = order[start : start + size * _BATCHES_SORTED]
            block = block[np.argsort(costs[block], kind="stable")]
            parts += [block[at : at + size].tolist() for at in range(0, len(block), size)]
        yield from (parts[place] for place in random.permutation(len(parts)))
