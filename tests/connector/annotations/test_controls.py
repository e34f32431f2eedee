"""A further kind of control or of content is one class and one line in a table."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from support import ROOT

from connector.annotations.controls import CONTROLS, Control, from_json
from connector.annotations.controls.control import Target
from connector.annotations.form.config import Field, Tag
from connector.annotations.form.data import Shown
from connector.annotations.label_config import find_control
from connector.annotations.objects import OBJECTS
from connector.annotations.objects.content import Content
from connector.annotations.records import read_annotation, read_text
from connector.errors import UsageError

CONFIG = '<View><Video name="photo" value="$url"/><Likert name="agrees" toName="photo" points="3"/></View>'


@dataclass(frozen=True)
class Likert(Control):
    tag: ClassVar[str] = "Likert"
    type: ClassVar[str] = "likert"
    key: ClassVar[str] = "points"
    noun: ClassVar[str] = "points"

    @classmethod
    def from_tag(cls, tag: Tag, targets: Sequence[Target]) -> Control:
        points = tuple(str(number + 1) for number in range(int(tag.get("points"))))
        return cls.of(tag, targets[0], points)

    @staticmethod
    def names_in(answer: Any) -> list[str]:
        return [str(answer)]

    def answer_of(self, classes: Sequence[str]) -> int:
        return int(classes[0])


class Video(Content):
    def field(self, tag: Tag) -> Field:
        return Field(tag.get("value")[1:], {})

    def read(self, data: Any, field: Field) -> Shown:
        return Shown(data.get(field.key))


def test_a_control_and_a_content_of_new_kinds_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"Likert 'agrees' \(another kind"):
        find_control(CONFIG)
    monkeypatch.setitem(CONTROLS, "Likert", Likert)
    with pytest.raises(UsageError, match=r"Likert 'agrees' \(on Video"):
        find_control(CONFIG)
    monkeypatch.setitem(OBJECTS, "Video", Video())
    control = find_control(CONFIG)
    assert (control.name, control.data_key, control.classes) == ("agrees", "url", ("1", "2", "3"))
    assert from_json(json.loads(json.dumps(control.to_json()))) == control
    assert read_text({"data": {"url": "https://a/b.mp4"}}, control) == "https://a/b.mp4"
    raw = {
        "id": 1,
        "completed_by": 5,
        "was_cancelled": False,
        "ground_truth": False,
        "created_at": "",
        "updated_at": "",
    }
    assert read_annotation({**raw, "result": control.result("2")}, 7, control).label == "2"


def test_the_tables_name_the_tags_of_the_labelling_config() -> None:
    control = find_control((ROOT / "label_config.xml").read_text(encoding="utf-8"))
    assert isinstance(control, CONTROLS["Choices"])
    assert control.content in OBJECTS
