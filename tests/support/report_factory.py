"""Contents of reports, made up: a rich one as a healthy project has it, an empty one, and one full of hostile texts."""

from __future__ import annotations

import datetime
import itertools
import math
from collections.abc import Callable
from dataclasses import fields, is_dataclass, replace
from typing import Any

from connector.active_learning.interval import Interval
from connector.active_learning.stopping import forecast, sentence
from connector.reporting.content import (
    Annotator,
    AnnotatorAnswer,
    AnnotatorsSection,
    AnnotatorWarning,
    Bin,
    CheckedAnnotator,
    ClassAccuracy,
    ClassCount,
    ConfusedLabels,
    ConsensusSection,
    Content,
    CurvePoint,
    CurveSection,
    Day,
    Disputed,
    Head,
    PaceSection,
    Pair,
    ReplayedStrategy,
    SoftLabel,
    Suspect,
    Text,
    WindowPlace,
    WindowSection,
)
from connector.reporting.section_learning_curve import curve_section

CLASSES = ["Polite", "Impolite", "Cannot say"]
NAMES = [
    "amira@example.com",
    "björn@example.com",
    "chidi@example.com",
    "dolores@example.com",
    "Éloïse Dufour",
    "فاطمة",
    "김민준",
]
TEXTS = [
    "Could you please have a look at section 3 when you find the time? I may have got the dates wrong.",
    "This has been explained to you twice. Read the manual before you ask again.",
    "Thanks a lot! 🎉 That is exactly what I was looking for.",
    "What on earth is this supposed to mean?\n\nThe first paragraph says one thing,\nthe second says the opposite.",
    "هل يمكنك النظر في هذا من فضلك؟",
    "I do not think that anybody here is obliged to answer that, but since you ask: no.",
    "def f(x):\n    return x  # <b>not</b> bold & not a tag",
    "As a general rule, one should not revert a whole edit because of one typo in it. " * 12,
]
WHY = [
    "The model is unsure: “Polite” 52\u00a0%, “Impolite” 46\u00a0%.",
    "2 labels disagree: “Polite”, “Impolite”. The consensus “Polite” is right with a probability of 49\u00a0%.",
    "The model predicts “Impolite” with 71\u00a0%.",
]
HOSTILE = [
    "<script>window.ran = 1</script>",
    '<img src="x" onerror="window.ran = 1">',
    "javascript:window.ran=1",
    "</style></title></bdi></textarea><svg onload=window.ran=1>",
    "\"' onmouseover='window.ran=1' autofocus onfocus='window.ran=1' x=\"",
    "&lt;b&gt; &amp;amp; &#13; &nbsp; {{ 7 * 7 }} {% raw %}",
    "\u202eright to left override\u202c \u2067isolate\u2069 \u2069\u202eleft out",
    "a\rb\r\nc\n\td\x0be\x0cf\x01\x1f\x7f\x80\x9f\ufeff\ufffe\u2028",
    "\nfirst a line feed, last a space ",
    "עברית 👩🏽‍🚀 🏳️‍🌈 a\u0338" + "\u0301" * 40,
    "--></script><!--<script>",
    "]]><![CDATA[",
    "https://example.com/a.js",
]


def content() -> Content:
    """A project of 1,670 labels, three classes and seven annotators, with everything that a report can tell."""
    curve = _curve()
    last = curve.points[-1]
    head = replace(_head(), round=last.round, agreement=last.agreement, ground_truth_accuracy=last.accuracy)
    return Content(head, curve, _window(), _consensus(), _people(), _classes(), 0, _pace())


def large() -> Content:
    """The rich one with as many people as a report may name, each two of twenty as a pair, and long names."""
    long = {
        "Polite": "Account & access",
        "Impolite": "Feature request, or a question about one",
        "Cannot say": "x" * 60,
    }
    rich = with_texts(content(), lambda text: long.get(text, text))
    names = [f"somebody.with.a.name.{number}@example.com" for number in range(100)]
    annotators = [replace(rich.people.annotators[number % 7], name=name) for number, name in enumerate(names)]
    first = names[:20]
    pairs = [
        Pair(one, other, 1_234, 0.5 + number / 40) for number, one in enumerate(first) for other in first[number + 1 :]
    ]
    more = [ClassCount(f"Class number {number}", 90 - number, 60 - number, 170 - number) for number in range(40)]
    checked = [replace(rich.people.checked[number % 7], name=name) for number, name in enumerate(names)]
    warnings = [replace(rich.people.warnings[number % 2], name=name) for number, name in enumerate(names)]
    people = replace(
        rich.people,
        annotators=annotators,
        left_out=41,
        pairs=pairs,
        unpaired=121,
        checked=checked,
        warnings=warnings,
    )
    return replace(rich, people=people, classes=[*rich.classes, *more], classes_left_out=2)


def empty() -> Content:
    """A project that somebody has just adopted."""
    head = replace(
        _head(),
        **{"title": "", "labelled": 0, "labels": 0, "annotators": 0, "skipped": 0, "ground_truth": 0, "tasks": 0},
        **{"without_text": 0, "last_sync": None, "model_version": None, "round": None, "agreement": None},
        **{"ground_truth_tasks": 0, "ground_truth_accuracy": None, "advice": sentence(None)},
        notes=[
            "There is no model yet. Consensus labels are majority votes, and their quality is unknown.",
            "The project has never been synced: connector sync --project 7 trains a model and chooses what annotators "
            "are asked.",
        ],
    )
    people = AnnotatorsSection(
        [], 0, [], 0, None, "No two people have labelled the same task: their agreement is unknown."
    )
    return Content(
        head,
        curve_section([], None, 7, multiple=False),
        WindowSection(0, 0, 0, 0, []),
        ConsensusSection([], [], 0, []),
        people,
        [ClassCount(name, 0, 0, 0) for name in CLASSES],
        0,
        PaceSection([], 0, None),
    )


def without_model() -> Content:
    """The rich one under --no-model: the model's figures are those of the last sync."""
    rich = content()
    note = (
        "The ML backend was not used (--no-model). Consensus labels are majority votes, their quality is unknown, "
        "and the model's figures are those of the last round."
    )
    head = replace(rich.head, asked_model=False, model_version=None, notes=[note, *rich.head.notes])
    places = [
        replace(one, score=None, why="Chosen by the model's prediction at the last sync.")
        for one in rich.window.places
        if not one.second_opinion
    ]
    people = replace(rich.people, annotators=[replace(one, quality=None) for one in rich.people.annotators])
    classes = [replace(one, predicted=0) for one in rich.classes]
    window = replace(rich.window, places=places)
    return replace(
        rich, head=head, window=window, consensus=ConsensusSection([], [], 0, []), people=people, classes=classes
    )


def taken_back() -> Content:
    """A model is there, and nobody's label any more."""
    return replace(empty(), head=replace(empty().head, model_version="20260303-1358", notes=[]))


def alone() -> Content:
    """One annotator, who agrees with the model everywhere."""
    rich = content()
    (first, *_) = rich.people.annotators
    one = replace(first, agreement=None, confused=None, taken_for=None)
    words = "No two people have labelled the same task: their agreement is unknown."
    return replace(
        rich,
        head=replace(rich.head, annotators=1),
        consensus=ConsensusSection(
            [*[Bin(at / 10, at / 10 + 0.1, 0) for at in range(9)], Bin(0.9, 1.0, 1_120)], [], 0, []
        ),
        people=AnnotatorsSection([one], 0, [], 0, None, words),
    )


def hostile(strings: list[str] | None = None) -> Content:
    """The rich one, each string that is not a time replaced by one of the hostile ones, in turn."""
    return with_texts(content(), _in_turn(strings or HOSTILE))


def with_texts(value: Any, change: Callable[[str], str]) -> Any:
    """The value with all its strings changed but times and days."""
    if isinstance(value, str):
        return change(value)
    if isinstance(value, list):
        return [with_texts(one, change) for one in value]
    if is_dataclass(value) and not isinstance(value, type):
        times = {"at", "day", "made_at", "last_sync"}
        changed = {
            one.name: with_texts(getattr(value, one.name), change) for one in fields(value) if one.name not in times
        }
        return replace(value, **changed)
    return value


def strings_of(value: Any) -> list[str]:
    """All strings of a content but times and days."""
    found: list[str] = []
    with_texts(value, lambda text: found.append(text) or text)  # type: ignore[func-returns-value]
    return found


def _in_turn(strings: list[str]) -> Callable[[str], str]:
    given = 0

    def next_one(_: str) -> str:
        nonlocal given
        given += 1
        return strings[given % len(strings)]

    return next_one


def _head() -> Head:
    return Head(
        project=7,
        title="Politeness of requests",
        label_studio="https://labels.example.com",
        made_at="2026-03-03T14:05:00+01:00",
        version="1.0.0",
        classes=CLASSES,
        multiple=False,
        tasks=4_353,
        labelled=1_120,
        labels=1_670,
        annotators=7,
        skipped=42,
        ground_truth=60,
        without_text=3,
        last_sync="2026-03-03T13:58:12.345678+01:00",
        asked_model=True,
        model_version="20260303-1358",
        round=25,
        agreement=0.8213,
        ground_truth_tasks=57,
        ground_truth_accuracy=0.7833,
        holds_out=False,
        model_embedding="fine-tuned embeddings since 2026-03-01",
        accuracy="The labels are right for 91\u00a0% (88 to 94\u00a0%) of the tasks.",
        advice=sentence(forecast(0.8213, 1_120)),
        notes=[
            "The project has changed since the last sync, which chose the window and added the last round.",
            "60 annotations are marked as ground truth and counted as no annotator's work. Import labels with "
            '"ground_truth": false instead.',
        ],
        accepted="Accepted is the model's label for 812 tasks, since connector finish --max-error 0.05. At most "
        "4.3\u00a0% of the labels that it accepted are wrong, with 95\u00a0% confidence. 588 tasks are left "
        "for people.",
    )


def _curve() -> CurveSection:
    points = [
        CurvePoint(
            round=number + 1,
            at=f"2026-02-{number + 3:02d}T09:30:00+01:00",
            labels=100 + 65 * number,
            agreement=None if number == 0 else 0.83 - 0.22 * math.exp(-number / 7) + 0.008 * math.sin(number * 2.3),
            accuracy=None if number < 6 else 0.80 - 0.2 * math.exp(-number / 8) + 0.01 * math.cos(number * 1.7),
        )
        for number in range(25)
    ]
    labels = [100.0 + 60 * number for number in range(26)]
    replayed = [
        ReplayedStrategy(
            name,
            5,
            labels,
            [0.84 - gap * math.exp(-one / scale) for one in labels],
            [0.008 + 0.02 * math.exp(-one / 500) for one in labels],
        )
        for name, gap, scale in (("activelab-weighted", 0.26, 420.0), ("random", 0.25, 900.0))
    ]
    saved = (
        "In the replay activelab-weighted reached an accuracy of 83.4\u00a0% with 1,600 labels. Random order did not "
        "reach it with 1,600 labels. Its best accuracy was 79.8\u00a0%."
    )
    note = (
        "connector simulate made the replay of 896 texts with the classifier logistic. The curves are means of its "
        "runs (5 of activelab-weighted and 5 of random), with one standard deviation around them. Accuracy is that on "
        "texts that no one labels."
    )
    return CurveSection(points, len(points), replayed, saved, note)


def _window() -> WindowSection:
    places = [
        WindowPlace(
            rank=number + 1,
            task=1_203 + 7 * number,
            text=Text(TEXTS[number % len(TEXTS)], 1_240 if number == 7 else 0) if number != 5 else Text(None),
            second_opinion=number % 3 == 1,
            label_count=0 if number % 3 != 1 else 1 + number // 3 % 3,
            score=0.11 + number / 80 if number != 5 else None,
            why="Chosen by the model's prediction at the last sync." if number == 5 else WHY[number % 3],
        )
        for number in range(50)
    ]
    return WindowSection(104, 3, 86, 31, places)


def _consensus() -> ConsensusSection:
    tasks = [4, 9, 14, 22, 31, 48, 77, 140, 298, 477]
    bins = [Bin(number / 10, (number + 1) / 10, count) for number, count in enumerate(tasks)]
    suspects = [
        Suspect(
            task=88 + 13 * number,
            text=Text(text, 3_000 if number == 7 else 0),
            answers=[
                AnnotatorAnswer(name, CLASSES[(number + place) % 2])
                for place, name in enumerate(NAMES[: 1 + number % 4])
            ]
            + [AnnotatorAnswer(NAMES[6], None)],
            answers_left_out=0,
            consensus=CLASSES[number % 2],
            quality=0.04 + number / 80,
            predicted=CLASSES[(number + 1) % 2],
            probability=0.97 - number / 60,
        )
        for number, text in enumerate(itertools.islice(itertools.cycle(TEXTS), 25))
    ]
    crowd = [AnnotatorAnswer(f"annotator.{number}@example.com", CLASSES[number % 2]) for number in range(10)]
    suspects[1] = replace(suspects[1], answers=crowd, answers_left_out=3)
    disputed = [
        Disputed(
            task=90 + 13 * number,
            text=Text(text),
            answers=[AnnotatorAnswer(name, CLASSES[place % 2]) for place, name in enumerate(NAMES[: 3 + number % 3])],
            answers_left_out=0,
            probability=0.98 - number / 50,
            soft=[SoftLabel(name, share) for name, share in zip(CLASSES, (0.52, 0.47, 0.01), strict=True)],
        )
        for number, text in enumerate(itertools.islice(itertools.cycle(TEXTS), 12))
    ]
    disputed[2] = replace(disputed[2], answers=crowd, answers_left_out=2)
    return ConsensusSection(bins, suspects, 87, disputed, 4, [ConfusedLabels("Polite", "Cannot say", 11, 92)])


def _people() -> AnnotatorsSection:
    annotators = [
        Annotator(
            name=name,
            labels=(410, 353, 296, 239, 182, 125, 65)[number],
            skips=number * 2,
            agreement=Interval(0.91 - number / 25, 0.88 - number / 20, 0.94 - number / 30) if number != 6 else None,
            quality=Interval(0.88 - number / 22, 0.84 - number / 18, 0.92 - number / 28),
            confused=CLASSES[number % 2] if number not in (0, 6) else None,
            taken_for=CLASSES[1 - number % 2] if number not in (0, 6) else None,
            seconds=3.4 + number * 2.7 if number != 5 else 141.0,
        )
        for number, name in enumerate(NAMES)
    ]
    pairs = [
        Pair(first, second, 64 - 7 * place, min(1.0, 0.93 - place / 12))
        for number, first in enumerate(NAMES[:6])
        for place, second in enumerate(NAMES[number + 1 : 6])
    ]
    words = (
        "The labels allow tentative conclusions by Krippendorff's bounds of 0.667 and 0.8. 1 would be perfect "
        "agreement, 0 is chance."
    )
    checked = [
        CheckedAnnotator(
            name=name,
            accuracy=Interval(0.9 - number / 25, 0.86 - number / 20, 0.93 - number / 30),
            halves=(Interval(0.9, 0.85, 0.94), Interval(0.7, 0.62, 0.78)) if number != 6 else None,
            on_truth=(20 * (number % 2), 17 * (number % 2)),
            pace=0.4 + number / 3 if number != 5 else None,
            by_class=[
                ClassAccuracy(CLASSES[0], Interval(0.9, 0.8, 0.95)),
                ClassAccuracy(CLASSES[1], Interval(0.6, 0.5, 0.7)),
            ],
        )
        for number, name in enumerate(NAMES)
    ]
    look = "(at most 1 of 5,200 honest annotators ever looks like this)"
    warnings = [
        AnnotatorWarning(NAMES[3], f"answers at random {look}", f"To leave these labels out: --exclude {NAMES[3]}"),
        AnnotatorWarning(NAMES[4], f"is much slower than the others, which is no reproach {look}", None),
    ]
    return AnnotatorsSection(annotators, 0, pairs, 0, 0.7143, words, checked=checked, warnings=warnings)


def _classes() -> list[ClassCount]:
    return [
        ClassCount("Polite", 902, 611, 1_702),
        ClassCount("Impolite", 689, 452, 1_388),
        ClassCount("Cannot say", 79, 57, 140),
    ]


def _pace() -> PaceSection:
    first = datetime.date(2026, 2, 2)
    return PaceSection(
        [
            Day(
                str(first + datetime.timedelta(days=number)),
                0 if number % 7 > 4 else 62 + round(40 * math.sin(number / 3)) + number,
            )
            for number in range(30)
        ],
        0,
        (2.1, 3.4, 8.7),
    )


STATES = [content, empty, hostile, without_model, taken_back, alone]
