"""What Chromium shows in Label Studio's own forms, and submits: the connector reads the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect
from support.browser_pages import Profile
from support.label_studio_server import MakeProject

from connector.annotations.label_config import find_control
from connector.annotations.records import read_annotation, read_text

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

pytestmark = pytest.mark.nightly

CHOICES = '<Choices name="c" toName="t" {}><Choice value="Polite"/><Choice value="Impolite"/></Choices>'
# Attributes of a Text, and data of tasks that it shows something of.
SHOWN: list[tuple[str, list[Any]]] = [
    (
        'value="$text"',
        [
            {"text": value}
            for value in (
                "Hello",
                4711,
                0.5,
                5.0,
                1e-7,
                2**60,
                10**21,
                True,
                False,
                ["a", 1, None, "b"],
                "s3",
                "<b>x</b>",
            )
        ],
    ),
    ('value="$llm.outputs"', [{"llm": {"outputs": "deep"}}, {"llm.outputs": "direct", "llm": {"outputs": "deep"}}]),
    ('value="$a[1].b[0]"', [{"a": [0, {"b": ["deeper"]}]}, {"a": [0, {"b": "letters"}]}]),
    ('value="$text" encoding="base64"', [{"text": "SGVsbG8="}, {"text": "w6k="}]),
    ('value="$text" Encoding="base64unicode"', [{"text": "w6k="}]),
]


@pytest.fixture
def admin(label_studio: LabelStudio, log_in: Callable[[str, str], Profile]) -> Profile:
    """The administrator's browser."""
    return log_in(label_studio.login.email, label_studio.login.password)


def open_form(label_studio: LabelStudio, admin: Profile, project: int, task: int) -> None:
    admin.page.goto(f"{label_studio.url}/projects/{project}/data?task={task}")


def test_forms_show_the_texts_that_are_read(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile
) -> None:
    for attributes, data in SHOWN:
        config = f'<View><Text name="t" {attributes}/>{CHOICES.format("")}</View>'
        project = make_project(data, config="<View></View>")
        label_studio.call("PATCH", f"/api/projects/{project.id}/", json={"label_config": config})
        control = find_control(config)
        for task in project.tasks:
            text = read_text(label_studio.call("GET", f"/api/tasks/{task}"), control)
            assert text is not None
            open_form(label_studio, admin, project.id, task)
            expect(admin.page.locator(".lsf-richtext__line")).to_have_text(text)


@pytest.mark.parametrize("kind", ["single", "multiple"])
def test_a_form_with_allow_nested_submits_a_path_that_is_read(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, kind: str
) -> None:
    choices = CHOICES.format(f'choice="{kind}" allowNested="true"')
    config = f'<View><Text name="t" value="$text"/>{choices}</View>'
    project = make_project(["Hello"], config=config)
    open_form(label_studio, admin, project.id, project.tasks[0])
    with admin.page.expect_response(
        lambda response: response.request.method == "POST" and "annotations" in response.url
    ):
        admin.submit("Impolite")
    (annotation,) = label_studio.call("GET", f"/api/tasks/{project.tasks[0]}/annotations/")
    assert annotation["result"][0]["value"] == {"choices": [["Impolite"]]}
    control = find_control(config)
    label = read_annotation(annotation, project.tasks[0], control).label
    assert label is not None
    assert control.classes_of(label) == ["Impolite"]


@pytest.mark.parametrize(
    ("choices", "label"), [("Polite", "Polite"), (5, None), (None, None)], ids=["a string", "a number", "null"]
)
def test_a_form_shows_an_error_in_place_of_choices_that_are_no_list(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, choices: Any, label: str | None
) -> None:
    """Label Studio stores them all. One string can mean one choice alone."""
    config = f'<View><Text name="t" value="$text"/>{CHOICES.format("")}</View>'
    region = {"id": "r", "from_name": "c", "to_name": "t", "type": "choices", "value": {"choices": choices}}
    task = {"data": {"text": "Hello"}, "annotations": [{"result": [region], "ground_truth": False}]}
    project = make_project([task], config=config)
    open_form(label_studio, admin, project.id, project.tasks[0])
    expect(admin.page.get_by_text("No matching type for union").first).to_be_visible()
    assert find_control(config).read([region]).label == label
