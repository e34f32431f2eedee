"""The page of a report: texts come back unchanged, nothing in it runs or loads, and empty parts say why."""

from __future__ import annotations

import functools
import importlib.util
import random
import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from itertools import cycle
from typing import Any

import matplotlib
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import report_data_factory, report_factory

from connector.active_learning.window import Slot
from connector.errors import UsageError
from connector.queue.settings import REQUIRED_SETTINGS
from connector.reporting import html, plots
from connector.reporting.content import Content, CurvePoint, Pair, ReplayedStrategy, Text
from connector.reporting.html import page
from connector.reporting.report import build_content
from connector.reporting.report_data import NAME_LENGTH
from connector.reporting.section_learning_curve import Replay
from connector.simulation.results import COLOURS

VOID = {"meta", "link", "br", "img", "input", "hr"}


class Read(HTMLParser):
    """A page as an HTML parser of Python's reads it: elements, and the texts of those with a class."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self._open: list[tuple[str, str, list[str]]] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        about = {name: value or "" for name, value in attributes}
        self.elements.append((tag, about))
        if tag not in VOID:
            self._open.append((tag, about.get("class", ""), []))

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attributes}))

    def handle_endtag(self, tag: str) -> None:
        opened, kind, parts = self._open.pop()
        assert opened == tag, f"</{tag}> closes <{opened}>"
        self.texts.append((kind or tag, "".join(parts)))

    def handle_data(self, data: str) -> None:
        for _, _, parts in self._open:
            parts.append(data)

    def of(self, *kinds: str) -> list[str]:
        return [text for kind, text in self.texts if kind in kinds]

    @property
    def words(self) -> str:
        return " ".join(" ".join(self.of("body")).split())


def shown_strings(content: Content) -> list[str]:
    """All strings that a page shows as somebody's: all but our version and the sentence on alpha."""
    ours = {content.head.version, content.people.alpha_words}
    return [text for text in report_factory.strings_of(content) if text not in ours]


def without_plots(content: Content) -> Content:
    """What takes no time to draw."""
    return replace(
        content,
        curve=replace(content.curve, points=[], replayed=[]),
        consensus=replace(content.consensus, bins=[]),
        pace=replace(content.pace, days=[]),
    )


@functools.cache
def page_of(make: Callable[[], Content]) -> str:
    """The page of a content, with its plots, drawn once."""
    return page(make())


@pytest.fixture
def rich() -> str:
    return page_of(report_factory.content)


# -- texts ------------------------------------------------------------------------------------------------------------


def test_every_string_is_on_the_page_as_it_is() -> None:
    content = report_factory.content()
    assert set(shown_strings(content)) <= set(Read(page_of(report_factory.content)).of("user", "text", "text tall"))


def test_hostile_strings_are_on_the_page_as_they_are() -> None:
    written = page_of(report_factory.hostile)
    assert "\r" not in written  # HTML would make a line feed of it
    assert set(report_factory.HOSTILE) <= set(Read(written).of("user", "text", "text tall"))


writable = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)
marked_up = st.lists(st.sampled_from(["<", ">", "&", '"', "'", "\r", "\n", "\u202e", "amp;", "#13;", "b", "{{", "%}"]))


@settings(deadline=None)
@given(st.lists(writable | marked_up.map("".join).filter(bool), min_size=1, max_size=40))
def test_whatever_the_strings_are_they_come_back(strings: list[str]) -> None:
    given_ones = cycle(strings)
    content = without_plots(report_factory.with_texts(report_factory.content(), lambda _: next(given_ones)))
    found = set(Read(page(content)).of("user", "text", "text tall"))
    assert set(shown_strings(content)) <= found
    assert found <= set(report_factory.strings_of(content))


def test_what_html_cannot_hold_is_replaced() -> None:
    written = page(replace(report_factory.empty(), head=replace(report_factory.content().head, title="a\0b\ud800c")))
    assert "a\ufffdb\ufffdc" in Read(written).of("user")
    assert written.encode()


def test_a_long_text_is_whole_and_scrolls_in_a_box_that_the_keyboard_reaches() -> None:
    text = '<b>"long"</b>\r\n' * 7_000
    content = report_factory.content()
    places = [replace(content.window.places[0], text=Text(text))]
    read = Read(page(without_plots(replace(content, window=replace(content.window, places=places)))))
    assert text in read.of("text tall")
    boxes = [about for _, about in read.elements if about.get("class") == "text tall"]
    assert all((box["tabindex"], box["role"]) == ("0", "region") and box["aria-label"] for box in boxes)


@pytest.mark.parametrize("multiple", [False, pytest.param(True, marks=pytest.mark.nightly)])
def test_a_page_of_everything_at_its_bounds_has_less_than_5_mb(multiple: bool) -> None:
    """A character takes at most five bytes, and there are as many people, rounds, places and texts as there can be."""
    worst = "\"'&\r<" * 20_000
    content = report_content_of(worst, multiple=multiple)
    assert len(content.window.places) == 50
    assert len(content.consensus.suspects) == 25
    assert (len(content.people.annotators), len(content.people.pairs)) == (100, 190)
    assert (len(content.curve.points), len(content.curve.replayed[0].labels)) == (300, 300)
    assert len(content.classes) == 50
    written = page(content)
    assert 1_000_000 < len(written.encode()) < 5_000_000
    assert re.search(r"and \d\d,\d{3} more characters", Read(written).words)


def report_content_of(worst: str, *, multiple: bool) -> Content:
    """A project whose texts, classes, names and errors all begin differently and end with `worst`."""
    classes = [f"{number} {worst}" for number in range(55)]
    made = report_data_factory.make(120, classes, multiple=multiple)
    made.texts = {task: f"{task} {worst}" for task in made.texts}
    for annotator in range(1, 131):
        for task in {1, 2, 3, 3 + annotator % 60}:
            made.say(task, annotator, classes[(annotator + task) % 55])
    probs = np.full((120, 55), 0.1 if multiple else 0.1 / 54)
    probs[:, 0] = 0.9  # which contradicts nearly all labels
    rounds = [
        {"round": number, "at": report_data_factory.START.isoformat(), "labels": number, "model_agreement": 0.5}
        for number in range(1, 1001)
    ]
    curve = [number / 7 for number in range(1, 1001)]
    data = made.facts(
        dict(enumerate(probs, start=1)),
        emails={annotator: f"{annotator} {worst}" for annotator in range(1, 131)},
        rounds=rounds,
        last_sync={"at": report_data_factory.START.isoformat(), "result": "failed", "error": worst},
    )
    data.pulled.project.update(REQUIRED_SETTINGS, title=worst, model_version="v1")
    return build_content(
        data,
        [Slot(task, relabel=task <= 40) for task in range(1, 121)],
        {task: len(data.pulled.tasks[task].annotations) for task in range(1, 121)},
        label_studio=f"https://{worst}",
        now=report_data_factory.START,
        replay=Replay(
            worst[:NAME_LENGTH],
            [ReplayedStrategy(worst[:NAME_LENGTH], 5, curve, curve, curve) for _ in range(2)],
            " of 9 texts",
        ),
    )


# -- what the page does not do ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", report_factory.STATES)
def test_the_page_runs_nothing_and_asks_for_nothing(make: Any) -> None:
    elements = Read(page_of(make)).elements
    assert {tag for tag, _ in elements}.isdisjoint(
        {
            "script",
            "img",
            "iframe",
            "object",
            "embed",
            "form",
            "input",
            "base",
            "audio",
            "video",
            "image",
            "foreignobject",
        }
    )
    assert [about for tag, about in elements if tag == "link"] == [{"rel": "icon", "href": "data:,"}]
    for _, about in elements:
        assert not [name for name in about if name.startswith("on") or name in ("style", "src", "srcset", "action")]
        assert re.match(r"https?://|#|data:,$", about.get("href", "#"))


def test_the_policy_allows_the_one_style_and_nothing_else(rich: str) -> None:
    (policy,) = (about["content"] for _, about in Read(rich).elements if "http-equiv" in about)
    assert re.fullmatch(
        r"default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; img-src data:;"
        r" base-uri 'none'; form-action 'none'",
        policy,
    )


@pytest.mark.parametrize(
    ("address", "link"),
    [
        ("https://labels.example.com/", "https://labels.example.com/projects/7/data"),
        ("http://localhost:8080/ls", "http://localhost:8080/ls/projects/7/data"),
        ("javascript:alert(1)//https://", None),
        ("data:text/html,x", None),
        ("https://a b", None),
        ("https://example.com/\u202e", None),
        ("", None),
    ],
)
def test_only_a_web_address_becomes_a_link(address: str, link: str | None) -> None:
    head = replace(report_factory.content().head, label_studio=address)
    assert html.project_address(head) == link
    links = {
        about["href"] for tag, about in Read(page(replace(report_factory.empty(), head=head))).elements if tag == "a"
    }
    assert links == ({link} if link else set())


# -- what the page says -----------------------------------------------------------------------------------------------


def test_the_page_has_its_parts_in_order(rich: str) -> None:
    assert Read(rich).of("h1", "h2") == [
        "Politeness of requests",
        "The project in figures",
        "Learning curve",
        "What is asked next",
        "Most likely mislabelled",
        "Discuss",
        "Quality of the consensus",
        "Annotators",
        "How far annotators agree",
        "Class balance",
        "Labels per day",
        "Time per label",
    ]


def test_numbers_are_for_people(rich: str) -> None:
    words = Read(rich).words
    for said in (
        "4,353",
        "26 % of the tasks",
        "82 %",
        "78 %",
        "of the model on 57 tasks with a ground truth, in round 25",
        "3 March 2026, 14:05 UTC+01:00",
        "104 tasks wait for an answer: 55 for a first label, 31 for another opinion. 3 were deleted.",
        "These are the first 50.",
        "40 more tasks",
        "Third opinion",
        "of the model with the consensus, in round 25",
        "The model is version 20260303-1358.",
        "The 25 rounds as a table",
        "These are 25 of 112.",
        "and 3 more",
        "91 % (88 to 94 %)",
        "88 % (84 to 92 %)",
        "quality 4 %",
        "Polite and Cannot say: on 11 of 92 tasks that several of them labelled",
        "These are 12 of 16.",
        "Polite 52 %, Impolite 47 %, Cannot say 1 %",
        "10 % to 20 %",
        "says Impolite instead of Polite",
        "alpha: 0.71.",
        "Half of the labels took 3.4 s or less. The middle half of them took 2.1 s to 8.7 s.",
    ):
        assert said in words


def test_a_number_and_its_percent_sign_stay_on_one_line(rich: str) -> None:
    assert re.findall(r"\d+ %", rich) == []
    assert len(re.findall(r"\d\u00a0%", rich)) > 100


def test_agreement_is_one_number_of_one_moment(rich: str) -> None:
    """The tile, the end of the curve and its table have that of the last round."""
    said = re.findall(r"<dt>Agreement</dt><dd>([^<]+)<small>of the model with the consensus, in round 25<", rich)
    (curve,) = re.findall(
        r"Agreement with the consensus went from \d+\u00a0% at 165 labels to (\d+\u00a0%) at 1,660", rich
    )
    (row,) = re.findall(r"data-name=\"Round\">25</th>.*?\"Agreement\"><div>([^<]+)</div>", rich, re.DOTALL)
    assert said == [curve] == [row]


def test_long_lists_are_folded_after_ten(rich: str) -> None:
    """Ten places of the window, suspects and tasks to discuss come first. The others are on the page, folded."""
    opened = re.sub(r"<details.*?</details>", "", rich, flags=re.DOTALL)
    for written, places, cards in ((opened, 10, 10 + 10), (rich, 50, 25 + 12)):
        assert len(re.findall('<div class="ask">', written)) == places
        assert len(re.findall(r"<li class=\"card\">", written)) == cards
    large = re.sub(r"<details.*?</details>", "", page_of(report_factory.large), flags=re.DOTALL)
    assert len(re.findall('data-name="Median time"', large)) == 10
    assert len(re.findall('data-name="Predicted"', large)) == 10
    assert "90 more annotators" in page_of(report_factory.large)
    assert "33 more classes" in page_of(report_factory.large)


def test_what_a_window_asks_for() -> None:
    window = report_factory.content().window
    for left, opinions, said in ((3, 0, "3 for a first label"), (1, 1, "1 for another opinion")):
        assert html.asked(replace(window, left=left, second_opinions=opinions)) == said
    place = window.places[0]
    for relabel, labels, said in ((False, 0, "first label"), (True, 0, "second opinion"), (True, 2, "third opinion")):
        assert html.asked_for(replace(place, second_opinion=relabel, label_count=labels)) == said


def test_empty_parts_say_why_and_what_to_do() -> None:
    words = Read(page_of(report_factory.empty)).words
    for said in (
        "Project 7",
        "never synced",
        "There is no round yet. Each connector sync that publishes a window adds one.",
        "Nothing is chosen yet. connector sync chooses what annotators are asked next.",
        "The quality of consensus labels is unknown without a model.",
        "Which labels are likely to be wrong is unknown without a model.",
        "There is no model yet.",
        "Nobody has labelled a task yet.",
        "No two people have labelled the same task yet.",
        "No label has a time.",
    ):
        assert said in words
    assert "None" not in words


def test_a_window_whose_places_are_all_answered_says_so() -> None:
    content = report_factory.empty()
    answered = replace(content, window=replace(content.window, size=25))
    assert "All 25 tasks of the window have their answers." in Read(page(answered)).words


@pytest.mark.parametrize(
    ("gone", "words"),
    [
        (2, "All 2 tasks of the window were deleted. The next connector sync"),
        (1, "s 2 tasks, 1 was deleted, and the others have their answers. The next connector sync"),
    ],
)
def test_a_window_whose_tasks_were_deleted_says_so(gone: int, words: str) -> None:
    content = report_factory.empty()
    assert words in Read(page(replace(content, window=replace(content.window, size=2, gone=gone)))).words


def test_a_page_without_asking_the_model_says_so_and_whose_figures_it_has() -> None:
    words = Read(page_of(report_factory.without_model)).words
    for said in (
        "The ML backend was not used (--no-model).",
        "82 %of the model with the consensus, in round 25",
        "of the model on 57 tasks with a ground truth, in round 25",
        "The quality of consensus labels is unknown: the ML backend was not used (--no-model).",
        "Which labels are likely to be wrong is unknown: the ML backend was not used (--no-model).",
    ):
        assert said in words
    assert "There is no model" not in words
    assert "without a model" not in words


def test_a_model_without_labels_is_not_no_model() -> None:
    read = Read(page_of(report_factory.taken_back))
    assert "The model is version 20260303-1358." in read.words
    assert read.of("p").count("No task has a label yet.") == 3
    assert "There is no model" not in read.words
    assert "without a model" not in read.words


def test_labels_of_tasks_without_a_text_have_no_quality() -> None:
    content = report_factory.taken_back()
    words = Read(page(replace(content, head=replace(content.head, labelled=1)))).words
    assert "The quality of consensus labels is unknown: no labelled task has a text." in words


def test_one_annotator_of_a_clean_project() -> None:
    read = Read(page_of(report_factory.alone))
    assert "No task is doubtful: " in read.words
    assert "alpha: unknown. No two people" in read.words
    assert [text.strip() for text in read.of("differs")][1:] == ["unknown"], "where they differ"


def test_ground_truth_alone_is_no_label_and_is_measured_by_an_option() -> None:
    content = report_factory.empty()
    words = Read(
        page(
            replace(
                content,
                head=replace(content.head, ground_truth=3),
            )
        )
    ).words
    assert "No label but ground truth yet. Press" in words
    assert "No label but ground truth yet, so there are no days to show." in words
    assert "connector sync --ground-truth measures it" in words
    held_out = page(replace(content, head=replace(content.head, ground_truth=3, holds_out=True)))
    assert "no model was trained without the test set yet" in Read(held_out).words
    assert "nothing is marked as ground truth" in Read(page(content)).words


def test_what_is_left_out_is_said() -> None:
    content = report_factory.large()
    content = replace(content, curve=replace(content.curve, rounds=1000), pace=replace(content.pace, earlier=1_234))
    words = Read(page(content)).words
    assert "25 of 1,000 rounds as a table" in words
    assert "And 1,234 labels before." in words
    assert "121 more annotators are left out here, but counted in alpha." in words


def test_a_class_that_is_left_out_is_said_to_be() -> None:
    content = report_factory.content()
    (first, *others) = content.people.annotators
    people = replace(content.people, annotators=[replace(first, confused="Polite"), *others])
    assert "often leaves out Polite" in Read(page(without_plots(replace(content, people=people)))).words


def test_an_alpha_below_chance_has_its_sign_and_none_near_zero() -> None:
    content = without_plots(report_factory.content())
    for alpha, said in ((-0.31, "alpha: -0.31."), (-0.001, "alpha: 0.00.")):
        assert said in Read(page(replace(content, people=replace(content.people, alpha=alpha)))).words


def test_rounds_that_know_nothing_of_the_model_say_so() -> None:
    content = report_factory.empty()
    points = [CurvePoint(0, "2026-02-03T09:30:00+01:00", 10, None, None)]
    words = Read(page(replace(content, curve=replace(content.curve, points=points)))).words
    assert "No round has measured the model yet" in words
    assert "The 1 round as a table" in words


def test_few_pairs_are_a_list_many_a_matrix() -> None:
    pairs = report_factory.content().people.pairs
    assert html.matrix(pairs[:6]) is None
    found = html.matrix(pairs)
    assert found is not None
    assert found.names == report_factory.NAMES[:6]
    assert all(found.rows[place][place] is None for place in range(len(found.names)))
    for pair in pairs:
        first, second = (found.names.index(name) for name in (pair.first, pair.second))
        assert found.rows[first][second] is found.rows[second][first] is pair


def test_people_of_one_name_are_not_mistaken_for_each_other() -> None:
    assert html.matrix([Pair("Ann", f"B{n}", 3, 0.5) for n in range(7)] + [Pair("B0", "Ann", 2, 1.0)]) is None


# -- plots ------------------------------------------------------------------------------------------------------------


def test_the_same_content_gives_the_same_page_whatever_matplotlibrc_says(rich: str) -> None:
    with matplotlib.rc_context({"font.size": 30, "axes.grid": False, "svg.hashsalt": "another", "lines.linewidth": 9}):
        before = dict(matplotlib.rcParams)
        assert page(report_factory.content()) == rich
        assert dict(matplotlib.rcParams) == before


def test_every_plot_has_words_and_names_of_its_own(rich: str) -> None:
    elements = Read(rich).elements
    plots = [about for tag, about in elements if tag == "svg" and about.get("class") == "plot"]
    assert len(plots) == 4
    assert all(about["role"] == "img" for about in plots)
    assert plots[0]["aria-label"].startswith(
        "Learning curve. Agreement with the consensus went from 65\u00a0% at 165 labels"
    )
    assert len({about["aria-label"] for about in plots}) == 4
    names = [about["id"] for _, about in elements if "id" in about]
    assert len(names) == len(set(names))


def test_plots_hold_no_text_of_a_user() -> None:
    written = page(report_factory.hostile(["$\\frac{1}{2}$ <b>user</b> $"]))
    drawn = re.findall(r"<svg.*?</svg>", written, re.DOTALL)
    assert len(drawn) > 4
    assert not [one for one in drawn if "user" in one or "frac" in one]


def test_lines_are_told_apart_and_random_order_is_the_ink() -> None:
    assert plots.style_of("random") == plots.LineStyle("currentColor", True)
    assert plots.style_of("activelab") == plots.LineStyle(COLOURS[0], False)


@pytest.mark.parametrize("labels", [[1], [0, 3], [200], [100, 109]])
def test_ticks_are_whole_labels_and_each_another(labels: list[int]) -> None:
    drawn = plots.curve([CurvePoint(1, "", one, 0.7, None) for one in labels], "words")
    ticks = re.findall(r"<text[^>]*>([\d,]+)</text>", drawn)
    assert len(ticks) > 2
    assert len(ticks) == len(set(ticks))


@pytest.mark.parametrize("seed", range(3))
def test_curves_of_any_length_are_drawn(seed: int) -> None:
    chance = random.Random(seed)
    points = [CurvePoint(n, "", 10 * n, chance.random(), chance.random()) for n in range(chance.choice([1, 2, 300]))]
    drawn = plots.curve(points, "words")
    assert drawn.startswith('<svg class="plot" viewBox="0 0 432 216" role="img" aria-label="words">')
    assert len(drawn) < 30_000


# -- what it needs ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("missing", ["jinja2", "matplotlib", "krippendorff"])
def test_a_missing_package_is_named_with_its_extra(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    html.require()
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *more: None if name == missing else find(name, *more))
    with pytest.raises(UsageError, match=re.escape("pip install 'label-studio-activelab[report]'")):
        html.require()
