"""Fits the layers of an encoder, and a linear head on the embedding, to labels: AdamW on the cross-entropy."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import InvalidRequest
from ml_backend.features import pairs
from ml_backend.features.device import precision
from ml_backend.settings import Settings

if TYPE_CHECKING:
    import torch
    from sentence_transformers import SentenceTransformer

Weights = npt.NDArray[np.float64]
SECONDS_A_STEP = 0.15  # of 16 texts on two cores, roughly
_WARM_UP = 0.1  # share of the steps up to the full learning rate, which then falls to zero
_HEAD_FASTER = 20  # the head starts at zero, the layers are trained already
_LARGEST_GRADIENT = 1.0
_AT_ONCE = 8  # texts of a batch: the gradients of its parts are added up, which needs less memory
_TOKENS = 8  # texts are padded to a multiple: PyTorch keeps memory for every shape that it has met
_BATCHES_SORTED = 8  # batches of texts that are sorted by length together, for less padding


@dataclass(frozen=True)
class Schedule:
    """How a model is fine-tuned: `steps` of AdamW on `batch_size` texts of at most `max_length` tokens."""

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


def finetune(
    model: "SentenceTransformer",
    texts: Sequence[str],
    labels: npt.NDArray[np.int64],
    classes: int,
    weights: Weights,
    schedule: Schedule,
    seed: int,
    report: Callable[[int, int], None],
) -> "dict[str, torch.Tensor]":
    """Fit a `variant` of an encoder to labels.

    Args:
        model: The variant, whose layers are trained.
        texts: n texts.
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

    model.eval()  # without dropout, a step takes less time, and is as good (docs/decisions/0071)
    with torch.no_grad():
        dimensions = _embed(model, [""], schedule.max_length).shape[1]
    head = torch.nn.Linear(dimensions, classes).to(model.device)
    torch.nn.init.zeros_(head.weight)
    torch.nn.init.zeros_(head.bias)
    scale = dimensions**0.5  # of a vector of length one, to components of about one
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    rate = schedule.learning_rate
    optimizer = torch.optim.AdamW(
        [{"params": list(trained.values()), "lr": rate}, {"params": head.parameters(), "lr": _HEAD_FASTER * rate}],
        fused=True,
    )
    rates = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, schedule.steps))
    targets = torch.from_numpy(labels).to(model.device)
    counts = torch.from_numpy(weights).float().to(model.device)
    lengths = np.array([len(text) for text in texts])
    batches = _batches(lengths, schedule.batch_size, np.random.default_rng(seed))
    for step in range(schedule.steps):
        report(step, schedule.steps)
        batch = next(batches)
        optimizer.zero_grad(set_to_none=True)
        total = counts[batch].sum()
        for start in range(0, len(batch), _AT_ONCE):
            part = batch[start : start + _AT_ONCE]
            with precision(model.device):
                embed = partial(_embed, model, max_length=schedule.max_length)
                vectors = pairs.difference(embed, [texts[position] for position in part], torch.stack)
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
    encoder: "SentenceTransformer", trained: "Mapping[str, torch.Tensor] | None" = None
) -> "SentenceTransformer":
    """A copy of an encoder in which only the layers require gradients, with the parameters `trained` if given.

    It shares everything else with `encoder`. The embeddings of tokens are most of a small encoder, and learn little
    from few labels. Raises InvalidRequest if it has no layers.
    """
    from torch.nn import ModuleList

    stacks = [module for module in encoder.modules() if isinstance(module, ModuleList)]
    if not stacks:
        raise InvalidRequest(
            "The encoder has no layers to fine-tune. Train with another classifier, such as logistic-cv."
        )
    own = {id(parameter) for parameter in max(stacks, key=len).parameters()}
    frozen: dict[int, Any] = {id(p): p for p in encoder.parameters() if id(p) not in own}
    # A card of its own would refer back to the copy. The copy would then be in memory until Python looks for cycles.
    card = encoder.model_card_data
    model = copy.deepcopy(encoder, {**frozen, id(card): card}).eval()
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


def _embed(model: "SentenceTransformer", texts: list[str], max_length: int) -> "torch.Tensor":
    tokens = model.tokenizer(
        texts,
        padding=True,
        pad_to_multiple_of=_TOKENS,
        truncation=True,
        max_length=max_length,
        return_tensors="pt",
    )
    output = model({name: value.to(model.device) for name, value in tokens.items()})
    vectors: torch.Tensor = output["sentence_embedding"]
    return vectors


def _rate(step: int, steps: int) -> float:
    return float(min((step + 1) / (_WARM_UP * steps), 1.0, (steps - step) / ((1 - _WARM_UP) * steps)))


def _batches(lengths: npt.NDArray[np.int64], size: int, random: np.random.Generator) -> Iterator[list[int]]:
    """Batches of positions, in a new order in every pass over all of them."""
    while True:
        order = random.permutation(len(lengths))
        parts = []
        for start in range(0, len(order), size * _BATCHES_SORTED):
            block = order[start : start + size * _BATCHES_SORTED]
            block = block[np.argsort(lengths[block], kind="stable")]
            parts += [block[at : at + size].tolist() for at in range(0, len(block), size)]
        yield from (parts[place] for place in random.permutation(len(parts)))
