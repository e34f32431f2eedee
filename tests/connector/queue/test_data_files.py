"""Files of texts as people have them: from Excel, from Windows, with a slip in them."""

import codecs
import json
from pathlib import Path
from typing import Any

import pytest

from connector.annotations import find_control
from connector.annotations.label_config import packaged_label_config
from connector.annotations.questions import Questions
from connector.errors import UsageError
from connector.queue.data_files import read_data_file

QUESTIONS = Questions((find_control(packaged_label_config()),))
GERMAN = [
    "Könnten Sie bitte prüfen, ob die Größe stimmt? Vielen Dank für Ihre Mühe.",
    "Das Gerät läuft überhaupt nicht mehr, ändern Sie das sofort!",
]
UTF_16 = codecs.BOM_UTF16_LE + "\r\n".join(["text\tsource", *(f"{text}\tExcel" for text in GERMAN)]).encode("utf-16-le")


def table(delimiter: str, encoding: str, newline: str = "\r\n") -> bytes:
    rows = [f"text{delimiter}source", *(f'"{text}"{delimiter}Excel' for text in GERMAN)]
    return newline.join([*rows, ""]).encode(encoding)


def write(folder: Path, content: bytes | str, name: str = "texts.csv") -> Path:
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path) -> list[dict[str, Any]]:
    return read_data_file(path, QUESTIONS).rows


@pytest.mark.parametrize(
    ("content", "guesses"),
    [
        (table(",", "utf-8"), None),
        (table(",", "utf-8-sig"), None),
        (table(",", "utf-8", "\r"), None),
        (table(";", "utf-8-sig"), "a semicolon between columns"),
        (b"sep=;\r\n" + table(";", "utf-8"), "a semicolon between columns"),
        (table("\t", "utf-8"), "a tab between columns"),
        (table("|", "utf-8"), "a vertical bar between columns"),
        (table(",", "latin-1"), "the encoding cp1252"),
        (table(";", "cp1252"), "the encoding cp1252 and a semicolon between columns"),
        (UTF_16, "the encoding utf_16 and a tab between columns"),
    ],
)
def test_delimiter_and_encoding_are_found_out_and_what_was_assumed_is_said(
    tmp_path: Path, content: bytes, guesses: str | None
) -> None:
    found = read_data_file(write(tmp_path, content), QUESTIONS)
    assert found.rows == [{"text": text, "source": "Excel"} for text in GERMAN]
    if guesses is None:
        assert found.assumed is None
    else:
        assert found.assumed is not None
        assert f"texts.csv was read with {guesses}. Its first text is 'Könnten Sie bitte prüfen" in found.assumed


def test_commas_and_semicolons_within_texts_are_no_delimiters(tmp_path: Path) -> None:
    content = 'text\n"First, please; then, thanks"\nNo comma; but a semicolon\n'
    assert read(write(tmp_path, content)) == [
        {"text": "First, please; then, thanks"},
        {"text": "No comma; but a semicolon"},
    ]


@pytest.mark.parametrize("name", ["texts.CSV", "texts.tsv"])
def test_other_endings_of_tables(tmp_path: Path, name: str) -> None:
    assert read(write(tmp_path, "text\nHello\n", name)) == [{"text": "Hello"}]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.csv", "Text,source\nHello,a\n", "Its columns are: 'Text', 'source'. Rename 'Text' to 'text'."),
        ("a.csv", " text ,x\nHello,a\n", "Its columns are: ' text ', 'x'. Rename ' text ' to 'text'."),
        ("a.csv", "\u00a0text,x\nHello,a\n", "Its columns are: '\\xa0text', 'x'. Rename '\\xa0text' to 'text'."),
        ("a.csv", "comment;label\nHello;P\n", "Row 1 of {path} has no 'text', which the labelling config shows. "),
        ("a.csv", "comment;label\nHello;P\n", "Its columns are: 'comment', 'label'."),
        ("a.jsonl", '{"Text": "Hello", "n": 1}', "Line 1 of {path} has no 'text', which the labelling config shows. "),
        (
            "a.jsonl",
            '{"text": "a"}\n\n\n{"text": }\n',
            "Line 4 of {path} is not JSON: Expecting value, at character",
        ),
        ("a.jsonl", '{"text": "a"}\r\n{"text": "b"\r\n', "Line 2 of {path} is not JSON: Expecting ',' delimiter"),
        ("a.jsonl", '\n"text"\n', 'Line 2 of {path} is not an object such as {{"text": "…"}}.'),
        ("a.jsonl", "[" * 100_000, "Line 1 of {path} is not JSON: "),
        (
            "a.csv",
            'text\nHello\n"never ended\nmore\n',
            "Row 2 of {path} cannot be read: a quotation mark is never",
        ),
        ("a.csv", "text,n\nHello,1\nHello, and more,2\n", "Row 2 of {path} has more values than columns: put quotes"),
        ("a.csv", b"PK\x03\x04\x14\x00", "{path} is a workbook or an archive under another name: save it as CSV."),
        ("a.csv", b"text\nHel\0lo\n", "Row 1 of {path} holds a NUL character"),
        ("a.csv", "text,n\nTwo\nlines,2\n", "Row 1 of {path} has fewer values than columns: put quotes around texts"),
        ("a.csv", "text,text\nHello,you\n", "{path} has two columns 'text': rename one of them."),
        ("a.jsonl", '{"text": "a", "text": "b"}', "Line 1 of {path} is not JSON: it has two values for 'text'."),
        ("a.jsonl", '{"text": "a", "n": NaN}', "Line 1 of {path} is not JSON: NaN is no number that JSON can hold."),
        ("a.jsonl", '{"text": "a", "n": [-Infinity]}', "not JSON: -Infinity is no number that JSON can hold."),
        ("a.jsonl", '{"text": "a"}\n{"text": "b", "n": 1e400}', "Line 2 of {path} is not JSON: 1e400 is no number"),
        ("a.jsonl", '{"text": null}', "Line 1 of {path} has no text, because 'text' is null: give it one"),
        ("a.jsonl", '{"text": {"a": 1}}', "Line 1 of {path} has no text, because 'text' is an object: give"),
        ("a.jsonl", '{"text": [{"a": 1}]}', "Line 1 of {path} has no text, because 'text' is a list with objects: "),
        (
            "a.csv",
            'text\n""\n',
            "Row 1 of {path} has no text, because 'text' is blank: give it one, or take the row out.",
        ),
        (
            "a.csv",
            "text,n\nHello,1\n\u00a0,2\n,3\nHello,4\n\t,5\n",
            "Row 2 of {path} has no text, because 'text' is blank: give it one, or take the row out. 2 more rows have",
        ),
        ("a.jsonl", '{"text": "a"}\n\n{"text": " \\n"}', "Line 3 of {path} has no text, because 'text' is blank: give"),
        ("a.jsonl", '{"text": []}', "Line 1 of {path} has no text, because 'text' is blank: give"),
        ("a.csv", "text\ns3://files/1.txt\n", "Row 1 of {path} has no text, because 'text' is only a link to a file: "),
        ("a.csv", b"", "{path} holds no rows."),
        ("a.xlsx", b"", "{path} is neither .csv nor .jsonl."),
    ],
)
def test_a_file_that_cannot_be_used_is_refused_with_its_place_and_columns(
    tmp_path: Path, name: str, content: bytes | str, words: str
) -> None:
    path = write(tmp_path, content, name)
    with pytest.raises(UsageError) as refused:
        read(path)
    assert words.format(path=path) in str(refused.value)
    assert "codec" not in str(refused.value)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"texts\.csv"):
        read(write(tmp_path, bytes(range(256)) * 8))


def test_a_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "texts.csv").mkdir()
    with pytest.raises(UsageError, match="cannot be read: Is a directory"):
        read(tmp_path / "texts.csv")


@pytest.mark.parametrize("text", ["Hello", "see s3://files/1.txt", "https://example.org/page", 0, False, [1, "a"]])
def test_what_the_form_shows_is_a_text(tmp_path: Path, text: Any) -> None:
    assert read(write(tmp_path, json.dumps({"text": text}), "a.jsonl")) == [{"text": text}]


def test_a_text_is_what_the_form_decodes(tmp_path: Path) -> None:
    config = packaged_label_config().replace('value="$text"', 'value="$text" encoding="base64"')
    with pytest.raises(UsageError, match=r"Row 2 of .* has no text, because 'text' is not base64: "):
        read_data_file(write(tmp_path, "text\nSGVsbG8=\nHello!\n"), Questions((find_control(config),)))


def test_a_row_may_lack_some_of_the_fields(tmp_path: Path) -> None:
    path = write(tmp_path, "text;title\nLook now.;A\nStop it.;\n")
    read = read_data_file(path, QUESTIONS.with_fields(["title", "text"]))
    assert [row["title"] for row in read.rows] == ["A", ""]
    assert read.assumed is not None
    assert "Its first text is 'title: A text: Look now.'" in read.assumed


def test_a_field_that_no_row_has_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, "text,title\nLook now.,A\n")
    with pytest.raises(UsageError) as error:
        read_data_file(path, QUESTIONS.with_fields(["titel", "text"]))
    assert str(error.value) == f"{path} has no 'titel', which --fields names. Its columns are: 'text', 'title'."
