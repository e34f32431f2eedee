"""Every kind of control and of content in Label Studio's own form, in Chromium.

A person answers, and the annotation is read as the right label. A prediction of that label, as we write it, is shown as
chosen, and submitting it unchanged gives the same label. Screenshots of both forms are kept: in the folder that
TEST_ARTEFACTS names, or else among pytest's own.
"""

from __future__ import annotations

import base64
import os
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Page, expect
from support.browser_pages import Profile
from support.drawn_images import png
from support.label_studio_server import MakeProject

from connector.annotations.label_config import Control, find_control, find_questions
from connector.annotations.records import read_annotation
from connector.label_studio.client import LabelStudio as Gateway

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

Act = Callable[[Page], None]
TEXT, OTHER = '<Text name="t" value="$text"/>', '<Text name="u" value="$other"/>'
ABC = '<Choice value="A"/><Choice value="B"/><Choice value="C"/>'
TREE = (
    '<Choice value="Animals"><Choice value="Dog"/><Choice value="Cat" alias="cat"/></Choice>'
    '<Choice value="Plants"><Choice value="Oak"/></Choice><Choice value="Other"/>'
)
DATA = {
    "text": "Left words",
    "other": "Right words",
    "page": "<p>Hello <b>you</b></p><p>two</p>",
    "turns": [{"author": "Anna", "text": "Hello"}, {"author": "Ben", "text": "Goodbye"}],
    "table": {"price": 5, "Name": "Lamp"},
    "image": "data:image/png;base64," + base64.b64encode(png(1)).decode(),
    "sound": "/static/samples/game.wav",  # of Label Studio itself. Its form plays no data: addresses
}


def check(*names: str) -> Act:
    def act(page: Page) -> None:
        for name in names:
            page.locator(f".lsf-choice input[name='{name}']").check()

    return act


def select(*names: str) -> Act:
    def act(page: Page) -> None:
        for name in names:
            page.locator(".lsf-choices_layout_select button, .lsf-choices_layout_select .ant-select").first.click()
            page.get_by_role("option", name=name).click()

    return act


def open_tree_and_check(*paths: Sequence[str]) -> Act:
    def act(page: Page) -> None:
        page.locator(".htx-taxonomy .ant-select-selector").click()
        for *above, name in paths:
            for node in above:
                page.locator(".ant-select-tree-treenode-switcher-close").filter(has_text=node).locator(
                    ".ant-select-tree-switcher"
                ).click()
            node_of = page.locator(".ant-select-tree-treenode").filter(has_text=name)
            node_of.locator(".ant-select-tree-checkbox").click()
        page.keyboard.press("Escape")

    return act


def stars(count: int) -> Act:
    return lambda page: page.locator(".ant-rate-star [role=radio]").nth(count - 1).click()


def fill(kind: str, number: str) -> Act:
    return lambda page: page.locator(f".lsf-number input[type={kind}]").fill(number)


def press(words: str) -> Act:
    return lambda page: page.locator(".lsf-main-view").get_by_text(words, exact=True).click()


def choices(attributes: str, inner: str = ABC) -> str:
    return f'<Choices name="c" toName="t" {attributes}>{inner}</Choices>'


# The control, what a person does, and the label as a list of classes.
CASES: dict[str, tuple[str, Act, list[str]]] = {
    "nested choices where nesting is not allowed": (TEXT + choices("", TREE), check("Plants"), ["Plants"]),
    "a choice inside another": (TEXT + choices('allowNested="true"', TREE), check("Dog"), ["Animals / Dog"]),
    "an only choice inside another": (TEXT + choices('allowNested="true"', TREE), check("Oak"), ["Plants / Oak"]),
    "a choice with all that is inside it": (
        TEXT + choices('allowNested="true" choice="multiple"', TREE),
        check("Animals", "Other"),
        ["Animals / Dog", "Animals / cat", "Other"],
    ),
    "a list to select from": (TEXT + choices('layout="select"'), select("B"), ["B"]),
    "choices in a row": (TEXT + choices('layout="inline" choice="multiple"'), check("A", "C"), ["A", "C"]),
    "paths of a tree": (
        f'{TEXT}<Taxonomy name="c" toName="t">{TREE}</Taxonomy>',
        open_tree_and_check(["Animals", "Cat"], ["Other"]),
        ["Animals / cat", "Other"],
    ),
    "a path of a tree": (
        f'{TEXT}<Taxonomy name="c" toName="t" maxUsages="1" leafsOnly="true">{TREE}</Taxonomy>',
        open_tree_and_check(["Animals", "Cat"]),
        ["Animals / cat"],
    ),
    "stars": (f'{TEXT}<Rating name="c" toName="t" maxRating="4"/>', stars(3), ["3"]),
    "a number": (f'{TEXT}<Number name="c" toName="t" min="0" max="2" step="0.5"/>', fill("number", "1.5"), ["1.5"]),
    "a slider": (
        f'{TEXT}<Number name="c" toName="t" min="0" max="2" step="0.5" slider="true"/>',
        fill("range", "0.5"),
        ["0.5"],
    ),
    "a side": (f'<Pairwise name="c" toName="t,u"/>{TEXT}{OTHER}', press("Right words"), ["right"]),
    "a page": ('<HyperText name="t" value="$page"/>' + choices(""), check("B"), ["B"]),
    "turns": ('<Paragraphs name="t" value="$turns" layout="dialogue"/>' + choices(""), check("B"), ["B"]),
    "an image": ('<Image name="t" value="$image"/>' + choices(""), check("B"), ["B"]),
    "a recording": (
        '<Labels name="l" toName="t"><Label value="Speech"/></Labels><Audio name="t" value="$sound"/>' + choices(""),
        check("B"),
        ["B"],
    ),
    "a recording by its former name": ('<AudioPlus name="t" value="$sound"/>' + choices(""), check("B"), ["B"]),
    "a table": ('<Table name="t" value="$table"/>' + choices(""), check("B"), ["B"]),
}
ALWAYS = ("a choice inside another", "a path of a tree", "stars", "a side", "an image", "a recording")
# What the form shows of the contents, by the kind of content.
WORDS = {
    "Text": ["Left words"],
    "HyperText": ["Hello you", "two"],
    "Paragraphs": ["Anna", "Hello", "Ben", "Goodbye"],
    "Table": ["Name", "Lamp", "price", "5"],
    "Image": [],
    "Audio": [],
    "AudioPlus": [],
}


@pytest.fixture
def admin(label_studio: LabelStudio, log_in: Callable[[str, str], Profile]) -> Profile:
    """The administrator's browser."""
    return log_in(label_studio.login.email, label_studio.login.password)


@pytest.fixture
def keep(admin: Profile, tmp_path: Path) -> Callable[[str], object]:
    """Keeps a screenshot of the form under a name."""
    folder = Path(os.environ.get("TEST_ARTEFACTS") or tmp_path) / "forms"
    return lambda name: admin.page.screenshot(path=folder / f"{name.replace(' ', '-')}.png")


def submit(page: Page) -> None:
    with page.expect_response(
        lambda response: response.request.method == "POST" and "/annotations" in response.url
    ) as sent:
        page.get_by_test_id("bottombar-submit-button").click()
    assert sent.value.ok


@pytest.mark.parametrize(
    "name", [name if name in ALWAYS else pytest.param(name, marks=pytest.mark.nightly) for name in CASES]
)
def test_forms_answer_what_is_read_and_show_what_is_written(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, keep: Callable[[str], object], name: str
) -> None:
    tags, act, classes = CASES[name]
    config = f"<View>{tags}</View>"
    control = find_control(config)
    project = make_project([DATA, DATA], config=config)
    page = admin.page

    page.goto(f"{label_studio.url}/projects/{project.id}/data?task={project.tasks[0]}")
    expect_content(page, control)
    for words in WORDS[control.content]:
        assert words in (control.shown(DATA).text or "")
    page.wait_for_load_state("networkidle")  # until then the form may forget an answer: no person is that quick
    act(page)
    keep(f"{name}, answered")
    submit(page)
    answered = annotation(label_studio, project.tasks[0])
    label = control.label_of(classes)
    read = read_annotation(answered, project.tasks[0], control)
    assert (read.label, read.problem) == (label, "")
    written = control.result(label)
    named = [(region["from_name"], region["type"]) for region in answered["result"]]
    assert named == [(region["from_name"], region["type"]) for region in written]

    row = {"task": project.tasks[1], "result": written, "score": 0.5, "model_version": "ours"}
    with closing(Gateway(label_studio.url, label_studio.token)) as gateway:
        assert gateway.import_predictions(project.id, [row], singly=not control.imports_in_bulk) == 1
    settings = {"model_version": "ours", "show_collab_predictions": True}
    label_studio.call("PATCH", f"/api/projects/{project.id}/", json=settings)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?labeling=1")
    expect_content(page, control)
    page.wait_for_load_state("networkidle")
    keep(f"{name}, predicted")
    submit(page)
    assert read_annotation(annotation(label_studio, project.tasks[1]), project.tasks[1], control).label == label


SEVERAL = f"""<View>{TEXT}
<Choices name="topic" toName="t"><Choice value="fish"/><Choice value="bikes"/></Choices>
<Rating name="stars" toName="t" maxRating="3"/>
<Choices name="water" toName="t" visibleWhen="choice-selected" whenTagName="topic" whenChoiceValue="fish">
<Choice value="sea"/><Choice value="lake"/></Choices></View>"""


def test_one_form_answers_several_questions_but_those_that_it_hides(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, keep: Callable[[str], object]
) -> None:
    questions = find_questions(SEVERAL)
    project = make_project([DATA] * 4, config=SEVERAL)
    page = admin.page
    acts: list[tuple[Act, dict[str, str]]] = [
        (check("fish", "sea"), {"topic": "fish", "stars": "2", "water": "sea"}),
        (check("fish", "lake", "bikes"), {"topic": "bikes", "stars": "2"}),  # hides what was answered
    ]
    for task, (act, labels) in zip(project.tasks, acts, strict=False):
        page.goto(f"{label_studio.url}/projects/{project.id}/data?task={task}")
        shown(page, "Text")
        page.wait_for_load_state("networkidle")
        act(page)
        stars(2)(page)
        keep(f"several questions, {labels['topic']} answered")
        submit(page)
        read = read_annotation(annotation(label_studio, task), task, questions)
        assert (questions.labels_of(read.label or ""), read.problem) == (labels, "")

    joints = [questions.joint(labels) for _, labels in acts]
    rows = [
        {"task": task, "result": questions.result(joint), "score": score, "model_version": "ours"}
        for task, joint, score in zip(project.tasks[2:], joints, (0.1, 0.2), strict=True)
    ]
    with closing(Gateway(label_studio.url, label_studio.token)) as gateway:
        assert gateway.import_predictions(project.id, rows) == 2
    settings = {"model_version": "ours", "show_collab_predictions": True, "sampling": "Uncertainty sampling"}
    label_studio.call("PATCH", f"/api/projects/{project.id}/", json=settings)
    page.goto(f"{label_studio.url}/projects/{project.id}/data?labeling=1")
    for task, joint in zip(project.tasks[2:], joints, strict=True):
        shown(page, "Text")
        page.wait_for_load_state("networkidle")
        keep(f"several questions, task {task} predicted")
        submit(page)
        assert read_annotation(annotation(label_studio, task), task, questions).label == joint


def shown(page: Page, content: str) -> Any:
    """What the form shows. A page of HTML has a frame of its own."""
    page.get_by_test_id("bottombar-submit-button").wait_for()
    view = page.locator(".lsf-main-view")
    return view.locator("iframe").content_frame.locator("body") if content == "HyperText" else view


def expect_content(page: Page, control: Control) -> None:
    """Waits until the form shows the content of DATA."""
    form = shown(page, control.content)
    for words in WORDS[control.content]:
        expect(form).to_contain_text(words)
    if control.kind == "image":
        expect(form.locator("img").first).to_have_js_property("naturalWidth", 48)
    if control.kind == "audio":
        length = form.get_by_role("textbox", name="__:__:__:___").last  # once the recording is there
        expect(length).not_to_have_value("00:00:00:000", timeout=15_000)
        expect(form).not_to_contain_text("error")


def annotation(label_studio: LabelStudio, task: int) -> dict[str, Any]:
    (only,) = label_studio.call("GET", f"/api/tasks/{task}/annotations/")
    return dict(only)
