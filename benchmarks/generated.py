"""Generated texts of known classes, and labels by people of known quality.

A class has frequent and rare themes, and a theme has its own words. A text has words of one theme of its class, of one
theme of another class, and of a common vocabulary. Its class is rarely in doubt if all words are known, but a model has
to see them first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from connector.simulation.corpus import Corpus

THEMES, WORDS_A_THEME, SHARED_WORDS = 10, 12, 40
LENGTHS = (6, 14)  # words of a text: at least, and below
OWN = (0.2, 0.6)  # share of words of the text's own class, which says how clear it is: from, to
FOREIGN = 0.12  # share of words of another class
SYLLABLES = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
# How often each person is right. Two more answer at random, and one gives the first class to everything.
QUALITIES = (0.95, 0.9, 0.85, 0.8, 0.75)
PEOPLE = (*(f"right in {quality:.0%}" for quality in QUALITIES), "random 1", "random 2", "always the same")
LABELS_A_TASK = 5


def generate(
    classes: int,
    tasks: int = 1500,
    test: int = 500,
    seed: int = 0,
    names: Sequence[str] | None = None,
    similar: Callable[[int], Sequence[int]] | None = None,
    weights: Sequence[float] | None = None,
    lengths: tuple[int, int] = LENGTHS,
) -> Corpus:
    """`tasks` texts with LABELS_A_TASK labels each and their true classes, and `test` texts. No text comes twice.

    `names`: those of the classes. `similar`: for the number of a class, those that people confuse it with, and whose
    words its texts have, too. None: all others. `weights`: the shares of the classes. None: they are equal. `lengths`:
    words of a text, at least and below. Other ones than LENGTHS are drawn evenly on a scale of logarithms.
    """
    rng = np.random.default_rng([classes, seed])
    names = names or [f"class {number + 1}" for number in range(classes)]
    similar = similar or (lambda own: [(own + step) % classes for step in range(1, classes)])
    vocabulary = _Vocabulary(classes, similar, rng)
    truth: dict[str, int] = {}
    while len(truth) < tasks + test:
        own = int(rng.integers(classes) if weights is None else rng.choice(classes, p=weights))
        truth.setdefault(vocabulary.text(own, rng, lengths), own)
    texts = list(truth)
    ids = {f"t{number}": text for number, text in enumerate(texts[:tasks])}
    said = {
        task: [
            (PEOPLE[person], names[_answer(person, truth[text], similar(truth[text]), classes, rng)])
            for person in rng.permutation(len(PEOPLE))[:LABELS_A_TASK].tolist()
        ]
        for task, text in ids.items()
    }
    test_set = [(text, names[truth[text]]) for text in texts[tasks:]]
    return Corpus(ids, said, test_set, {task: names[truth[text]] for task, text in ids.items()})


def generate_several(
    classes: Mapping[str, int], tasks: int = 1500, test: int = 500, seed: int = 0
) -> tuple[dict[str, str], dict[str, list[tuple[str, dict[str, str]]]], list[tuple[str, dict[str, str]]]]:
    """Texts for several questions, with LABELS_A_TASK answers each to all of them.

    A text has words about each question, one after the other. `classes`: {question: its number of classes}.

    Returns:
        {task: text}, {task: [(person, {question: label}), …]}, and the test set [(text, {question: label}), …].
    """
    rng = np.random.default_rng([*classes.values(), seed])

    def others(own: int, count: int) -> list[int]:
        return [(own + step) % count for step in range(1, count)]

    vocabularies = {
        name: _Vocabulary(count, lambda own, count=count: others(own, count), rng)  # type: ignore[misc]
        for name, count in classes.items()
    }
    truth: dict[str, dict[str, int]] = {}
    while len(truth) < tasks + test:
        own = {name: int(rng.integers(count)) for name, count in classes.items()}
        truth.setdefault(" ".join(vocabularies[name].text(own[name], rng) for name in classes), own)

    def named(labels: Mapping[str, int]) -> dict[str, str]:
        return {name: f"{name} {number + 1}" for name, number in labels.items()}

    texts = list(truth)
    ids = {f"t{number}": text for number, text in enumerate(texts[:tasks])}
    said = {}
    for task, text in ids.items():
        said[task] = [
            (
                PEOPLE[person],
                named(
                    {
                        name: _answer(person, truth[text][name], others(truth[text][name], count), count, rng)
                        for name, count in classes.items()
                    }
                ),
            )
            for person in rng.permutation(len(PEOPLE))[:LABELS_A_TASK].tolist()
        ]
    return ids, said, [(text, named(truth[text])) for text in texts[tasks:]]


class _Vocabulary:
    """Made-up words: `themes` (classes, THEMES, WORDS_A_THEME) and those that all classes share."""

    def __init__(self, classes: int, similar: Callable[[int], Sequence[int]], rng: np.random.Generator) -> None:
        self._similar = similar
        count = classes * THEMES * WORDS_A_THEME
        words: dict[str, None] = {}
        while len(words) < count + SHARED_WORDS:
            words["".join(rng.choice(SYLLABLES, size=rng.integers(2, 4)))] = None
        self._themes = np.array(list(words)[:count]).reshape(classes, THEMES, WORDS_A_THEME)
        self._shared = np.array(list(words)[count:])

    def text(self, own: int, rng: np.random.Generator, lengths: tuple[int, int] = LENGTHS) -> str:
        similar = self._similar(own)
        other = similar[int(rng.integers(len(similar)))]
        theme, foreign = (self._themes[which][rng.choice(THEMES, p=_falling(THEMES))] for which in (own, other))
        share = rng.uniform(*OWN)
        size = rng.integers(*LENGTHS) if lengths == LENGTHS else int(np.exp(rng.uniform(*np.log(lengths))))
        drawn = rng.choice(3, size=size, p=[share, FOREIGN, 1 - share - FOREIGN])
        falling = _falling(WORDS_A_THEME)
        words = (
            rng.choice(self._shared) if source == 2 else rng.choice((theme, foreign)[source], p=falling)
            for source in drawn
        )
        return " ".join(map(str, words))


def _falling(count: int) -> NDArray[np.float64]:
    """Probabilities in proportion to 1, 1/2, 1/3, …, as those of words fall."""
    weights = 1 / np.arange(1, count + 1)
    return np.asarray(weights / weights.sum(), np.float64)


def _answer(person: int, truth: int, similar: Sequence[int], classes: int, rng: np.random.Generator) -> int:
    if person < len(QUALITIES):
        wrong = similar[int(rng.integers(len(similar)))]
        return truth if rng.random() < QUALITIES[person] else wrong
    return int(rng.integers(classes)) if person < len(QUALITIES) + 2 else 0
