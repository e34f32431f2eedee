"""Texts in files: links in place of texts, and what a file means to the object that shows it."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from connector.annotations.form.config import Field
from connector.annotations.form.data import CONTENT_SEPARATOR, LINK_MARK, PAIR_SEPARATOR, plain
from connector.annotations.label_config import find_control, find_questions
from connector.annotations.objects.linked import LONGEST, Link, links_in, with_texts
from connector.annotations.questions import Questions, questions_from_json
from connector.annotations.records import digest, readable

CHOICES = '<Choices name="{}" toName="{}"><Choice value="A"/><Choice value="B"/></Choices>'
TEXT = '<Text name="t" value="$file" valueType="url"/>'
S3 = "/tasks/7/resolve/?fileuri=" + base64.urlsafe_b64encode(b"s3://bucket/a.txt").decode()


def view(*tags: str) -> str:
    return f"<View>{''.join(tags)}</View>"


def link_to(address: str, content: str = "Text", key: str = "file", **options: str) -> str:
    return Link(content, Field(key, options), address).marked


@pytest.mark.parametrize(
    ("value", "address"),
    [
        ("/data/upload/1/a.txt", "/data/upload/1/a.txt"),
        ("https://a.example/b?c#d", "https://a.example/b?c#d"),
        ("s3://bucket/a.txt", "s3://bucket/a.txt"),
        (S3, "s3://bucket/a.txt"),
        (f"http://a.example/{LINK_MARK}x", "http://a.example/ x"),
    ],
)
def test_a_text_in_a_file_is_a_link(value: str, address: str) -> None:
    control = find_control(view(TEXT, CHOICES.format("c", "t")))
    assert control.shown({"file": value}) == (link_to(address), "")
    assert (control.kind, control.contents, control.has_links) == ("text", ["the address of a text"], True)
    assert readable(link_to(address)) == address


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        ({}, "it has no 'file'"),
        ({"file": None}, "'file' is null"),
        *(({"file": value}, "'file' is no address that the form can fetch") for value in ("", "Hello", 7, ["/a"])),
        ({"file": "HTTP://a.example/b"}, "'file' is no address that the form can fetch"),
    ],
)
def test_anything_else_is_none(data: Any, problem: str) -> None:
    assert find_control(view(TEXT, CHOICES.format("c", "t"))).shown(data) == (None, problem)


def test_a_link_survives_the_state() -> None:
    link = Link("Paragraphs", Field("a.b[0]", {"nameKey": 'w"ho\u2028é'}), "https://a.example/ä b?\\")
    assert Link.of(link.marked) == link
    assert links_in(f"x{link.marked}y{link.marked}") == [link.marked] * 2
    questions = find_questions(view(TEXT, CHOICES.format("c", "t")))
    assert questions_from_json(json.loads(json.dumps(questions.to_json()))).controls == questions.controls


@given(
    st.lists(st.sampled_from([LINK_MARK, LINK_MARK[:3], LINK_MARK[3:], "\x1a", "link", "\n", "a", "\0"]), max_size=9)
)
def test_no_text_has_a_link(parts: list[str]) -> None:
    text = plain("".join(parts), "").text or ""
    for joined in (
        text,
        f"a: {text}\n\nb: {text}",
        PAIR_SEPARATOR.join([text] * 3),
        CONTENT_SEPARATOR.join([text] * 3),
    ):
        assert LINK_MARK not in joined


def test_no_text_has_a_separator() -> None:
    assert plain(f"a{PAIR_SEPARATOR}b{CONTENT_SEPARATOR}c", "").text == "a b c"


@pytest.mark.parametrize(
    ("content", "options", "file", "text"),
    [
        ("Text", {}, b"\xef\xbb\xbfa\r\nb", "a\r\nb"),
        ("Text", {}, b"caf\xe9", "caf\ufffd"),
        ("Text", {"encoding": "base64"}, b" aGVs\nbG8= ", "hello"),
        ("HyperText", {"encoding": "base64unicode"}, base64.b64encode("<p>ä</p>".encode()), "ä"),
        ("HyperText", {}, b"<p>a</p><script>b</script><p>c</p>", "a\n\nc"),
        ("Paragraphs", {}, b'[{"author": "A", "text": "b"}]', "A: b"),
        ("Table", {}, b'{"a": [1]}', "a: [1]"),
        ("Text", {}, ("é" * (LONGEST + 5)).encode(), "é" * LONGEST),
        ("Text", {}, f"a{LINK_MARK}b".encode(), "a b"),
    ],
)
def test_a_file_is_read_as_its_object_shows_it(content: str, options: dict[str, str], file: bytes, text: str) -> None:
    assert Link(content, Field("file", options), "/a").read(file) == (text, "")


@pytest.mark.parametrize(
    ("content", "file", "problem"),
    [
        ("Text", b"", "is blank"),
        ("Text", b" \n", "is blank"),
        ("Text", b"%PDF-1.7 \0\1", "is no text in UTF-8"),
        ("Text", "Hello".encode("utf-16"), "is no text in UTF-8"),
        ("HyperText", b"<script>a</script>", "has no words"),
        ("Paragraphs", b"Hello", "is no JSON"),
        ("Paragraphs", b"[" * 100_000, "is no JSON"),
        ("Paragraphs", b'{"author": 1}', "is no list of objects"),
        ("Paragraphs", b"[{}]", "has no text as 'text' in it"),
        ("Table", b"{", "is no JSON"),
        ("Table", b"[1]", "is no object"),
    ],
)
def test_a_file_that_shows_nothing_is_named(content: str, file: bytes, problem: str) -> None:
    assert Link(content, Field("file", {}), "/a").read(file) == (None, problem)


def test_links_are_parts_of_pairs_of_fields_and_of_several_contents() -> None:
    data = {"file": "/a", "other": "/b", "title": "T"}
    pair = find_control(
        view(TEXT, '<HyperText name="u" value="$other" valueType="url"/><Pairwise name="p" toName="t,u"/>')
    )
    right = link_to("/b", "HyperText", "other")
    assert pair.shown(data).text == f"{link_to('/a')}{PAIR_SEPARATOR}{right}"
    fields = find_control(view(TEXT, CHOICES.format("c", "t"))).with_fields(["title", "file"])
    assert fields.shown(data).text == f"title: T\n\nfile: {link_to('/a')}"
    assert with_texts(fields.shown(data).text or "", {link_to("/a"): "Hello"}) == "title: T\n\nfile: Hello"
    several = find_questions(
        view(TEXT, '<Text name="u" value="$title"/>', CHOICES.format("c", "t"), CHOICES.format("d", "u"))
    )
    joint = several.shown(data).text or ""
    assert joint == f"{link_to('/a')}{CONTENT_SEPARATOR}T"
    assert several.without_media(joint, {digest(link_to("/a")): "its text answers 404"}) == (
        f"{CONTENT_SEPARATOR}T",
        ["its text answers 404"],
    )
    assert Questions((fields,)).without_media(fields.shown(data).text or "", {digest(link_to("/a")): "gone"}) == (
        "",
        ["gone"],
    )
