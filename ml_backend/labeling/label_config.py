"""Finds the controls of a labelling config that classify a text, with label-studio-sdk's LabelInterface."""

import logging
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from label_studio_sdk.label_interface.control_tags import ChoicesTag
from label_studio_sdk.label_interface.interface import LabelInterface
from label_studio_sdk.label_interface.object_tags import TextTag

log = logging.getLogger(__name__)

# What Label Studio 1.23.2 has in a task's data if the text is stored elsewhere: an address, or the path of an upload or
# of a local file. It sends all of them unresolved.
_LINK = re.compile(r"\s*([a-z][a-z0-9+.-]*://|/data/(upload|local-files)/)\S+\s*", re.IGNORECASE)
_NAMED = 3  # classes that a message names
_LONGEST = 1_000_000  # characters: some 40,000 choices
_CACHED = 50_000  # characters: the cache of 64 configs stays below some 30 MB


@dataclass(frozen=True)
class Control:
    """A `Choices` on a `Text`: its names, the key of the text in a task's data, and the classes of its annotations.

    If `multiple`, several classes may be chosen. If `none_counts`, choosing none is an answer, too.
    """

    from_name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    multiple: bool = False
    none_counts: bool = False

    def text_of(self, task: Any) -> str:
        """The text that a task of Label Studio shows. Empty if there is none, or only a link to it."""
        data = task.get("data") if isinstance(task, dict) else None
        text = data.get(self.data_key) if isinstance(data, dict) else None
        if not isinstance(text, str) or not text.strip() or _LINK.fullmatch(text):
            return ""
        # The same replacement as in the connector: databases and UTF-8 take neither NUL nor lone surrogates.
        return text.replace("\0", "?").encode(errors="replace").decode()


def find_controls(config: str) -> tuple[Control, ...]:
    """The controls of `config` that can be served, in its order. None if it cannot be read."""
    try:
        interface = LabelInterface(config)
        controls = [_control(tag, interface) for tag in interface.controls]
    except Exception as error:  # a config is any text, and the parser has no error of its own
        log.warning("A labelling config cannot be read: %s", error)
        return ()
    return tuple(control for control in controls if control is not None)


def cached_controls() -> Callable[[str], tuple[Control, ...]]:
    """`find_controls` with a cache for configs of a usual length. In endless ones, it finds nothing."""
    cached = lru_cache(maxsize=64)(find_controls)

    def controls(config: str) -> tuple[Control, ...]:
        if len(config) > _LONGEST:
            log.warning("A labelling config of %d characters is not read. Make it shorter.", len(config))
            return ()
        return cached(config) if len(config) <= _CACHED else find_controls(config)

    return controls


def match_control(controls: Iterable[Control], classes: Sequence[str], multiple: bool = False) -> Control | None:
    """The first control with exactly the model's classes, in any order, else the one that shares most of them.

    Only controls for one choice, or with `multiple` for several, count. None if no control shares a class.
    """
    candidates = [control for control in controls if control.multiple == multiple]
    same = (control for control in candidates if set(control.classes) == set(classes))
    nearest = max(candidates, key=lambda control: len(set(control.classes) & set(classes)), default=None)
    return next(same, nearest if nearest is not None and set(nearest.classes) & set(classes) else None)


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
            f"The labelling config cannot be read or has no Choices on a Text that model version {version} could "
            "answer. Correct it."
        )
    changed = f"The labelling config has changed since model version {version} was trained"
    if control is None:
        kind = "several choices" if multiple else "one choice"
        return f"{changed}: no Choices for {kind} has a class of the model any more. Run connector sync."
    new = [name for name in control.classes if name not in classes]
    gone = [name for name in classes if name not in control.classes]
    parts = [f"{_listed(names)} {verb}" for names, verb in ((new, "new"), (gone, "gone")) if names]
    return f"{changed}: {' and '.join(parts)}. Run connector sync." if parts else ""


def _listed(names: Sequence[str]) -> str:
    """Names and a verb, as in a sentence: 'A' is, 'A' and 'B' are."""
    shown = [repr(name) for name in names[:_NAMED]]
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    last = shown.pop()
    return f"{', '.join(shown)} and {last} are" if shown else f"{last} is"


def _control(tag: object, interface: LabelInterface) -> Control | None:
    if not isinstance(tag, ChoicesTag) or not tag.name or len(tag.to_name or ()) != 1:
        return None
    # These have paths of choices, or choices inside regions. One class of the whole text is no answer to them.
    if any(str(tag.get_attr(name, "false")).lower() == "true" for name in ("allowNested", "perRegion", "perItem")):
        return None
    text = next((tag_object for tag_object in tag.objects or () if isinstance(tag_object, TextTag)), None)
    if text is None or not text.value_is_variable or text.value_type == "url":
        return None
    multiple = bool(tag.is_multiple_choice)
    # If a form requires a choice, or hides the control, an empty one is no answer.
    required = str(tag.get_attr("required", "false")).lower() == "true" or tag.get_attr("visibleWhen", None) is not None
    # If a choice has an alias, the SDK lists the alias, and annotations have it.
    classes = tuple(tag.labels or ())
    return Control(tag.name, str(text.name), text.value_name, classes, multiple, none_counts=multiple and not required)
