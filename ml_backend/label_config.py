"""Where in a labeling config a text is classified, through label-studio-sdk's LabelInterface."""

import logging
from dataclasses import dataclass

from label_studio_sdk.label_interface.control_tags import ChoicesTag
from label_studio_sdk.label_interface.interface import LabelInterface
from label_studio_sdk.label_interface.object_tags import TextTag

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Control:
    """A Choices on a Text: names, the text's key in a task, and the classes as annotations hold them.

    `multiple`: several classes may be chosen.
    """

    from_name: str
    to_name: str
    data_key: str
    classes: tuple[str, ...]
    multiple: bool = False


def find_controls(config: str) -> tuple[Control, ...]:
    """The controls of `config` that can be served, in its order; none where it cannot be read."""
    try:
        interface = LabelInterface(config)
        found = [_control(tag, interface) for tag in interface.controls]
    except Exception as error:  # a config is free text, and the parser has no error of its own
        log.warning("A labeling config cannot be read: %s", error)
        return ()
    return tuple(control for control in found if control is not None)


def control_of(controls: tuple[Control, ...], classes: tuple[str, ...], multiple: bool = False) -> Control | None:
    """The first control whose classes are the model's, in any order, and of which as many can be chosen."""
    fitting = (one for one in controls if set(one.classes) == set(classes) and one.multiple == multiple)
    return next(fitting, None)


def _control(tag: object, interface: LabelInterface) -> Control | None:
    if not isinstance(tag, ChoicesTag) or not tag.name or len(tag.to_name or ()) != 1:
        return None
    # These hold paths of choices, or choices inside regions: nothing that one class of the whole text answers.
    if any(str(tag.get_attr(name, "false")).lower() == "true" for name in ("allowNested", "perRegion", "perItem")):
        return None
    text = next((shown for shown in tag.objects or () if isinstance(shown, TextTag)), None)
    if text is None or not text.value_is_variable or text.value_type == "url":
        return None
    # An alias, where a choice has one, is what the SDK lists and annotations hold.
    return Control(tag.name, str(text.name), text.value_name, tuple(tag.labels or ()), bool(tag.is_multiple_choice))
