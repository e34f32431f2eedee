"""A transformer with a head of classes, which transformers' Trainer fits to labels."""

import gc
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ml_backend.errors import CorruptModel, EncoderUnavailable, InvalidRequest
from ml_backend.features import device
from ml_backend.features.encoder import packaged_weights
from ml_backend.features.finetune import Schedule
from ml_backend.features.pairs import sides
from ml_backend.settings import DEFAULT_ENCODER

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

Matrix = npt.NDArray[np.float32]
SECONDS_A_STEP = 0.3  # of 16 texts on two cores, roughly
_WARM_UP = 0.1  # share of the steps up to the full learning rate, which then falls to zero

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SequenceClassifier:
    """A model, its tokenizer, and how many tokens of a text it reads. Safe to share between threads."""

    model: "PreTrainedModel"
    tokenizer: "PreTrainedTokenizerBase"
    max_length: int
    lock: Lock  # two threads cannot use the tokenizer at the same time

    def logits(self, texts: Sequence[str]) -> Matrix:
        """The logits, float32 (n, classes), in the order of `texts`."""
        order = sorted(range(len(texts)), key=lambda position: len(texts[position]))
        kind, parts, done = self.model.device.type, [], 0
        while done < len(order):
            # One batch at a time, so that a prediction does not wait for all texts of another thread.
            rest = [texts[position] for position in order[done : done + device.batch_size(kind)]]
            with self.lock:
                parts.append(device.compute(kind, partial(self._first_logits, rest)))
            done += len(parts[-1])
        logits = np.empty((len(texts), parts[0].shape[1]), dtype=np.float32)
        logits[order] = np.concatenate(parts)
        return logits

    def _first_logits(self, texts: list[str], count: int) -> Matrix:
        """The logits of the first `count` texts."""
        import torch

        with torch.inference_mode(), device.precision(self.model.device):
            tokens = _tokens(self.tokenizer, texts[:count], self.max_length, padding=True, return_tensors="pt").to(
                self.model.device
            )
            logits: Matrix = self.model(**tokens).logits.float().cpu().numpy()
            return logits

    def save(self, directory: Path) -> None:
        """Write weights (safetensors), config and tokenizer, as `from_pretrained` reads them."""
        self.model.save_pretrained(directory)
        self.tokenizer.save_pretrained(directory)


def fit(
    name: str,
    texts: Sequence[str],
    labels: npt.NDArray[np.int64],
    classes: int,
    weights: npt.NDArray[np.float64],
    schedule: Schedule,
    seed: int,
    directory: Path,
    threads: int,
    report: Callable[[int, int], None],
) -> SequenceClassifier:
    """Fine-tune a model of the hub or of a folder.

    Args:
        name: The model's name or folder.
        texts: n texts.
        labels: Positions of classes (n,), or for several classes per item 0 and 1 (n, `classes`).
        classes: The number of classes.
        weights: How much each label counts (n,).
        schedule: The steps.
        seed: The same seed gives the same weights on the same machine.
        directory: Where the Trainer works.
        threads: Threads of PyTorch (0: its default).
        report: `report(step, steps)` is called before each step. An exception that it raises ends the work.

    Raises:
        EncoderUnavailable: The model cannot be loaded.
        InvalidRequest: The learning rate is too high.
    """
    from transformers import DataCollatorWithPadding, PrinterCallback, Trainer, TrainerCallback, TrainingArguments
    from transformers import set_seed as seed_everything

    _set_up(threads)
    seed_everything(seed)  # opening the model draws the weights of the head
    opened = _open(name, classes, labels.ndim == 2, schedule.max_length)

    class WeightedTrainer(Trainer):
        """Multiplies each item's loss by its weight."""

        def compute_loss(
            self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
        ) -> Any:
            targets, counts = inputs.pop("labels"), inputs.pop("weights")
            outputs = model(**inputs)
            loss = losses(outputs.logits.float(), targets) @ counts / counts.sum()
            return (loss, outputs) if return_outputs else loss

    class Reporting(TrainerCallback):
        def on_step_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
            report(state.global_step, schedule.steps)

    kind = opened.model.device.type
    by_length: dict[str, Any] = {"group_by_length": True}  # less padding
    if "train_sampling_strategy" in {field.name for field in fields(TrainingArguments)}:  # transformers 5
        by_length = {"train_sampling_strategy": "group_by_length"}
    trainer = WeightedTrainer(
        model=opened.model,
        args=TrainingArguments(
            output_dir=str(directory),
            max_steps=schedule.steps,
            learning_rate=schedule.learning_rate,
            per_device_train_batch_size=schedule.batch_size,
            warmup_steps=round(_WARM_UP * schedule.steps),
            bf16=device.has_fast_bfloat16(kind),
            use_cpu=kind == "cpu",
            seed=seed,
            full_determinism=kind == "cuda",  # a CPU is deterministic without it
            remove_unused_columns=False,  # or the Trainer would remove the weights
            dataloader_pin_memory=kind == "cuda",
            disable_tqdm=True,
            logging_strategy="no",
            save_strategy="no",
            report_to="none",
            **by_length,
        ),
        train_dataset=_rows(opened, texts, labels, weights),
        data_collator=DataCollatorWithPadding(opened.tokenizer),
        callbacks=[Reporting()],
    )
    trainer.remove_callback(PrinterCallback)  # it would write to standard output
    trainer.train()
    # The wrapping for bfloat16 would hold the model in a reference cycle.
    trainer.accelerator.unwrap_model(opened.model, keep_fp32_wrapper=False)
    opened.model.train(False)
    del trainer  # the optimizer is larger than the model, and reference cycles hold it
    gc.collect()
    if not all(bool(parameter.isfinite().all()) for parameter in opened.model.parameters()):
        raise InvalidRequest("The transformer diverged. Lower ML_BACKEND_TRANSFORMER_LEARNING_RATE and train again.")
    return opened


def losses(logits: "torch.Tensor", targets: "torch.Tensor") -> "torch.Tensor":
    """The cross-entropy (n,) of each item. For targets (n, classes) it is the mean over the classes, yes or no."""
    from torch.nn import functional

    if targets.ndim == 1:
        return functional.cross_entropy(logits, targets, reduction="none")
    return functional.binary_cross_entropy_with_logits(logits, targets, reduction="none").mean(dim=1)


def read(directory: Path, max_length: int, threads: int) -> SequenceClassifier:
    """Read what `save` wrote. Raises CorruptModel."""
    _set_up(threads)
    try:
        return _from_pretrained(str(directory), max_length, {})
    except Exception as error:  # errors of the file system, of the tokenizer and of the model
        raise CorruptModel("A fine-tuned transformer cannot be read. Train again.") from error


def _open(name: str, classes: int, multilabel: bool, max_length: int) -> SequenceClassifier:
    folder = packaged_weights() if name == DEFAULT_ENCODER else None
    problem = "multi_label_classification" if multilabel else "single_label_classification"
    options = {"num_labels": classes, "problem_type": problem, "local_files_only": folder is not None}
    log.info("Loading the transformer %s.", folder or name)
    try:
        return _from_pretrained(str(folder or name), max_length, {**options, "ignore_mismatched_sizes": True})
    except Exception as error:  # errors of the hub, of the file system and of the model
        log.warning("The transformer could not be loaded.", exc_info=True)
        raise EncoderUnavailable(
            f"The transformer {Path(name).name!r} cannot be loaded. Set ML_BACKEND_TRANSFORMER to a local folder,"
            " or to the name of a text model on a hub that can be reached."
        ) from error


def _from_pretrained(name: str, max_length: int, options: dict[str, Any]) -> SequenceClassifier:
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(name, local_files_only=options.get("local_files_only", False))
    # Always float32: steps of training are too small for bfloat16.
    model = AutoModelForSequenceClassification.from_pretrained(name, **options).float().train(False)
    if tokenizer.pad_token is None:  # models that continue a text have none
        tokenizer.pad_token = tokenizer.eos_token
    model.config.pad_token_id = tokenizer.pad_token_id
    most = [max_length, tokenizer.model_max_length, getattr(model.config, "max_position_embeddings", None)]
    return SequenceClassifier(model.to(device.name()), tokenizer, min(filter(None, most)), Lock())


def _rows(
    opened: SequenceClassifier,
    texts: Sequence[str],
    labels: npt.NDArray[np.int64],
    weights: npt.NDArray[np.float64],
) -> list[dict[str, Any]]:
    tokens = _tokens(opened.tokenizer, texts, opened.max_length)
    targets = labels.tolist() if labels.ndim == 1 else labels.astype(float).tolist()
    return [
        {**{key: values[place] for key, values in tokens.items()}, "labels": target, "weights": weight}
        for place, (target, weight) in enumerate(zip(targets, weights.tolist(), strict=True))
    ]


def _tokens(tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], max_length: int, **options: Any) -> Any:
    """The tokens of texts, or of both sides of pairs, of which the longer one is cut first."""
    parts = [sides(text) for text in texts]
    if all(len(part) == 2 for part in parts):
        left, right = ([part[place] for part in parts] for place in (0, 1))
        return tokenizer(left, right, truncation=True, max_length=max_length, **options)
    return tokenizer([" ".join(part) for part in parts], truncation=True, max_length=max_length, **options)


def _set_up(threads: int) -> None:
    from transformers.utils import logging as transformers_logging

    device.set_up(threads)
    transformers_logging.set_verbosity_error()  # type: ignore[no-untyped-call]  # or it warns that the head is new
