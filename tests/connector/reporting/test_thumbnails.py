"""Small images in a report."""

from __future__ import annotations

import io
from contextlib import closing
from dataclasses import replace

from PIL import Image
from support import report_factory
from support.drawn_images import as_bytes, draw
from support.media_server import MediaServer, Reply

from connector.annotations.label_config import find_questions
from connector.annotations.records import Task, digest
from connector.media import Fetcher
from connector.reporting.content import Text
from connector.reporting.html import page
from connector.reporting.thumbnails import Thumbnails, short_address
from connector.state.snapshot import ProjectSnapshot

CONFIG = (
    '<View><Image name="i" valueList="$pages"/><Choices name="c" toName="i">'
    '<Choice value="A"/><Choice value="B"/></Choices></View>'
)


def test_each_image_is_fetched_once_and_small_and_of_pages_the_first() -> None:
    with closing(MediaServer()) as server:
        server.replies["/data/upload/1/a.png"] = Reply(as_bytes(draw(1, size=400)))
        server.replies["/data/upload/1/b.png"] = Reply(as_bytes(draw(2, size=40)))
        pages = {
            1: ["/data/upload/1/a.png", "/data/upload/1/b.png"],
            2: ["/data/upload/1/b.png"],
            3: ["/data/upload/1/gone.png"],
            4: ["/data/upload/1/b.png"],
        }
        questions = find_questions(CONFIG)
        texts = {task: questions.shown({"pages": row}).text or "" for task, row in pages.items()}
        tasks = {task: Task(task, digest(text), False, 1, "") for task, text in texts.items()}
        pulled = ProjectSnapshot(
            {"id": 7}, questions, tasks, {}, False, lambda ids: {task: texts[task] for task in ids if task in texts}
        )
        with Fetcher(server.url, lambda: "Token t") as fetcher:
            thumbnails = Thumbnails(fetcher)
            found = thumbnails.of(pulled, [1, 2, 3, 4, 5])
            assert thumbnails.of(pulled, [2]) == {2: found[2]}
        assert sorted(found) == [1, 2, 4]
        assert found[2] == found[4]
        assert Image.open(io.BytesIO(found[1])).size == (256, 256)
        assert Image.open(io.BytesIO(found[2])).size == (40, 40)
        assert sorted(server.paths) == [f"/data/upload/1/{name}.png" for name in ("a", "b", "gone")]


def test_an_address_is_shown_without_what_is_secret_or_long() -> None:
    questions = find_questions(CONFIG)
    addresses = [
        "https://images.example.com/a.png?X-Amz-Signature=secret",
        "data:image/png;base64,AAAA",
        "s3://b/a.png",
    ]
    joint = questions.shown({"pages": addresses}).text or ""
    written = questions.with_addresses(joint, short_address).splitlines()
    assert written == ["https://images.example.com/a.png", "in the task itself", "s3://b/a.png"]


def test_a_page_holds_its_images_itself() -> None:
    content = report_factory.content()
    image = as_bytes(draw(3))
    place = content.window.places[0]
    shown = Text("/data/upload/1/a.png", image=image)
    window = replace(content.window, places=[replace(place, text=shown)])
    html = page(replace(content, window=window))
    assert html.count('<img class="thumbnail" src="data:image/png;base64,') == 1
    assert f'alt="Image of task {place.task}, asked next"' in html
    assert "img-src data:;" in html
