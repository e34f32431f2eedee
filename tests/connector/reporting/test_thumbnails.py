"""Small pictures in a report: of images, and waveforms of recordings."""

from __future__ import annotations

import io
import re
from contextlib import closing
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from support import report_factory
from support.drawn_images import as_bytes, draw
from support.made_recordings import as_bytes as sound_file
from support.made_recordings import make
from support.media_server import MediaServer, Reply

from connector.annotations.label_config import find_questions
from connector.annotations.records import Task, digest
from connector.media import Fetcher
from connector.media.recordings import small_copy
from connector.reporting.content import Content, Text
from connector.reporting.html import page
from connector.reporting.thumbnails import Thumbnails, short_address
from connector.reporting.waveform import waveform
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


def test_an_address_of_a_recording_is_shown_without_what_is_secret() -> None:
    questions = find_questions(CONFIG.replace("<Image", "<Audio").replace("valueList", "value"))
    joint = questions.shown({"pages": "https://sounds.example.com/a.wav?X-Amz-Signature=secret"}).text or ""
    assert "secret" not in questions.with_addresses(joint, short_address)


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


SOUNDS = CONFIG.replace('<Image name="i" valueList="$pages"/>', '<Audio name="i" value="$sound"/>')


def heights(drawing: bytes) -> list[float]:
    """How high each stroke of a waveform is, from the middle."""
    strokes = re.findall(r"M[\d.]+ ([\d.]+)V([\d.]+)", drawing.decode())
    return [(float(bottom) - float(top)) / 2 for top, bottom in strokes]


def test_a_recording_has_a_waveform_and_one_that_is_gone_has_none() -> None:
    with closing(MediaServer()) as server:
        server.replies["/data/upload/1/a.mp3"] = Reply(sound_file(make(2), "MP3"))
        questions = find_questions(SOUNDS)
        texts = {1: "/data/upload/1/a.mp3", 2: "/data/upload/1/gone.mp3"}
        tasks = {task: Task(task, digest(text), False, 1, "") for task, text in texts.items()}
        pulled = ProjectSnapshot(
            {"id": 7}, questions, tasks, {}, False, lambda ids: {task: texts[task] for task in ids if task in texts}
        )
        with Fetcher(server.url, lambda: "Token t") as fetcher:
            found = Thumbnails(fetcher).of(pulled, [1, 2, 3])
    assert list(found) == [1]
    assert found[1].startswith(b"<svg ")


@pytest.mark.parametrize("loudness", [0.01, 0.9])
def test_a_waveform_shows_where_it_is_loud_at_any_volume(loudness: float) -> None:
    samples = np.concatenate([np.zeros(8_000), np.sin(np.arange(8_000)), np.zeros(16_000)]) * loudness
    found = heights(waveform(small_copy(sound_file(samples.astype(np.float32)))))
    assert len(found) == 64
    assert min(found[17:31]) > 29
    assert max(found[:15] + found[33:]) < 2


@pytest.mark.parametrize("count", [1, 5, 64])
def test_short_and_silent_recordings_have_a_waveform(count: int) -> None:
    assert len(heights(waveform(small_copy(sound_file(np.zeros(count, np.float32)))))) == 64


def shown_next(content: Content, text: Text) -> str:
    """The page, with one task in the window."""
    place = replace(content.window.places[0], text=text)
    return page(replace(content, window=replace(content.window, places=[place])))


def test_a_page_says_what_it_shows() -> None:
    content = report_factory.content()
    place = content.window.places[0]
    html = shown_next(content, Text("/data/upload/1/a.wav", image=waveform(small_copy(sound_file(make(1))))))
    assert ">Recording</th>" in html
    assert ">Image</th>" in shown_next(content, Text("/data/upload/1/a.png", image=as_bytes(draw(1))))
    assert ">Text</th>" in shown_next(content, Text("words"))
    assert html.count('<img class="thumbnail" src="data:image/svg+xml;base64,') == 1
    assert f'alt="Waveform of task {place.task}, asked next"' in html
