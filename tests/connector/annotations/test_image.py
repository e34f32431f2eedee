"""`Image`: which address a form shows, and what the models read."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from connector.annotations.label_config import find_control
from connector.annotations.objects.image import Image
from connector.annotations.questions import Questions
from connector.errors import UsageError

CHOICES = '<Choices name="c" toName="i"><Choice value="A"/><Choice value="B"/></Choices>'


def control(image: str = '<Image name="i" value="$image"/>', tags: str = CHOICES) -> Any:
    return find_control(f"<View>{image}{tags}</View>")


def resolved(address: str, path: str = "/tasks/7/resolve/") -> str:
    return f"{path}?fileuri={base64.urlsafe_b64encode(address.encode()).decode()}"


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("/data/upload/1/a.png", "/data/upload/1/a.png"),
        (" https://images.example.com/a b.png?x=1 ", "https://images.example.com/a b.png?x=1"),
        ("s3://bucket/a.png", "s3://bucket/a.png"),
        (resolved("s3://bucket/a.png"), "s3://bucket/a.png"),
        (resolved("gs://bucket/ä.png", "https://label.example.com/sub/projects/3/presign/"), "gs://bucket/ä.png"),
        (resolved("https://example.com/a.png"), resolved("https://example.com/a.png")),
        ("/tasks/7/resolve/?fileuri=!!", "/tasks/7/resolve/?fileuri=!!"),
        ("/tasks/7/resolve/?fileuri=A", "/tasks/7/resolve/?fileuri=A"),
        ("https://a\n.example.com/\tb.png", "https://a.example.com/b.png"),
        ("data:image/png;base64,AAAA", "data:image/png;base64,AAAA"),
    ],
)
def test_the_address_is_read_as_the_task_has_it(value: str, address: str) -> None:
    assert control().shown({"image": value}) == (address, "")


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "it has no 'image'"),
        ({"image": None}, "'image' is null"),
        ({"image": 5}, "'image' is no address"),
        ({"image": ["a.png"]}, "'image' is no address"),
        ({"image": {"url": "a.png"}}, "'image' is no address"),
        ({"image": " \n"}, "'image' is blank"),
        ("no data", "it has no 'image'"),
    ],
)
def test_what_is_no_address_is_named(data: Any, problem: str) -> None:
    assert control().shown(data) == (None, problem)


def test_a_list_of_pages_is_one_content() -> None:
    pages = control('<Image name="i" valueList="$pages"/>')
    assert pages.data_key == "pages"
    assert pages.shown({"pages": ["/a.png", resolved("s3://b/c.png")]}) == ("/a.png\ns3://b/c.png", "")
    assert pages.shown({"pages": "/a.png"}).problem == "'pages' is no list of addresses"
    assert pages.shown({"pages": []}).problem == "'pages' is empty"
    assert pages.shown({"pages": ["/a.png", ""]}).problem == "'pages' is blank"
    assert pages.shown({"pages": ["/a.png", 5]}).problem == "'pages' is no address"
    with pytest.raises(UsageError, match="has both value and valueList"):
        control('<Image name="i" value="$image" valueList="$pages"/>')


def test_models_read_the_image_or_the_fields_that_init_names() -> None:
    found = control()
    assert (found.kind, found.with_fields(["title"]).kind) == ("image", "text")
    assert find_control(f'<View><Text name="i" value="$t"/>{CHOICES}</View>').kind == "text"
    assert Questions((found,)).content == "image"
    assert Questions((found, found.with_fields(["title"]))).content == "content"
    assert Questions((found.with_fields(["title"]),)).content == "text"
    assert found.contents == ["the address of an image"]


@pytest.mark.parametrize(
    "tags",
    [
        '<Rating name="c" toName="i" maxRating="3"/>',
        '<Taxonomy name="c" toName="i"><Choice value="A"/><Choice value="B"/></Taxonomy>',
        '<Number name="c" toName="i" min="0" max="3"/>',
    ],
)
def test_every_control_on_one_object_is_served_on_an_image(tags: str) -> None:
    assert control(tags=tags).kind == "image"


def test_sides_of_a_pair_are_texts() -> None:
    pair = '<Pairwise name="c" toName="i,j"/><Text name="j" value="$text"/>'
    with pytest.raises(UsageError, match="it compares texts, and one of its sides is the object Image"):
        control(tags=pair)


def test_choices_beside_boxes_are_served() -> None:
    boxes = '<RectangleLabels name="boxes" toName="i"><Label value="car"/></RectangleLabels>'
    assert control(tags=boxes + CHOICES).name == "c"
    result = [{"from_name": "boxes", "to_name": "i", "type": "rectanglelabels", "value": {"rectanglelabels": ["car"]}}]
    assert control(tags=boxes + CHOICES).read(result).label is None
    answer = {"from_name": "c", "to_name": "i", "type": "choices", "value": {"choices": ["B"]}}
    assert control(tags=boxes + CHOICES).read([*result, answer]).label == "B"


def test_an_image_is_of_a_kind_of_its_own() -> None:
    assert (Image.kind, Image.words) == ("image", "the address of an image")
