"""The connector and the ML backend read labelling configs, data and answers alike: as Label Studio's form does."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given as generated
from hypothesis import settings
from hypothesis import strategies as st
from support import ROOT

from connector.annotations.controls import Control, from_json
from connector.annotations.form.conditions import conditions, is_shown, shown_labels
from connector.annotations.form.config import BrokenConfig
from connector.annotations.form.data import PAIR_SEPARATOR
from connector.annotations.label_config import find_control
from connector.annotations.records import read_text
from connector.errors import UsageError
from ml_backend.labeling import controls as controls_of_backend
from ml_backend.labeling.label_config import find_controls
from ml_backend.labeling.predictions import text_of
from ml_backend.labeling.training_labels import _label_of

BackendControl = controls_of_backend.Control
FOLDERS = ("form", "controls", "objects")
OURS, THEIRS = "connector.annotations", "ml_backend.labeling"
TEXT = '<Text name="t" value="$text"/>'
AB = '<Choice value="A"/><Choice value="B"/>'
NESTED = '<Choice value="A"><Choice value="C"/><Choice value="D"/></Choice><Choice value="B"/>'


def choices(attributes: str = "", inner: str = AB, name: str = "c", tag: str = "Choices") -> str:
    return f'<{tag} name="{name}" toName="t" {attributes}>{inner}</{tag}>'


def view(*parts: str) -> str:
    return f"<View>{''.join(parts)}</View>"


@pytest.mark.parametrize("folder", FOLDERS)
def test_both_have_the_same_files(folder: str) -> None:
    ours, theirs = (
        {path.name: path.read_text() for path in (ROOT / package.replace(".", "/") / folder).glob("*.py")}
        for package in (OURS, THEIRS)
    )
    assert len(ours) > 3
    assert {name: code.replace(OURS, THEIRS) for name, code in ours.items()} == theirs


# What the form does with each config, and so what is served: the classes, or nothing.
SERVED = {
    "plain": (view(TEXT, choices()), ["A", "B"]),
    "single": (view(TEXT, choices('choice="single"')), ["A", "B"]),
    "radio": (view(TEXT, choices('choice="single-radio"')), ["A", "B"]),
    "multiple": (view(TEXT, choices('choice="multiple"')), ["A", "B"]),
    "required": (view(TEXT, choices('choice="multiple" required="true"')), ["A", "B"]),
    "REQUIRED": (view(TEXT, choices('choice="multiple" REQUIRED="True"')), ["A", "B"]),
    "visible when": (view(TEXT, choices('choice="multiple" visiblewhen="choice-selected"')), ["A", "B"]),
    "visible when nothing": (view(TEXT, choices('choice="multiple" visibleWhen=""')), ["A", "B"]),
    "another kind of choice": (view(TEXT, choices('choice="several"')), None),
    "no kind of choice": (view(TEXT, choices('choice=""')), None),
    "nested allowed": (view(TEXT, choices('allowNested="true"')), ["A", "B"]),
    "nested allowed, several": (view(TEXT, choices('allownested="true" choice="multiple"')), ["A", "B"]),
    "nested": (view(TEXT, choices(inner=NESTED)), ["A", "B"]),
    "nested, and allowed": (view(TEXT, choices('allowNested="true"', inner=NESTED)), ["A / C", "A / D", "B"]),
    "nested by alias": (
        view(TEXT, choices('allowNested="true"', inner=NESTED.replace('"A"', '"A" alias="a"'))),
        ["a / C", "a / D", "B"],
    ),
    "per region": (view(TEXT, choices('perRegion="true"')), None),
    "per region in small letters": (view(TEXT, choices('perregion="true"')), None),
    "per region, not": (view(TEXT, choices('perRegion="false"')), ["A", "B"]),
    "per item": (view(TEXT, choices('peritem="true"')), None),
    "choices from the data": (view(TEXT, choices('value="$options"', inner="")), None),
    "a value that is no key": (view(TEXT, choices('value="options"')), ["A", "B"]),
    "tags in small letters": (view(TEXT.lower(), choices(tag="choices", inner=AB.lower())), ["a", "b"]),
    "tags in large letters": (view('<TEXT name="t" value="$text"/>', choices(tag="CHOICES")), ["A", "B"]),
    "toname": (view(TEXT, choices().replace("toName", "toname")), ["A", "B"]),
    "one choice": (view(TEXT, choices(inner='<Choice value="A"/>')), None),
    "one choice twice": (view(TEXT, choices(inner='<Choice value="A"/><Choice value="A"/>')), None),
    "no choice": (view(TEXT, choices(inner="")), None),
    "an empty choice": (view(TEXT, choices(inner=AB + '<Choice value=""/>')), ["A", "B"]),
    "a choice without a value": (view(TEXT, choices(inner=AB + "<Choice/>")), ["A", "B"]),
    "an empty choice of two": (view(TEXT, choices(inner='<Choice value="A"/><Choice value=""/>')), None),
    "a blank choice": (view(TEXT, choices(inner=AB + '<Choice value=" "/>')), ["A", "B", " "]),
    "an endless choice": (view(TEXT, choices(inner=AB + f'<Choice value="{"x" * 10_001}"/>')), ["A", "B"]),
    "a long choice": (view(TEXT, choices(inner=AB + f'<Choice value="{"x" * 10_000}"/>')), ["A", "B", "x" * 10_000]),
    "too many": (view(TEXT, choices(inner="".join(f'<Choice value="{n}"/>' for n in range(1001)))), None),
    "an alias": (view(TEXT, choices(inner='<Choice value="A" alias="a"/><Choice value="B"/>')), ["a", "B"]),
    "an empty alias": (view(TEXT, choices(inner='<Choice value="A" alias=""/><Choice value="B"/>')), ["A", "B"]),
    "ALIAS": (view(TEXT, choices(inner='<Choice value="A" ALIAS="a"/><Choice value="B"/>')), ["a", "B"]),
    "swapped": (view(TEXT, choices(inner='<Choice value="A" alias="B"/><Choice value="B" alias="A"/>')), ["B", "A"]),
    "text inside": (view(TEXT, choices(inner='<Choice value="A">C</Choice><Choice value="B"/>')), ["C", "B"]),
    "task data": (view(TEXT, choices(inner='<Choice value="$5"/><Choice value="B"/>')), None),
    "aliased data": (view(TEXT, choices(inner='<Choice value="$5" alias="5"/><Choice value="B"/>')), ["5", "B"]),
    "a lone dollar": (view(TEXT, choices(inner='<Choice value="US$"/><Choice value="$ 5"/>')), ["US$", "$ 5"]),
    "choices in views": (view(TEXT, choices(inner=f"<View>{AB}</View><Header value='x'/>")), ["A", "B"]),
    "a comment": (view("<!-- {'data': 1} -->", TEXT, choices(inner=f"{AB}<!-- more -->")), ["A", "B"]),
    "a header": (view('<Header value="$text"/>', TEXT, choices()), ["A", "B"]),
    "deep": ("<View>" * 200 + TEXT + choices() + "</View>" * 200, ["A", "B"]),
    "not a View": (f"<Root>{TEXT}{choices()}</Root>", ["A", "B"]),
    "two objects": (view(TEXT, '<Text name="u" value="$u"/>', choices().replace('"t"', '"t,u"')), None),
    "no object": (view(choices()), None),
    "an image": (view('<Image name="t" value="$text"/>', choices()), ["A", "B"]),
    "pages": (view('<Image name="t" valueList="$pages"/>', choices()), ["A", "B"]),
    "a recording": (view('<Audio name="t" value="$text"/>', choices()), ["A", "B"]),
    "a recording by its former name": (view('<AudioPlus name="t" value="$text"/>', choices()), ["A", "B"]),
    "recordings": (view('<Audio name="t" valueList="$pages"/>', choices()), None),
    "a video": (view('<Video name="t" value="$text"/>', choices()), None),
    "hypertext": (view('<HyperText name="t" value="$text"/>', choices()), ["A", "B"]),
    "a path": (view('<Text name="t" value="$llm.outputs[0].text"/>', choices()), ["A", "B"]),
    "words before": (view('<Text name="t" value="Title: $text"/>', choices()), None),
    "words behind": (view('<Text name="t" value="$text for labeling"/>', choices()), None),
    "two keys": (view('<Text name="t" value="$title $text"/>', choices()), None),
    "a hyphen": (view('<Text name="t" value="$my-text"/>', choices()), None),
    "another script": (view('<Text name="t" value="$söz"/>', choices()), None),
    "no key": (view('<Text name="t" value="text"/>', choices()), None),
    "a dollar": (view('<Text name="t" value="$"/>', choices()), None),
    "no value": (view('<Text name="t"/>', choices()), None),
    "a text in the config": (view('<Text name="t" value="$text">Hello</Text>', choices()), None),
    "valueType text": (view('<Text name="t" value="$text" valueType="text"/>', choices()), ["A", "B"]),
    "valueType url": (view('<Text name="t" value="$text" valueType="url"/>', choices()), ["A", "B"]),
    "valuetype url": (view('<Text name="t" value="$text" valuetype="url"/>', choices()), ["A", "B"]),
    "valueType URL": (view('<Text name="t" value="$text" valueType="URL"/>', choices()), None),
    "resolver": (view('<Text name="t" value="$text" resolver="csv|column=1"/>', choices()), None),
    "base64": (view('<Text name="t" value="$text" encoding="base64"/>', choices()), ["A", "B"]),
    "base64unicode": (view('<Text name="t" value="$text" Encoding="base64unicode"/>', choices()), ["A", "B"]),
    "rot13": (view('<Text name="t" value="$text" encoding="rot13"/>', choices()), None),
    "repeated": (view('<Repeater on="$list" indexFlag="{{idx}}">', TEXT, choices(), "</Repeater>"), None),
    "a repeated text": (view('<repeater on="$list">', TEXT, "</repeater>", choices()), None),
    "repeated choices": (view(TEXT, '<Repeater on="$list">', choices(name="c_{{idx}}"), "</Repeater>"), None),
    "a filter": (view(TEXT, '<Filter name="f" toName="c"/>', choices()), ["A", "B"]),
    "labels": (view(TEXT, choices(tag="Labels", inner='<Label value="A"/><Label value="B"/>')), None),
    "a doctype": ('<!DOCTYPE View [<!ENTITY x "A">]>' + view(TEXT, choices()), None),
    "a declaration": ('<?xml version="1.0" encoding="utf-16"?>' + view(TEXT, choices()), ["A", "B"]),
    "no XML": ("<View>", None),
    "nothing": ("", None),
    "half a surrogate pair": (view(TEXT, choices(inner=AB + '<Choice value="\ud800"/>')), None),
}


# The ML backend still answers these, under what is left of a model's classes. There is nothing to learn from them.
NOT_LEARNT = ("one choice", "one choice twice", "no choice", "an empty choice of two", "too many")


def by_connector(config: str) -> dict[str, Control]:
    """The controls that the connector would serve, by name."""
    found = {}
    for name in re.findall(r"(?i)<(?:choices|taxonomy|rating|number|pairwise)\s+name=[\"']([^\"']*)", config):
        with suppress(UsageError):
            found[name] = find_control(config, name)
    return found


def by_backend(config: str) -> dict[str, BackendControl]:
    return {control.name: control for control in find_controls(config)}


@pytest.mark.parametrize("name", SERVED)
def test_both_serve_the_same_controls(name: str) -> None:
    config, classes = SERVED[name]
    ours, theirs = by_connector(config), by_backend(config)
    assert [list(control.classes) for control in ours.values()] == ([] if classes is None else [classes])
    if name in NOT_LEARNT:
        assert len(theirs) == 1
        return
    assert {name: control.to_json() for name, control in ours.items()} == {
        name: control.to_json() for name, control in theirs.items()
    }


def controls(attributes: str = "", text: str = 'value="$text"') -> tuple[Control, BackendControl]:
    config = view(
        f'<Text name="t" {text}/>', choices(attributes, inner='<Choice value="A" alias="a"/><Choice value="B"/>')
    )
    (ours,), (theirs,) = by_connector(config).values(), find_controls(config)
    return ours, theirs


# What the form shows: the attributes of the Text, the task's data, the text.
SHOWN: dict[str, tuple[str, Any, str | None]] = {
    "a text": ('value="$text"', {"text": "Hello"}, "Hello"),
    "nothing": ('value="$text"', {}, None),
    "null": ('value="$text"', {"text": None}, None),
    "empty": ('value="$text"', {"text": ""}, None),
    "blank": ('value="$text"', {"text": " \n"}, None),
    "outer blanks": ('value="$text"', {"text": " so \n"}, " so \n"),
    "a number": ('value="$num"', {"num": 4711}, "4711"),
    "zero": ('value="$num"', {"num": 0}, "0"),
    "a whole float": ('value="$num"', {"num": 5.0}, "5"),
    "a float": ('value="$num"', {"num": 0.1}, "0.1"),
    "a small number": ('value="$num"', {"num": 1e-7}, "1e-7"),
    "a number with zeros": ('value="$num"', {"num": 0.000015}, "0.000015"),
    "a large number": ('value="$num"', {"num": 2**60}, "1152921504606846976"),
    "a large float": ('value="$num"', {"num": 2.0**60}, "1152921504606847000"),
    "a larger float": ('value="$num"', {"num": 1e21}, "1e+21"),
    "an endless float": ('value="$num"', {"num": float("-inf")}, "-Infinity"),
    "true": ('value="$text"', {"text": True}, "true"),
    "false": ('value="$text"', {"text": False}, "false"),
    "a list": ('value="$text"', {"text": ["a", 1, None, [True, "b"]]}, "a,1,,true,b"),
    "an empty list": ('value="$text"', {"text": []}, None),
    "a list of nothing": ('value="$text"', {"text": [None]}, None),
    "an object": ('value="$text"', {"text": {"a": 1}}, None),
    "a list with objects": ('value="$text"', {"text": ["a", {}]}, None),
    "a path": ('value="$llm.outputs"', {"llm": {"outputs": "Hello"}}, "Hello"),
    "a key with a dot": ('value="$llm.outputs"', {"llm.outputs": "Direct", "llm": {"outputs": "Hello"}}, "Direct"),
    "a null with a dot": ('value="$llm.outputs"', {"llm.outputs": None, "llm": {"outputs": "Hello"}}, None),
    "an item": ('value="$a[0]"', {"a": ["x", "y"]}, "x"),
    "an item of an item": ('value="$a[1].b[0]"', {"a": [0, {"b": ["deep"]}]}, "deep"),
    "an item that is not there": ('value="$a[2]"', {"a": ["x", "y"]}, None),
    "an item by a dot": ('value="$a.1"', {"a": ["x", "y"]}, "y"),
    "a letter": ('value="$a[1]"', {"a": "xyz"}, "y"),
    "a length": ('value="$a.length"', {"a": ["x", "y"]}, "2"),
    "a path through null": ('value="$a.b"', {"a": None}, None),
    "a path through a number": ('value="$a.b"', {"a": 5}, None),
    "a web address": ('value="$text"', {"text": "https://example.com/a.txt"}, "https://example.com/a.txt"),
    "a cloud storage": ('value="$text"', {"text": "s3://bucket/a.txt"}, None),
    "another one": ('value="$text"', {"text": " azure-blob://box/a b.txt".replace(" b", "%20b")}, None),
    "an upload": ('value="$text"', {"text": "/data/upload/4/33f9c7f0-a.txt"}, None),
    "a local file": ('value="$text"', {"text": "/data/local-files/?d=stored/a.txt"}, None),
    "a local file with the server": ('value="$text"', {"text": "http://ls:8080/x/data/local-files/?d=a.txt"}, None),
    "a resolved link": ('value="$text"', {"text": "/tasks/5/resolve/?fileuri=czM6"}, None),
    "a text with a link": ('value="$text"', {"text": "see s3://bucket/a.txt"}, "see s3://bucket/a.txt"),
    "a text that begins like one": (
        'value="$text"',
        {"text": "s3://bucket/a.txt is gone"},
        "s3://bucket/a.txt is gone",
    ),
    "base64": ('value="$text" encoding="base64"', {"text": "SGVsbG8="}, "Hello"),
    "base64 without padding": ('value="$text" encoding="base64"', {"text": " SGVs\nbG8 "}, "Hello"),
    "base64 of bytes": ('value="$text" encoding="base64"', {"text": "w6k="}, "Ã©"),
    "base64 of UTF-8": ('value="$text" encoding="base64unicode"', {"text": "w6k="}, "é"),
    "base64 of no UTF-8": ('value="$text" encoding="base64unicode"', {"text": "/w=="}, None),
    "no base64": ('value="$text" encoding="base64"', {"text": "Hello, you"}, None),
    "base64 that is cut": ('value="$text" encoding="base64"', {"text": "SGVsb"}, None),
    "NUL and half a pair": ('value="$text"', {"text": "a\0b \ud800"}, "a?b ?"),
    "data that is no object": ('value="$text"', ["text"], None),
    "no data": ('value="$text"', None, None),
}


@pytest.mark.parametrize(("text", "data", "shown"), SHOWN.values(), ids=SHOWN.keys())
def test_both_read_the_text_that_the_form_shows(text: str, data: Any, shown: str | None) -> None:
    ours, theirs = controls(text=text)
    assert read_text({"data": data}, ours) == shown
    assert text_of({"data": data}, theirs) == (shown or "")


def region(value: Any, **changes: Any) -> dict[str, Any]:
    return {"from_name": "c", "to_name": "t", "type": "choices", "value": value, **changes}


# Results, with the label of single choice, and that of multiple choice.
ANSWERS: dict[str, tuple[Any, str | None, list[str] | None]] = {
    "a choice": ([region({"choices": ["B"]})], "B", ["B"]),
    "a value that has an alias": ([region({"choices": ["A"]})], "a", ["a"]),
    "two choices": ([region({"choices": ["B", "a"]})], None, ["a", "B"]),
    "no choice": ([region({"choices": []})], None, []),
    "an empty result": ([], None, []),
    "no result": (None, None, []),
    "another control": ([region({"rating": 4}, from_name="stars", type="rating")], None, []),
    "a relation": ([{"from_id": "a", "to_id": "b", "type": "relation"}], None, []),
    "a path": ([region({"choices": [["B"]]})], "B", ["B"]),
    "paths": ([region({"choices": [["B"], ["a"]]})], None, ["a", "B"]),
    "a longer path": ([region({"choices": [["B", "a"]]})], None, None),
    "a string": ([region({"choices": "B"})], "B", ["B"]),
    "a string of two letters": ([region({"choices": "aB"})], None, None),
    "a number": ([region({"choices": 5})], None, None),
    "true": ([region({"choices": True})], None, None),
    "null": ([region({"choices": None})], None, None),
    "an object": ([region({"choices": {"B": 1}})], None, None),
    "a number in the list": ([region({"choices": ["B", 5]})], None, None),
    "an empty value": ([region({})], None, None),
    "a value that is null": ([region(None)], None, None),
    "a value that is a string": ([region("B")], None, None),
    "a value that is a list": ([region(["B"])], None, None),
    "a value that is a number": ([region(0)], None, None),
    "a value that is true": ([region(True)], None, None),
    "no value": ([{"from_name": "c", "type": "choices"}], None, None),
    "another type": ([region({"choices": ["B"]}, type="labels")], None, None),
    "a type in large letters": ([region({"choices": ["B"]}, type="Choices")], "B", ["B"]),
    "no type": ([region({"choices": ["B"]}, type=None)], "B", ["B"]),
    "a type that is a list": ([region({"choices": ["B"]}, type=["choices"])], None, None),
    "an unreadable one beside": ([region(None), region({"choices": ["B"]})], "B", ["B"]),
    "one choice twice": ([region({"choices": ["A", "a"]})], "a", ["a"]),
    "two regions that agree": ([region({"choices": ["A"]}), region({"choices": ["a"]})], "a", ["a"]),
    "two regions that differ": ([region({"choices": ["B"]}), region({"choices": ["a"]})], None, ["a", "B"]),
    "two choices beside one": ([region({"choices": ["B", "a"]}), region({"choices": ["B"]})], None, ["a", "B"]),
    "a choice that is gone": ([region({"choices": ["C"]})], None, None),
    "a choice that is gone beside": ([region({"choices": ["C", "B"]})], None, ["B"]),
    "an empty choice": ([region({"choices": [""]})], None, None),
    "a region that is null": ([None], None, None),
    "a region that is a list": ([["B"]], None, None),
    "a result that is a string": ("B", None, None),
    "a result that is an object": (region({"choices": ["B"]}), None, None),
    "a result that is a number": (7, None, None),
    "a name that is a list": ([region({"choices": ["B"]}, from_name=["c"])], None, []),
}


def label_of_backend(result: Any, control: BackendControl) -> str | list[str] | None:
    answers = controls_of_backend.read_answers(result, [control])
    return None if answers is None else _label_of(answers, control)


@pytest.mark.parametrize(("result", "single", "multiple"), ANSWERS.values(), ids=ANSWERS.keys())
def test_both_read_the_same_label(result: Any, single: str | None, multiple: list[str] | None) -> None:
    ours, theirs = controls()
    assert (ours.read(result).label, label_of_backend(result, theirs)) == (single, single)
    ours, theirs = controls('choice="multiple"')
    label = ours.read(result).label
    assert (None if label is None else ours.classes_of(label), label_of_backend(result, theirs)) == (multiple, multiple)


@pytest.mark.parametrize(
    ("result", "problem"),
    [
        ([region(None)], "its value is null"),
        ([region("B")], "its value is a string"),
        ([region({"choices": 5})], "its choices are a number"),
        ([region({"choices": True})], "its choices are true"),
        ([region({"choices": [["A", "B"]]})], "'A / B'"),
        ([region({"choices": ["B", None]})], "one of its choices is null"),
        ([region({"choices": ["A", "B"]})], "it has 2 choices, and the control takes one"),
        ([region({"choices": ["A"]}), region({"choices": ["B"]})], "it has 2 choices, and the control takes one"),
        ([region({"choices": ["A"]}, type="taxonomy")], "its type is 'taxonomy' instead of choices"),
        ([5], "its result has a number for a region"),
        ("B", "its result is a string"),
        ([region({"choices": ["C"]})], "'C'"),
        ([region({"choices": ["x" * 100]})], f"'{'x' * 39}…'"),
        ([region({"choices": ["\ud800\0"]})], r"'\ud800\x00'"),
        ([region({"choices": ["B"]})], ""),
        ([], ""),
    ],
)
def test_what_is_left_out_of_a_label_is_said(result: Any, problem: str) -> None:
    assert controls()[0].read(result).problem == problem


TREE = """<Choice value="Animals"><Choice value="Dog"/><Choice value="Cat" alias="cat"/></Choice>
<Choice value="Plants"><Choice value="Tree"><Choice value="Oak"/></Choice></Choice><Choice value="Other"/>"""
TREE_CLASSES = ["Animals", "Animals / Dog", "Animals / cat", "Plants", "Plants / Tree", "Plants / Tree / Oak", "Other"]
LEAVES = ["Animals / Dog", "Animals / cat", "Plants / Tree / Oak", "Other"]
STARS = [str(number) for number in range(1, 6)]
PAIR = '<Pairwise name="c" toName="t,u"/><Text name="u" value="$other"/>'
TAXONOMY, RATING, NUMBER = (f'<{tag} name="c" toName="t" {{}}>{{}}</{tag}>' for tag in ("Taxonomy", "Rating", "Number"))

NO_NUMBERS = "its min, max and step do not give 2 to 20 numbers"
# The config of a control, and its classes, or why it is refused.
KINDS: dict[str, tuple[str, list[str] | str]] = {
    "a tree": (TAXONOMY.format("", TREE), TREE_CLASSES),
    "its leaves": (TAXONOMY.format('leafsOnly="true"', TREE), LEAVES),
    "a tree with one value twice": (
        TAXONOMY.format("", AB + '<Choice value="A"><Choice value="C"/></Choice>'),
        ["A", "B", "A / C"],
    ),
    "a tree from an address": (TAXONOMY.format('apiUrl="https://a/b.json"', TREE), "its choices come from an address"),
    "a tree from the data": (TAXONOMY.format('value="$tree"', ""), "its choices come from the task's data"),
    "a tree that labels": (TAXONOMY.format('labeling="true"', TREE), 'labeling="true"'),
    "a tree per region": (TAXONOMY.format('perRegion="true"', TREE), 'perRegion="true"'),
    "an ambiguous tree": (
        TAXONOMY.format("", '<Choice value="A / B"/><Choice value="A"><Choice value="B"/></Choice>'),
        "two of its choices are 'A / B': give one an alias",
    ),
    "an empty tree": (TAXONOMY.format("", ""), "fewer than two choices"),
    "nested choices": (choices('allowNested="true" choice="multiple"', inner=TREE), LEAVES),
    "stars": (RATING.format("", ""), STARS),
    "three stars": (RATING.format('maxRating="3"', ""), ["1", "2", "3"]),
    "one star": (RATING.format('maxRating="1"', ""), "fewer than two ratings"),
    "no number of stars": (
        RATING.format('maxRating="many"', ""),
        "its maxRating is 'many', and no whole number up to 20",
    ),
    "a hundred stars": (RATING.format('maxRating="100"', ""), "its maxRating is '100', and no whole number up to 20"),
    "stars per item": (RATING.format('perItem="true"', ""), 'perItem="true"'),
    "numbers": (NUMBER.format('min="0" max="3"', ""), ["0", "1", "2", "3"]),
    "halves": (NUMBER.format('min="-0.5" max="1" step="0.5"', ""), ["-0.5", "0", "0.5", "1"]),
    "steps that do not fit": (NUMBER.format('min="0" max="1" step="0.4"', ""), ["0", "0.4", "0.8"]),
    "tenths": (NUMBER.format('min="0" max="0.3" step="0.1"', ""), ["0", "0.1", "0.2", "0.3"]),
    "twenty numbers": (NUMBER.format('min="1" max="20"', ""), [str(number) for number in range(1, 21)]),
    "too many numbers": (NUMBER.format('min="0" max="20"', ""), "its min, max and step do not give 2 to 20 numbers"),
    "numbers without an end": (NUMBER.format('min="0"', ""), "no number as its max"),
    "numbers without a beginning": (NUMBER.format('max="5"', ""), "no number as its min"),
    "numbers that are none": (NUMBER.format('min="0" max="NaN"', ""), "no number as its max"),
    "a step back": (
        NUMBER.format('min="0" max="5" step="-1"', ""),
        "its min, max and step do not give 2 to 20 numbers",
    ),
    "no step": (NUMBER.format('min="0" max="5" step="0"', ""), "its min, max and step do not give 2 to 20 numbers"),
    "the wrong end first": (NUMBER.format('min="5" max="0"', ""), "its min, max and step do not give 2 to 20 numbers"),
    "endless stars": (RATING.format(f'maxRating="{"9" * 5000}"', ""), "its maxRating is '99999999"),
    "numbers beyond all": (NUMBER.format('min="-9e999999" max="9e999999"', ""), NO_NUMBERS),
    "steps below all": (NUMBER.format('min="0" max="9e999999" step="1e-999999"', ""), NO_NUMBERS),
    "numbers that are written alike": (NUMBER.format('min="1e16" max="10000000000000004"', ""), NO_NUMBERS),
    "steps that are written alike": (NUMBER.format('min="0" max="5e-400" step="1e-400"', ""), NO_NUMBERS),
    "endless numbers": (NUMBER.format('min="0" max="1e400" step="1e399"', ""), NO_NUMBERS),
    "a pair per region": (PAIR.replace("toName", 'perRegion="true" toName'), 'perRegion="true"'),
    "a pair of the same": (PAIR.replace("t,u", "t,t"), "toName does not name two objects"),
    "a pair": (PAIR, ["left", "right"]),
    "a pair of one": (PAIR.replace("t,u", "t"), "toName does not name two objects"),
    "a pair of what is not there": (PAIR.replace("t,u", "t,v"), "on nothing"),
    "one number": (NUMBER.format('min="5" max="5"', ""), "fewer than two numbers"),
}


@pytest.mark.parametrize(("config", "classes"), KINDS.values(), ids=KINDS.keys())
def test_the_kinds_of_controls(config: str, classes: list[str] | str) -> None:
    config = view(TEXT, config)
    ours, theirs = by_connector(config), by_backend(config)
    if isinstance(classes, str):
        assert not ours
        with pytest.raises(UsageError) as error:
            find_control(config)
        assert f"({classes}" in str(error.value)
        return
    assert list(ours["c"].classes) == classes
    assert from_json(json.loads(json.dumps(ours["c"].to_json()))) == ours["c"]
    assert theirs["c"].to_json() == ours["c"].to_json()


def given(kind: str, value: Any, key: str | None = None) -> list[dict[str, Any]]:
    return [{"from_name": "c", "to_name": "t", "type": kind, "value": {key or kind: value}}]


# The config of a control, what an annotation gives in it, the label as a list of classes, and what is said.
ONE_PATH, PATHS = TAXONOMY.format('maxUsages="1"', TREE), TAXONOMY.format("", TREE)
NESTED_ONE, NESTED_SEVERAL = (
    choices(f'allowNested="true" choice="{kind}"', inner=TREE) for kind in ("single", "multiple")
)
GIVEN: dict[str, tuple[str, list[dict[str, Any]], list[str] | None, str]] = {
    "a path": (ONE_PATH, given("taxonomy", [["Animals", "Dog"]]), ["Animals / Dog"], ""),
    "a path by its value": (ONE_PATH, given("taxonomy", [["Animals", "Cat"]]), ["Animals / cat"], ""),
    "a path by its alias": (ONE_PATH, given("taxonomy", [["Animals", "cat"]]), ["Animals / cat"], ""),
    "a node": (ONE_PATH, given("taxonomy", [["Plants", "Tree"]]), ["Plants / Tree"], ""),
    "a path that is gone": (ONE_PATH, given("taxonomy", [["Animals", "Cow"]]), None, "'Animals / Cow'"),
    "two paths where one is taken": (
        ONE_PATH,
        given("taxonomy", [["Other"], ["Plants"]]),
        None,
        "it has 2 choices, and the control takes one",
    ),
    "two paths": (PATHS, given("taxonomy", [["Other"], ["Animals", "Dog"]]), ["Animals / Dog", "Other"], ""),
    "a node beside what is inside it": (
        PATHS,
        given("taxonomy", [["Animals"], ["Animals", "Dog"]]),
        ["Animals", "Animals / Dog"],
        "",
    ),
    "no path": (PATHS, [], [], ""),
    "a path of numbers": (PATHS, given("taxonomy", [[1, 2]]), None, "one of its choices is a list"),
    "an empty path": (PATHS, given("taxonomy", [[]]), None, "one of its choices is a list"),
    "choices for a tree": (PATHS, given("choices", ["Other"]), None, "its type is 'choices' instead of taxonomy"),
    "a leaf": (NESTED_ONE, given("choices", [["Animals", "Dog"]]), ["Animals / Dog"], ""),
    "an only leaf, and all that it is in": (
        NESTED_ONE,
        given("choices", [["Plants"], ["Plants", "Tree"], ["Plants", "Tree", "Oak"]]),
        ["Plants / Tree / Oak"],
        "",
    ),
    "a choice with all that is inside it": (
        NESTED_ONE,
        given("choices", [["Animals"], ["Animals", "Dog"], ["Animals", "cat"]]),
        None,
        "it has 2 choices, and the control takes one",
    ),
    "the same where several are taken": (
        NESTED_SEVERAL,
        given("choices", [["Animals"], ["Animals", "Dog"], ["Animals", "cat"]]),
        ["Animals / Dog", "Animals / cat"],
        "",
    ),
    "a leaf by values that have aliases now": (
        choices('allowNested="true"', inner='<Choice value="A" alias="a"><Choice value="C" alias="c"/></Choice>' + AB),
        given("choices", [["A"], ["A", "C"]]),
        ["a / c"],
        "",
    ),
    "a leaf by one alias and one value": (
        choices('allowNested="true"', inner='<Choice value="A" alias="a"><Choice value="C" alias="c"/></Choice>' + AB),
        given("choices", [["a"], ["a", "C"]]),
        ["a / c"],
        "",
    ),
    "a choice without what is inside it": (NESTED_SEVERAL, given("choices", [["Animals"]]), None, "'Animals'"),
    "stars": (RATING.format("", ""), given("rating", 4), ["4"], ""),
    "stars as a float": (RATING.format("", ""), given("rating", 4.0), ["4"], ""),
    "no star": (RATING.format("", ""), given("rating", 0), None, ""),
    "no rating": (RATING.format("", ""), given("rating", None), None, ""),
    "half a star": (RATING.format("", ""), given("rating", 2.5), None, "'2.5'"),
    "too many stars": (RATING.format("", ""), given("rating", 6), None, "'6'"),
    "stars in words": (RATING.format("", ""), given("rating", "4"), None, "its rating is a string"),
    "a true rating": (RATING.format("", ""), given("rating", True), None, "its rating is true"),
    "two ratings": (
        RATING.format("", ""),
        given("rating", 4) + given("rating", 5),
        None,
        "it has 2 ratings, and the control takes one",
    ),
    "a number": (NUMBER.format('min="0" max="1" step="0.1"', ""), given("number", 0.3), ["0.3"], ""),
    "zero": (NUMBER.format('min="0" max="1"', ""), given("number", 0), ["0"], ""),
    "no number": (NUMBER.format('min="0" max="1"', ""), given("number", None), None, ""),
    "a number between": (NUMBER.format('min="0" max="1"', ""), given("number", 0.5), None, "'0.5'"),
    "an endless number": (NUMBER.format('min="0" max="1"', ""), given("number", 1e400), None, "'Infinity'"),
    "a side": (PAIR, given("pairwise", "right", "selected"), ["right"], ""),
    "neither side": (PAIR, given("pairwise", "none", "selected"), None, ""),
    "another side": (PAIR, given("pairwise", "above", "selected"), None, "'above'"),
    "no side": (PAIR, given("pairwise", None, "selected"), None, "its side is null"),
    "a list for a number": (NUMBER.format('min="0" max="1"', ""), given("number", [1]), None, "its number is a list"),
}


@pytest.mark.parametrize(("config", "result", "classes", "problem"), GIVEN.values(), ids=GIVEN.keys())
def test_both_read_the_answers_of_each_kind(
    config: str, result: list[dict[str, Any]], classes: list[str] | None, problem: str
) -> None:
    ours, theirs = by_connector(view(TEXT, config))["c"], by_backend(view(TEXT, config))["c"]
    read = ours.read(result)
    assert (None if read.label is None else ours.classes_of(read.label), read.problem) == (classes, problem)
    label = label_of_backend(result, theirs)
    assert ([label] if isinstance(label, str) else label) == classes
    answer = ours.answer(result)
    assert (answer is None) == (classes is None and not read.unknown)


# The config of a control, some of its classes, and how the form sends them.
WRITTEN: dict[str, tuple[str, list[str], Any]] = {
    "a path": (ONE_PATH, ["Animals / cat"], [["Animals", "cat"]]),
    "paths": (PATHS, ["Animals", "Plants / Tree / Oak"], [["Animals"], ["Plants", "Tree", "Oak"]]),
    "a leaf": (NESTED_ONE, ["Animals / Dog"], [["Animals", "Dog"]]),
    "stars": (RATING.format("", ""), ["4"], 4),
    "a number": (NUMBER.format('min="0" max="1" step="0.1"', ""), ["0.3"], 0.3),
    "a whole number": (NUMBER.format('min="0" max="1" step="0.5"', ""), ["1"], 1),
    "choices": (choices('choice="multiple"'), ["A", "B"], ["A", "B"]),
    "a side": (PAIR, ["left"], "left"),
}


@pytest.mark.parametrize(("config", "classes", "answer"), WRITTEN.values(), ids=WRITTEN.keys())
def test_what_is_written_is_read_again(config: str, classes: list[str], answer: Any) -> None:
    control = by_connector(view(TEXT, config))["c"]
    label = control.label_of(classes)
    (region,) = control.result(label)
    assert (region["from_name"], region["to_name"], region["value"]) == ("c", "t", {control.key: answer})
    assert control.read([region]).label == label
    assert type(region["value"][control.key]) is type(answer)


# The object that the control is on, the task's data, and what models read, or why there is nothing.
TURNS = [{"author": "Anna", "text": "Hello"}, {"author": "Ben", "text": "Hi,\nyou"}]
CONTENTS: dict[str, tuple[str, Any, str | None, str]] = {
    "a page": ('<HyperText name="t" value="$h"/>', "<p>Hello <b>you</b></p><p>A &amp; B</p>", "Hello you\n\nA & B", ""),
    "a page with scripts": (
        '<HyperText name="t" value="$h"/>',
        "<style>p {}</style><script>x()</script><!-- y --><p>Hello</p>",
        "Hello",
        "",
    ),
    "a page without markup": ('<HyperText name="t" value="$h"/>', "Hello", "Hello", ""),
    "a page without words": ('<HyperText name="t" value="$h"/>', "<img src='a.png'>", None, "'h' has no words"),
    "an encoded page": ('<HyperText name="t" value="$h" encoding="base64"/>', "PGI+SGk8L2I+", "Hi", ""),
    "turns": ('<Paragraphs name="t" value="$h"/>', TURNS, "Anna: Hello\nBen: Hi,\nyou", ""),
    "turns by other keys": (
        '<Paragraphs name="t" value="$h" nameKey="who" textKey="says"/>',
        [{"who": "Anna", "says": "Hello"}, {"who": "Ben"}, {"says": "Nobody"}],
        "Anna: Hello\nNobody",
        "",
    ),
    "no turns": ('<Paragraphs name="t" value="$h"/>', [], None, "'h' has no text as 'text' in it"),
    "turns that are texts": ('<Paragraphs name="t" value="$h"/>', ["Hello"], None, "'h' is no list of objects"),
    "a text for turns": ('<Paragraphs name="t" value="$h"/>', "Hello", None, "'h' is no list of objects"),
    "messages": ('<Chat name="t" value="$h"/>', [{"role": "user", "content": "Hi"}], "user: Hi", ""),
    "a list": (
        '<List name="t" value="$h"/>',
        [{"id": 1, "title": "A", "body": "one"}, {"id": 2, "title": "B"}, {"id": 3}],
        "A\none\n\nB",
        "",
    ),
    "a list of nothing": ('<List name="t" value="$h"/>', [{"id": 1}], None, "'h' has no 'title' and no 'body' in it"),
    "a table": (
        '<Table name="t" value="$h"/>',
        {"price": 5.0, "Name": "A", "tags": ["x", "y"], "left": None},
        'left: \nName: A\nprice: 5\ntags: ["x","y"]',
        "",
    ),
    "a table in JSON": ('<Table name="t" value="$h"/>', '{"a": 1}', "a: 1", ""),
    "a table in no JSON": ('<Table name="t" value="$h"/>', "a,b", None, "'h' is no JSON"),
    "a table that is a list": ('<Table name="t" value="$h"/>', [1], None, "'h' is no object"),
    "an empty table": ('<Table name="t" value="$h"/>', {}, None, "'h' is empty"),
    "a list that is null": ('<List name="t" value="$h"/>', None, None, "'h' is null"),
}


@pytest.mark.parametrize(("shown", "data", "text", "problem"), CONTENTS.values(), ids=CONTENTS.keys())
def test_both_read_the_same_of_each_kind_of_content(shown: str, data: Any, text: str | None, problem: str) -> None:
    config = view(shown, choices())
    ours, theirs = by_connector(config)["c"], by_backend(config)["c"]
    assert tuple(ours.shown({"h": data})) == (text, problem)
    assert text_of({"data": {"h": data}}, theirs) == (text or "")


@pytest.mark.parametrize(
    ("data", "text", "problem"),
    [
        ({"text": "Look.", "title": "A"}, "title: A\n\ntext: Look.", ""),
        ({"text": "Look."}, "text: Look.", "it has no 'title'"),
        ({"title": 5, "text": " "}, "title: 5", "'text' is blank"),
        ({"other": "B"}, None, "it has no 'title' and it has no 'text'"),
    ],
)
def test_both_read_several_fields(data: Any, text: str | None, problem: str) -> None:
    ours, theirs = (control.with_fields(["title", "text"]) for control in controls())
    assert tuple(ours.shown(data)) == (text, problem)
    assert text_of({"data": data}, theirs) == (text or "")
    assert ours.data_keys == ("title", "text")
    assert from_json(json.loads(json.dumps(ours.to_json()))) == ours


def test_an_object_is_read_in_its_own_way_among_several_fields() -> None:
    config = view('<HyperText name="t" value="$page"/>', choices())
    control = by_connector(config)["c"].with_fields(["title", "page"])
    shown = control.shown({"title": "<i>", "page": "<p>Look.</p>"})
    assert shown.text == "title: <i>\n\npage: Look."


def test_fields_are_the_context_of_both_sides_of_a_pair() -> None:
    control = by_connector(view(TEXT, PAIR))["c"].with_fields(["question", "text"])
    shown = control.shown({"question": "Why?", "text": "A", "other": "B"})
    assert tuple(shown) == (f"A\n\nquestion: Why?{PAIR_SEPARATOR}B\n\nquestion: Why?", "")
    assert tuple(control.shown({"text": "A", "other": "B"})) == (f"A{PAIR_SEPARATOR}B", "it has no 'question'")
    assert control.data_keys == ("question", "text", "other")


@pytest.mark.parametrize(
    ("data", "text", "problem"),
    [
        ({"text": "A", "other": "B"}, f"A{PAIR_SEPARATOR}B", ""),
        ({"text": f"A{PAIR_SEPARATOR}A", "other": "B"}, f"A A{PAIR_SEPARATOR}B", ""),
        ({"text": "A"}, None, "it has no 'other'"),
        ({"other": "B"}, None, "it has no 'text'"),
        ({"text": "A", "other": " "}, None, "'other' is blank"),
    ],
)
def test_both_read_the_two_sides_of_a_pair(data: Any, text: str | None, problem: str) -> None:
    config = view(TEXT, PAIR)
    ours, theirs = by_connector(config)["c"], by_backend(config)["c"]
    assert tuple(ours.shown(data)) == (text, problem)
    assert text_of({"data": data}, theirs) == (text or "")
    assert ours.data_keys == ("text", "other")


@pytest.mark.parametrize(
    ("shown", "reason"),
    [
        ('<HyperText name="t" value="$h" valueType="Url"/>', 'its HyperText has valueType="Url"'),
        ('<Chat name="t" value="$h" valueType="url"/>', 'its Chat has valueType="url"'),
        ('<Table name="t" value="$h" valueType="url"/>', 'its Table has valueType="url"'),
        ('<Table name="t" value="$h" valueType="jsonurl"/>', 'its Table has valueType="jsonurl"'),
        ('<Table name="t" value="$h" valueType="csv|headless"/>', 'its Table has valueType="csv|headless"'),
        ('<Table name="t" value="$h" valueType="url|csv"/>', 'its Table has valueType="url|csv"'),
        ('<List name="t" value="fixed"/>', "its List shows no task data"),
        ('<Video name="t" value="$h"/>', "on Video"),
    ],
)
def test_content_that_cannot_be_read_is_refused(shown: str, reason: str) -> None:
    config = view(shown, choices())
    assert not by_backend(config)
    with pytest.raises(UsageError) as error:
        find_control(config)
    assert f"({reason}" in str(error.value)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
REGION = st.fixed_dictionaries(
    {},
    optional={
        "from_name": st.just("c") | JSON,
        "type": st.sampled_from(["choices", "taxonomy", "rating", "number"]) | JSON,
        "value": st.dictionaries(
            st.sampled_from(["choices", "taxonomy", "rating", "number"]),
            st.lists(st.sampled_from("aAB"), max_size=2) | JSON,
        )
        | JSON,
    },
)
SWITCHES = ["perRegion", "perregion", "allowNested", "required", "leafsOnly", "choice", "visibleWhen", "x"]
WORDS = ["value", "alias", "encoding", "valueType", "textKey", "maxUsages", "maxRating", "min", "max", "step"]
ATTRIBUTE = st.sampled_from(SWITCHES + WORDS)
VALUE = st.sampled_from(
    [
        "true",
        "True",
        "false",
        "",
        "$text",
        "$a b",
        "multiple",
        "single",
        "base64",
        "A",
        "B",
        "&lt;",
        "1",
        "4",
        "-0.5",
        "json",
    ]
)


@st.composite
def configs(draw: st.DrawFn) -> str:
    """Labelling configs of odd tags and attributes."""

    def attributes() -> str:
        return "".join(f' {name}="{value}"' for name, value in draw(st.dictionaries(ATTRIBUTE, VALUE)).items())

    def tag(*names: str) -> str:
        return draw(st.sampled_from([*names, *map(str.lower, names)]))

    inner = "".join(
        f"<{(name := tag('Choice', 'View', 'Label'))}{attributes()}>{draw(st.sampled_from(['', 'T']))}</{name}>"
        for _ in range(draw(st.integers(0, 4)))
    )
    control = tag("Choices", "Labels", "Taxonomy", "Rating", "Number")
    text = tag("Text", "Image", "Audio", "HyperText", "Paragraphs", "Chat", "List", "Table")
    around = tag("View", "Repeater")
    found = f'<{control} name="c" toName="t"{attributes()}>{inner}</{control}>'
    return f'<{around}><{text} name="t"{attributes()}/>{found}</{around}>'


@settings(deadline=None)
@generated(configs() | st.text(), JSON | st.fixed_dictionaries({"text": JSON}), st.lists(REGION) | JSON)
def test_odd_input_is_read_alike_and_without_an_exception(config: str, data: Any, result: Any) -> None:
    ours, theirs = by_connector(config), by_backend(config)
    assert ours.keys() == {name for name, control in theirs.items() if len(control.classes) > 1}
    pairs = [(ours[name], theirs[name]) for name in ours] + [controls(), controls('choice="multiple"')]
    for one, other in pairs:
        assert (read_text({"data": data}, one) or "") == text_of({"data": data}, other)
        read = one.read(result)
        read.problem.encode()
        assert read.label is None or set(one.classes_of(read.label)) <= set(one.classes)
        label_of_backend(result, other)


# A control "c" that depends on "p", or what is around it: which answers to "p" show it.
TREE = '<Choice value="A"><Choice value="C"/><Choice value="D" alias="d"/></Choice><Choice value="B" alias="b"/>'
TOPICS = '<Taxonomy name="p" toName="t">' + TREE + "</Taxonomy>"
ON_P = 'whenTagName="p"'
CHOSEN = f'visibleWhen="choice-selected" {ON_P}'
SHOWN: dict[str, tuple[str, str, list[list[str]], list[list[str]]]] = {
    "no condition": (choices(name="p"), "", [[], ["A"]], []),
    "any choice": (choices(name="p"), CHOSEN, [["A"], ["B"]], [[]]),
    "an empty value": (choices(name="p"), CHOSEN + ' whenChoiceValue=""', [["A"]], [[]]),
    "one value": (choices(name="p"), CHOSEN + ' whenChoiceValue="A"', [["A"], ["B", "A"]], [[], ["B"]]),
    "small letters": (choices(name="p"), CHOSEN.lower() + ' whenchoicevalue="A"', [["A"]], [[], ["B"]]),
    "several values": (choices(name="p"), CHOSEN + ' whenChoiceValue="A,B"', [["A"], ["B"]], [[]]),
    "a space": (choices(name="p"), CHOSEN + ' whenChoiceValue="x, A"', [], [["A"]]),
    "a value that is gone": (choices(name="p"), CHOSEN + ' whenChoiceValue="Z"', [], [[], ["A"]]),
    "unselected": (choices(name="p"), f'visibleWhen="choice-unselected" {ON_P}', [[]], [["A"]]),
    "a value unselected": (
        choices(name="p"),
        f'visibleWhen="choice-unselected" {ON_P} whenChoiceValue="A"',
        [[], ["B"]],
        [["A"]],
    ),
    "an alias": (choices(name="p", inner=TREE), CHOSEN + ' whenChoiceValue="b"', [["b"]], [["A"]]),
    "a value that has an alias": (choices(name="p", inner=TREE), CHOSEN + ' whenChoiceValue="B"', [["b"]], [["A"]]),
    "a leaf": (choices('allowNested="true"', TREE, "p"), CHOSEN + ' whenChoiceValue="C"', [["A / C"]], [["b"]]),
    "a node of a tree": (TOPICS, CHOSEN + ' whenChoiceValue="D"', [["A / d"], ["b", "A / d"]], [["A"], ["A / C"]]),
    "regions": (choices(name="p"), f'visibleWhen="region-selected" {ON_P}', [[], ["A"]], []),
    "no such condition": (choices(name="p"), 'visibleWhen="never" whenTagName="p"', [[]], []),
    "no control": (choices(name="p"), 'visibleWhen="choice-selected" whenTagName="q"', [], [[], ["A"]]),
    "any control": (choices(name="p"), 'visibleWhen="choice-selected"', [["A"]], [[]]),
    "a value alone": (choices(name="p"), 'whenChoiceValue="A"', [["A"]], [["B"], []]),
    "a control without choices": (RATING.format("", "").replace('name="c"', 'name="p"'), CHOSEN, [], [["4"], []]),
}


@pytest.mark.parametrize("around", [False, True], ids=["itself", "around"])
@pytest.mark.parametrize(("parent", "condition", "shown", "hidden"), SHOWN.values(), ids=SHOWN.keys())
def test_a_control_is_shown_as_in_the_form(
    parent: str, condition: str, shown: list[list[str]], hidden: list[list[str]], around: bool
) -> None:
    child = f"<View {condition}><View>{choices()}</View></View>" if around else choices(condition)
    found = conditions(view(TEXT, parent, child))
    assert list(found) == ["p", "c"]
    assert found["p"] == ()
    for answers, expected in ((shown, True), (hidden, False)):
        assert [is_shown(found["c"], {"p": answer}) for answer in answers] == [expected] * len(answers)
    assert is_shown(found["c"], {}) == is_shown(found["c"], {"p": []})


def test_the_form_hides_no_rating() -> None:
    assert conditions(view(TEXT, RATING.format("", 'visibleWhen="choice-selected"'))) == {"c": ()}


def test_all_conditions_around_a_control_count() -> None:
    around = '<View visibleWhen="choice-selected" whenTagName="{}">'
    nested = around.format("p") + around.format("q") + choices() + "</View></View>"
    found = conditions(view(TEXT, choices(name="p"), choices(name="q"), nested))["c"]
    assert [is_shown(found, labels) for labels in ({"p": ["A"]}, {"q": ["A"]}, {"p": ["A"], "q": ["B"]})] == [
        False,
        False,
        True,
    ]


def test_an_answer_that_is_hidden_shows_no_other_control() -> None:
    condition = 'visibleWhen="choice-{}" whenTagName="{}"'
    parts = [
        choices(condition.format("selected", "b"), name="c"),
        choices(condition.format("selected", "a"), name="b"),
        choices(name="a"),
        choices(condition.format("unselected", "b"), name="d"),
    ]
    found = conditions(view(TEXT, *parts))
    labels = {name: ["A"] for name in "abcd"}
    assert list(shown_labels(found, labels)) == ["a", "b", "c"]
    assert list(shown_labels(found, labels | {"a": []})) == ["a", "d"]


def test_conditions_are_read_however_deep_the_config_is() -> None:
    deep = '<View visibleWhen="choice-selected" whenTagName="p">' * 3000 + choices() + "</View>" * 3000
    assert len(conditions(view(TEXT, choices(name="p"), deep))["c"]) == 3000
    with pytest.raises(BrokenConfig):
        conditions("<View>")
