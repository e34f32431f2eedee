"""Where in a labeling config a text is classified, through label-studio-sdk's LabelInterface."""

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

# What Label Studio 1.23.2 puts in a task's data where the text is elsewhere: an address, a cloud storage's among them,
# or the path of an upload or of a local file. It sends all of them as they stand.
_LINK = re.compile(r"\s*([a-z][a-z0-9+.-]*://|/data/(upload|local-files)/)\S+\s*", re.IGNORECASE)
_NAMED = 3
_LONGEST = 1_000_000  # characters: some 40,000 choices
_COMMON = 50_000  # characters: what is remembered of configs stays within some 30 MB


@dataclass(frozen=True)
class Control:
    """A Choices on a Text: names, the text's key in a task, and the classes as annotations hold them.

    `multiple`: several classes may be chosen; `none_counts`: to choose none is an answer, too.
    """

    from_name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    multiple: bool = False
    none_counts: bool = False

    def text_of(self, task: Any) -> str:
        """The text that a task of Label Studio shows; empty where there is none, or only a link to it."""
        data = task.get("data") if isinstance(task, dict) else None
        text = data.get(self.data_key) if isinstance(data, dict) else None
        if not isinstance(text, str) or not text.strip() or _LINK.fullmatch(text):
            return ""
        # As the connector has it: JSON can hold NUL and halves of characters, which databases and UTF-8 do not take.
        return text.replace("\0", "?").encode(errors="replace").decode()


def find_controls(config: str) -> tuple[Control, ...]:
    """The controls of `config` that can be served, in its order; none where it cannot be read."""
    try:
        interface = LabelInterface(config)
        found = [_control(tag, interface) for tag in interface.controls]
    except Exception as error:  # a config is free text, and the parser has no error of its own
        log.warning("A labeling config cannot be read: %s", error)
        return ()
    return tuple(control for control in found if control is not None)


def cached_controls() -> Callable[[str], tuple[Control, ...]]:
    """`find_controls` that remembers the latest configs of a common length, and finds nothing in endless ones."""
    remembered = lru_cache(maxsize=64)(find_controls)

    def controls(config: str) -> tuple[Control, ...]:
        if len(config) > _LONGEST:
            log.warning("A labeling config of %d characters is not read; make it shorter.", len(config))
            return ()
        return remembered(config) if len(config) <= _COMMON else find_controls(config)

    return controls


def match_control(controls: Iterable[Control], classes: Sequence[str], multiple: bool = False) -> Control | None:
    """The first control whose classes are the model's, in any order, else the one that shares most of them.

    None where no control shares a class. It lets choose as many as the model does: one, or with `multiple` several.
    """
    alike = [one for one in controls if one.multiple == multiple]
    same = (one for one in alike if set(one.classes) == set(classes))
    nearest = max(alike, key=lambda one: len(set(one.classes) & set(classes)), default=None)
    return next(same, nearest if nearest is not None and set(nearest.classes) & set(classes) else None)


def describe_change(
    version: str, controls: Sequence[Control], control: Control | None, classes: Sequence[str], multiple: bool
) -> str:
    """A sentence on how a config differs from the model's: from `control` of `match_control`; empty if nowhere."""
    if not controls:
        return (
            f"The labelling config cannot be read or has no Choices on a Text that model version {version} could "
            "answer; put it right."
        )
    changed = f"The labelling config has changed since model version {version} was trained"
    if control is None:
        kind = "several choices" if multiple else "one choice"
        return f"{changed}: no Choices for {kind} has a class of the model any more; run connector sync."
    new = [name for name in control.classes if name not in classes]
    gone = [name for name in classes if name not in control.classes]
    parts = [f"{_listed(names)} {verb}" for names, verb in ((new, "new"), (gone, "gone")) if names]
    return f"{changed}: {' and '.join(parts)}; run connector sync." if parts else ""


def _listed(names: Sequence[str]) -> str:
    """Some names and a verb, as a sentence has them: 'A' is, 'A' and 'B' are."""
    shown = [repr(name) for name in names[:_NAMED]]
    if len(names) > _NAMED:
        shown.append(f"{len(names) - _NAMED} more")
    last = shown.pop()
    return f"{', '.join(shown)} and {last} are" if shown else f"{last} is"


def _control(tag: object, interface: LabelInterface) -> Control | None:
    if not isinstance(tag, ChoicesTag) or not tag.name or len(tag.to_name or ()) != 1:
        return None
    # These hold paths of choices, or choices inside regions: nothing that one class of the whole text answers.
    if any(str(tag.get_attr(name, "false")).lower() == "true" for name in ("allowNested", "perRegion", "perItem")):
        return None
    text = next((shown for shown in tag.objects or () if isinstance(shown, TextTag)), None)
    if text is None or not text.value_is_variable or text.value_type == "url":
        return None
    multiple = bool(tag.is_multiple_choice)
    # A form that insists on a choice, or hides the control, says nothing where it is left empty.
    insists = str(tag.get_attr("required", "false")).lower() == "true" or tag.get_attr("visibleWhen", None) is not None
    # An alias, where a choice has one, is what the SDK lists and annotations hold.
    classes = tuple(tag.labels or ())
    return Control(tag.name, str(text.name), text.value_name, classes, multiple, none_counts=multiple and not insists)
