"""A further kind of control or of content is one class and one line in a table."""

import json
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any, ClassVar

import pytest
from support import ROOT

from connector.annotations.controls import CONTROLS, Control, from_json
from connector.annotations.controls.control import ReadLabel
from connector.annotations.form.config import Tag, TextField
from connector.annotations.form.data import Shown
from connector.annotations.label_config import find_control
from connector.annotations.objects import OBJECTS
from connector.annotations.objects.content import Content
from connector.annotations.records import read_annotation, read_text
from connector.errors import UsageError

CONFIG = '<View><Image name="photo" value="$url"/><Rating name="stars" toName="photo" maxRating="3"/></View>'


@dataclass(frozen=True)
class Rating(Control):
    tag: ClassVar[str] = "Rating"

    @classmethod
    def check(cls, tag: Tag) -> None:
        pass

    @classmethod
    def from_tag(cls, tag: Tag, content: str, shown: TextField) -> Control:
        stars = tuple(str(number + 1) for number in range(int(tag.get("maxRating"))))
        return cls(tag.name, tag.to_name[0], shown.key, stars, content=content)

    def label_of(self, chosen: Collection[str]) -> str:
        (stars,) = chosen
        return stars

    def classes_of(self, label: str) -> list[str]:
        return [label]

    def read(self, result: Any) -> ReadLabel:
        stars = self.answer(result)
        return ReadLabel(None if stars is None else str(stars), unknown=False)

    def answer(self, result: Any) -> str | list[str] | None:
        return next((str(region["value"]["rating"]) for region in result if region["from_name"] == self.name), None)

    def result(self, label: str) -> list[dict[str, Any]]:
        value = {"rating": int(label)}
        return [{"from_name": self.name, "to_name": self.to_name, "type": "rating", "value": value}]


class Image(Content):
    def field(self, tag: Tag) -> TextField:
        return TextField(tag.get("value")[1:], "none")

    def read(self, data: Any, shown: TextField) -> Shown:
        return Shown(data.get(shown.key))


def test_a_control_and_a_content_of_new_kinds_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match=r"Rating 'stars' \(not Choices\)"):
        find_control(CONFIG)
    monkeypatch.setitem(CONTROLS, "Rating", Rating)
    with pytest.raises(UsageError, match=r"Rating 'stars' \(on Image, not on a Text\)"):
        find_control(CONFIG)
    monkeypatch.setitem(OBJECTS, "Image", Image())
    control = find_control(CONFIG)
    assert (control.name, control.data_key, control.classes) == ("stars", "url", ("1", "2", "3"))
    assert from_json(json.loads(json.dumps(control.to_json()))) == control
    assert read_text({"data": {"url": "https://a/b.png"}}, control) == "https://a/b.png"
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
