"""Finds the controls of a labelling config that can be served."""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import lru_cache
from itertools import chain
from typing import TypeVar

from ml_backend.labeling.controls import Control, control_of
from ml_backend.labeling.form.conditions import Condition, conditions
from ml_backend.labeling.form.config import BrokenConfig, NotServable, read_form
from ml_backend.labeling.form.regions import quoted
from ml_backend.models.registry import TrainedModel

_Read = TypeVar("_Read")

log = logging.getLogger(__name__)

_NAMED = 3  # classes that a message names
_LONGEST = 1_000_000  # characters: some 40,000 choices
_CACHED = 50_000  # characters: the cache of 64 configs stays below some 30 MB


def find_controls(config: str) -> tuple[Control, ...]:
    """The controls of `config` that can be served, in its order. None if it cannot be read."""
    try:
        form = read_form(config)
    except BrokenConfig as error:
        log.warning("A labelling config cannot be read: %s", error)
        return ()
    controls = []
    for tag in form.controls:
        with suppress(NotServable):
            controls.append(control_of(tag, form))
    return tuple(controls)


def find_conditions(config: str) -> Mapping[str, tuple[Condition, ...]]:
    """The conditions under which the form shows each control. None if it cannot be read."""
    try:
        return conditions(config)
    except BrokenConfig:  # `find_controls` has reported it
        return {}


def cached_controls() -> Callable[[str], tuple[Control, ...]]:
    """`find_controls` with a cache for configs of a usual length. In endless ones, it finds nothing."""
    return _cached(find_controls, ())


def cached_conditions() -> Callable[[str], Mapping[str, tuple[Condition, ...]]]:
    """`find_conditions` with a cache like that of `cached_controls`."""
    return _cached(find_conditions, {})


def _cached(read: Callable[[str], _Read], nothing: _Read) -> Callable[[str], _Read]:
    cached = lru_cache(maxsize=64)(read)

    def read_config(config: str) -> _Read:
        if len(config) > _LONGEST:
            log.warning("A labelling config of %d characters is not read. Make it shorter.", len(config))
            return nothing
        return cached(config) if len(config) <= _CACHED else read(config)

    return read_config


def match_models(models: Sequence[TrainedModel], controls: Sequence[Control]) -> list[Control | None]:
    """The control that each model answers, None if there is none. Each control is answered by the first of its models.

    A model that is alone answers the control that fits best. One of several answers the control that it is named for,
    because another one may have similar classes.
    """
    if len(models) == 1:
        return [match_control(controls, model.classes, model.multilabel, model.control) for model in models]
    named = {model.control for model in models}
    free = {control.name: control for control in controls}
    matched: list[Control | None] = []
    for model in models:
        names = {model.control} if model.control else free.keys() - named
        candidates = [control for control in controls if control.name in names and control.name in free]
        control = match_control(candidates, model.classes, model.multilabel, model.control)
        if control is not None:
            del free[control.name]
        matched.append(control)
    return matched


def match_control(
    controls: Iterable[Control], classes: Sequence[str], multiple: bool = False, name: str = ""
) -> Control | None:
    """The control called `name`, else the first with exactly the model's classes, else the one that shares most.

    Only controls for one choice, or with `multiple` for several, count, and only those that share a class. None if
    there is none.
    """
    candidates = [
        control for control in controls if control.multiple == multiple and set(control.classes) & set(classes)
    ]
    named = (control for control in candidates if control.name == name)
    same = (control for control in candidates if set(control.classes) == set(classes))
    nearest = max(candidates, key=lambda control: len(set(control.classes) & set(classes)), default=None)
    return next(chain(named, same), nearest)


def describe_change(
    version: str, controls: Sequence[Control], control: Control | None, classes: Sequence[str], multiple: bool
) -> str:
    """How a config differs from that of the model, in words. Empty if it does not.

    Args:
        version: The model version.
        controls: The controls of the config.
        control: The one of them that `match_control` found for the model.
        classes: The model's classes.
        multiple: Whether several classes may apply to an item.
    """
    if not controls:
        return (
            f"The labelling config cannot be read or has no control that model version {version} could answer. Correct "
            "it."
        )
    changed = f"The labelling config has changed since model version {version} was trained"
    if control is None:
        kind = "several choices" if multiple else "one choice"
        return f"{changed}: no control for {kind} has a class of the model any more. Run connector sync."
    new = [name for name in control.classes if name not in classes]
    gone = [name for name in classes if name not in control.classes]
    parts = [f"{_listed(names)} {verb}" for names, verb in ((new, "new"), (gone, "gone")) if names]
    return f"{changed}: {' and '.join(parts)}. Run connector sync." if parts else ""


def describe_changes(
    models: Sequence[TrainedModel], controls: Sequence[Control], matched: Sequence[Control | None]
) -> list[str]:
    """How a config differs from that of each model, in words. Empty if it does not, or if another model answers.

    Args:
        models: The models.
        controls: The controls of the config.
        matched: Those that `match_models` found for the models.
    """
    names = {control.name for control in controls}
    answered = {control.name for control in matched if control is not None}
    changes = []
    for model, control in zip(models, matched, strict=True):
        is_one_of_several = len(models) > 1 and control is None and bool(model.control)
        if is_one_of_several and model.control in answered:
            change = ""
        elif is_one_of_several and controls and model.control not in names:
            name = quoted(model.control)
            change = (
                f"The labelling config has no control {name}, which model version {model.version} answers. Put it "
                "back, or name the others with connector init --control."
            )
        else:
            change = describe_change(model.version, controls, control, model.classes, model.multilabel)
        changes.append(change)
    return changes


def _listed(names: Sequence[str]) -> str:
    """Names and a verb, as in a sentence: 'A' is, 'A' and 'B' are."""
    shown = [repr(name) for name in names[:_NAMED]]
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    last = shown.pop()
    return f"{', '.join(shown)} and {last} are" if shown else f"{last} is"
