"""Texts in files in Label Studio's own form, in Chromium: what it shows is what models read."""

from __future__ import annotations

import base64
import json
import random
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import expect
from support.browser_pages import Profile
from support.label_studio_server import MakeProject
from support.media_server import MediaServer, Reply

from connector.annotations.form.config import Field
from connector.annotations.label_config import find_control
from connector.annotations.objects.linked import Link, links_in
from connector.annotations.records import read_annotation
from connector.errors import UsageError
from connector.label_studio.client import LabelStudio as Gateway

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

CHOICES = '<Choices name="c" toName="t"><Choice value="A"/><Choice value="B"/></Choices>'
ANYONE = {"Access-Control-Allow-Origin": "*"}  # or else a browser reads no file of another origin
# The object, the file, and the lines that models read.
FILES: dict[str, tuple[str, bytes, dict[str, str], list[str]]] = {
    "a text that is said to be in another encoding": (
        '<Text name="t" value="$file" valueType="url"/>',
        "\ufeffGrüße,\n€ 5".encode(),
        {"Content-Type": "text/plain; charset=iso-8859-1"},
        ["Grüße,", "€ 5"],
    ),
    "a text in another encoding": (
        '<Text name="t" value="$file" valueType="url"/>',
        "Grüße aus Köln".encode("latin-1"),
        {"Content-Type": "text/plain; charset=iso-8859-1"},
        ["Gr\ufffd\ufffde aus K\ufffdln"],
    ),
    "a text in base64": (
        '<Text name="t" value="$file" valueType="url" encoding="base64unicode" saveTextResult="yes"/>',
        base64.b64encode("Grüße".encode()),
        {},
        ["Grüße"],
    ),
    "markup in a text": (
        '<Text name="t" value="$file" valueType="url"/>',
        b"<p>Hello <b>you</b></p>",
        {"Content-Type": "text/html"},
        ["<p>Hello <b>you</b></p>"],
    ),
    "a page": (
        '<HyperText name="t" value="$file" valueType="url"/>',
        b"<script>let a</script><p>Hello <b>you</b></p><p>two</p>",
        {"Content-Type": "text/plain"},
        ["Hello you", "", "two"],
    ),
    "turns": (
        '<Paragraphs name="t" value="$file" valueType="url" nameKey="who"/>',
        json.dumps([{"who": "Anna", "text": "Grüße"}, {"who": "Ben", "text": "Hi"}], ensure_ascii=False).encode(),
        {},
        ["Anna: Grüße", "Ben: Hi"],
    ),
    "a table": (
        '<Table name="t" value="$file" valueType="json|url"/>',
        b'{"price": 5, "Name": "Lamp"}',
        {},
        ["Name: Lamp", "price: 5"],
    ),
}


@pytest.fixture
def files() -> Iterator[MediaServer]:
    """A host with files."""
    server = MediaServer()
    yield server
    server.close()


@pytest.fixture
def admin(label_studio: LabelStudio, log_in: Callable[[str, str], Profile]) -> Profile:
    """The administrator's browser."""
    return log_in(label_studio.login.email, label_studio.login.password)


def test_the_form_shows_what_models_read_and_takes_predictions(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, files: MediaServer
) -> None:
    page = admin.page
    for name, (tag, file, headers, lines) in FILES.items():
        files.replies["/file"] = Reply(file, headers={**headers, **ANYONE})
        config = f"<View>{tag}{CHOICES}</View>"
        control = find_control(config)
        data = {"file": f"{files.url}/file"}
        (marked,) = links_in(control.shown(data).text or "")
        assert Link.of(marked).read(file) == ("\n".join(lines), ""), name
        project = make_project([data], config=config)
        row = {"task": project.tasks[0], "result": control.result("B"), "score": 0.5, "model_version": "ours"}
        with closing(Gateway(label_studio.url, label_studio.token)) as gateway:
            assert gateway.import_predictions(project.id, [row], singly=False) == 1
        settings = {"model_version": "ours", "show_collab_predictions": True}
        label_studio.call("PATCH", f"/api/projects/{project.id}/", json=settings)

        page.goto(f"{label_studio.url}/projects/{project.id}/data?labeling=1")
        page.get_by_test_id("bottombar-submit-button").wait_for()
        view = page.locator(".lsf-main-view")
        form = view.locator("iframe").content_frame.locator("body") if control.content == "HyperText" else view
        for line in lines:
            for words in line.split(": "):
                expect(form).to_contain_text(words)
        page.wait_for_load_state("networkidle")
        with page.expect_response(
            lambda response: response.request.method == "POST" and "/annotations" in response.url
        ) as sent:
            page.get_by_test_id("bottombar-submit-button").click()
        assert sent.value.ok
        (answered,) = label_studio.call("GET", f"/api/tasks/{project.tasks[0]}/annotations/")
        assert read_annotation(answered, project.tasks[0], control).label == "B", name


def test_a_browser_takes_all_bytes_for_the_same_text(admin: Profile, files: MediaServer) -> None:
    chance = random.Random(0)
    parts = [*("é€😀\ufeff".encode(), b"\xc3", b"\xe2\x82", b"\xf0\x9f\x98", b"\xed\xa0\x80", b"\xff\xfe", b"a")]
    admin.page.goto(admin.url)
    for _ in range(40):
        file = b"x" * chance.randint(0, 1) + b"".join(chance.choices(parts, k=12)) + b"!"
        files.replies["/file"] = Reply(file, headers={"Content-Type": "text/plain; charset=utf-16", **ANYONE})
        shown = admin.page.evaluate("async (url) => (await fetch(url)).text()", f"{files.url}/file")
        assert Link("Text", Field("file", {}), "/file").read(file) == (shown, "")


@pytest.mark.parametrize("address", ["upload/1/a.txt", "data:text/plain,Hello", " http://a.example/a.txt", "Hello"])
def test_the_form_fetches_no_other_addresses(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, address: str
) -> None:
    config = f'<View><Text name="t" value="$file" valueType="url"/>{CHOICES}</View>'
    problem = "'file' is no address that the form can fetch"
    assert find_control(config).shown({"file": address}) == (None, problem)
    project = make_project([{"file": address}], config=config)
    admin.page.goto(f"{label_studio.url}/projects/{project.id}/data?task={project.tasks[0]}")
    expect(admin.page.get_by_text("is not valid").first).to_be_visible()


def test_the_form_takes_the_type_in_small_letters_alone(
    label_studio: LabelStudio, make_project: MakeProject, admin: Profile, files: MediaServer
) -> None:
    files.replies["/file"] = Reply(b"Hello", headers=ANYONE)
    config = f'<View><Text name="t" value="$file" valueType="URL"/>{CHOICES}</View>'
    with pytest.raises(UsageError, match='its Text has valueType="URL"'):
        find_control(config)
    project = make_project([{"file": f"{files.url}/file"}], config=config)
    admin.page.goto(f"{label_studio.url}/projects/{project.id}/data?task={project.tasks[0]}")
    admin.page.wait_for_load_state("networkidle")
    expect(admin.page.get_by_text("Hello")).to_have_count(0)
    assert files.requests == []
