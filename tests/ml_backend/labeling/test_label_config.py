from collections.abc import Sequence
from typing import Any

import pytest

from ml_backend.labeling.controls.choices import Choices
from ml_backend.labeling.controls.control import Control
from ml_backend.labeling.label_config import describe_change, find_controls, match_control
from ml_backend.labeling.predictions import text_of

TEXT = '<Text name="t" value="$body"/>'


def config(choices: str, text: str = TEXT) -> str:
    return f"<View>{text}{choices}</View>"


def choices(attributes: str = "", name: str = "c", inner: str = '<Choice value="A"/><Choice value="B"/>') -> str:
    return f'<Choices name="{name}" toName="t" {attributes}>{inner}</Choices>'


def control_of(name: str, to_name: str, key: str, classes: Sequence[str], **options: Any) -> Control:
    return Choices(name, to_name, key, tuple(classes), {letter: letter for letter in classes}, **options)


def test_the_projects_config_has_one_control(label_config: str) -> None:
    assert find_controls(label_config) == (control_of("politeness", "text", "text", ("Polite", "Impolite")),)


@pytest.mark.parametrize("attributes", ["", 'choice="single"', 'choice="single-radio"'])
def test_single_choice_is_the_default(attributes: str) -> None:
    assert find_controls(config(choices(attributes))) == (control_of("c", "t", "body", "AB"),)


def test_of_multiple_choice_several_can_be_chosen() -> None:
    (control,) = find_controls(config(choices('choice="multiple"')))
    assert control == control_of("c", "t", "body", "AB", multiple=True, none_counts=True)


@pytest.mark.parametrize("attributes", ['required="true"', 'visibleWhen="choice-selected" whenChoiceValue="A"'])
def test_where_the_form_insists_or_hides_the_control_nothing_chosen_is_no_answer(attributes: str) -> None:
    (control,) = find_controls(config(choices(f'choice="multiple" {attributes}')))
    assert (control.multiple, control.none_counts) == (True, False)


def test_a_model_answers_only_where_as_many_classes_can_be_chosen() -> None:
    single, several = choices(name="single"), choices('choice="multiple"', name="several")
    controls = find_controls(config(single + several))
    found = [match_control(controls, ("B", "A"), multiple) for multiple in (False, True)]
    assert [control.name for control in found if control is not None] == ["single", "several"]
    assert match_control(controls[:1], ("A", "B"), multiple=True) is None


def test_an_alias_is_what_annotations_hold() -> None:
    inner = '<Choice value="A" alias="a"/><Choice value="B"/>'
    assert find_controls(config(choices(inner=inner)))[0].classes == ("a", "B")


@pytest.mark.parametrize(
    "unservable",
    [
        "",
        "no xml",
        "<View>",
        "<View/>",
        config(choices('perRegion="true"')),
        config(choices(), text='<Text name="t" value="$body" valueType="URL"/>'),
        config(choices(), text='<Text name="t" value="a fixed text"/>'),
        config(choices(), text='<Video name="t" value="$video"/>'),
        config(choices(), text=""),
        config('<Labels name="c" toName="t"><Label value="A"/></Labels>'),
    ],
)
def test_a_config_that_cannot_be_served_has_no_control(unservable: str) -> None:
    assert find_controls(unservable) == ()


def lists(*inner: str, multiple: bool = False) -> tuple[Control, ...]:
    """A control of each list of letters, all of them classes."""
    return tuple(
        control_of(f"c{number}", "t", "body", letters, multiple=multiple) for number, letters in enumerate(inner)
    )


@pytest.mark.parametrize(
    ("controls", "classes", "found"),
    [
        (["XY", "AB"], "BA", "c1"),
        (["ABC", "AB"], "AB", "c1"),  # the same comes before what holds more
        (["AB"], "ABC", "c0"),
        (["ABC"], "AB", "c0"),
        (["AX", "ABX"], "ABC", "c1"),
        (["AX", "BX"], "AB", "c0"),  # as much in common: the config's first
        (["XY"], "AB", None),
        ([], "AB", None),
    ],
)
def test_the_same_classes_count_first_and_then_most_in_common(
    controls: list[str], classes: str, found: str | None
) -> None:
    control = match_control(lists(*controls), tuple(classes))
    assert (control and control.name) == found


def test_another_kind_of_choice_answers_nothing() -> None:
    assert match_control(lists("AB", multiple=True), ("A", "B")) is None
    assert match_control(lists("AB"), ("A", "B"), multiple=True) is None


@pytest.mark.parametrize(
    ("now", "then", "says"),
    [
        ("AB", "BA", ""),
        ("ABC", "AB", "The labelling config has changed since model version v7 was trained: 'C' is new. Run"),
        ("AB", "ABC", "was trained: 'C' is gone. Run connector sync."),
        ("AXY", "AB", "was trained: 'X' and 'Y' are new and 'B' is gone. Run connector sync."),
        ("A", "ABCDEF", "was trained: 'B', 'C', 'D' and 2 more are gone. Run connector sync."),
        ("XY", "AB", "was trained: no control for one choice has a class of the model any more. Run connector sync."),
        (None, "AB", "The labelling config cannot be read or has no control that model version v7 could"),
    ],
)
def test_the_difference_is_told_in_a_sentence(now: str | None, then: str, says: str) -> None:
    controls = lists(now) if now is not None else ()
    sentence = describe_change("v7", controls, match_control(controls, tuple(then)), tuple(then), multiple=False)
    assert says in sentence
    assert bool(sentence) == bool(says)
    assert sentence.count("\n") == 0


@pytest.mark.parametrize(
    "text",
    [
        " s3://bucket/a.txt\n",
        "gs://bucket/a b.txt".replace(" ", "%20"),
        "azure-blob://box/a.txt",
        "/data/upload/4/33f9c7f0-a.png",
        "/data/local-files/?d=stored/a.txt",
        "",
        " \n",
        None,
        [],
        {"a": "b"},
    ],
)
def test_what_is_no_inline_text_is_none(text: Any) -> None:
    (control,) = lists("AB")
    assert text_of({"data": {"body": text}}, control) == ""


@pytest.mark.parametrize("task", [None, 7, "task", [], {}, {"data": None}, {"data": ["a"]}, {"data": {"other": "a"}}])
def test_a_task_without_the_key_has_no_text(task: Any) -> None:
    (control,) = lists("AB")
    assert text_of(task, control) == ""


@pytest.mark.parametrize(
    "text",
    [
        "https://example.com/a.txt",
        "see https://example.com/a.txt",
        "https://example.com/a.txt is down",
        "http: what a mess",
        "/data/upload is full",
        "and/or",
        "://",
        "1",
    ],
)
def test_a_text_that_mentions_a_link_is_a_text(text: str) -> None:
    (control,) = lists("AB")
    assert text_of({"data": {"body": text}}, control) == text


def test_what_neither_database_nor_tokenizer_takes_is_replaced() -> None:
    (control,) = lists("AB")
    assert text_of({"data": {"body": "a\0b \ud800"}}, control) == "a?b ?"
