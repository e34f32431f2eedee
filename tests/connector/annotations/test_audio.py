"""`Audio`: which address a form plays, and what the models read."""

from __future__ import annotations

from typing import Any

import pytest

from connector.annotations.label_config import find_control, find_questions, list_controls
from connector.annotations.questions import questions_from_json
from connector.errors import UsageError

CHOICES = '<Choices name="c" toName="a"><Choice value="A"/><Choice value="B"/></Choices>'
AUDIO = '<Audio name="a" value="$sound"/>'


def control(audio: str = AUDIO, tags: str = CHOICES) -> Any:
    return find_control(f"<View>{audio}{tags}</View>")


@pytest.mark.parametrize("tag", ["Audio", "AudioPlus", "audio", "AUDIOPLUS"])
def test_the_address_of_a_recording_is_read(tag: str) -> None:
    found = control(f'<{tag} name="a" value="$sound" zoom="true" hotkey="space"/>')
    assert found.kind == "audio"
    assert found.contents == ["the address of a recording"]
    assert found.shown({"sound": " /data/upload/1/a.wav "}) == ("/data/upload/1/a.wav", "")
    assert found.shown({"sound": "/tasks/7/resolve/?fileuri=czM6Ly9iL2Eud2F2"}) == ("s3://b/a.wav", "")
    assert found.shown({"sound": ["a.wav", "b.wav"]}) == (None, "'sound' is no address")
    assert found.shown({}) == (None, "it has no 'sound'")


def test_a_list_of_recordings_is_not_served_as_the_form_has_no_such_list() -> None:
    with pytest.raises(UsageError, match="Audio"):
        control('<Audio name="a" valueList="$sounds"/>')


@pytest.mark.parametrize(
    ("tags", "classes"),
    [
        (CHOICES.replace("<Choices", '<Choices choice="multiple"'), ("A", "B")),
        ('<Rating name="c" toName="a" maxRating="3"/>', ("1", "2", "3")),
        ('<Taxonomy name="c" toName="a"><Choice value="A"/><Choice value="B"/></Taxonomy>', ("A", "B")),
        ('<Number name="c" toName="a" min="1" max="3" step="1"/>', ("1", "2", "3")),
    ],
)
def test_every_control_with_one_answer_is_served(tags: str, classes: tuple[str, ...]) -> None:
    assert control(tags=tags).classes == classes


def test_beside_regions_the_choices_about_the_whole_task_are_served() -> None:
    labels = '<Labels name="l" toName="a"><Label value="Speech"/><Label value="Music"/></Labels>'
    of_regions = CHOICES.replace("<Choices", '<Choices perRegion="true"').replace('"c"', '"r"')
    config = f"<View>{labels}{AUDIO}{of_regions}{CHOICES}</View>"
    questions = find_questions(config)
    assert questions.names == ["c"]
    assert (questions.content, questions.has_media) == ("recording", True)
    reasons = {row.name: row.reason for row in list_controls(config)}
    assert reasons["l"] == "another kind of control"
    assert reasons["r"] == 'perRegion="true"'
    region = {"value": {"start": 0.1, "end": 0.5, "channel": 0, "labels": ["Speech"]}, "type": "labels"}
    drawn = {**region, "from_name": "l", "to_name": "a", "id": "x"}
    answer = {"from_name": "c", "to_name": "a", "type": "choices", "value": {"choices": ["B"]}}
    assert questions.read([drawn, answer])[:2] == ("B", False)
    assert questions.result("B") == [answer]


def test_recordings_beside_images_and_texts_are_told_apart() -> None:
    image = '<Image name="i" value="$image"/><Rating name="r" toName="i"/>'
    questions = find_questions(f"<View>{AUDIO}{CHOICES}{image}</View>")
    assert [one.kind for one in questions.controls] == ["audio", "image"]
    assert questions.content == "content"
    assert questions_from_json(questions.to_json()) == questions
    shown = questions.shown({"sound": "a.wav", "image": "b.png"})
    assert questions.text_of(shown.text or "", 0) == "a.wav"
    assert questions.text_of(shown.text or "", 1) == "b.png"


def test_recordings_are_not_compared() -> None:
    pair = '<Pairwise name="c" toName="a,b"/><Audio name="b" value="$other"/>'
    with pytest.raises(UsageError, match="it compares texts, and one of its sides is the object Audio"):
        control(tags=pair)
