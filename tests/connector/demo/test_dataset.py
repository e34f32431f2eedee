"""The demo's texts: what is generated, and which person gives which label of a directory's."""

from collections.abc import Callable
from pathlib import Path

import pytest

from connector.demo import texts
from connector.demo.dataset import read_corpus

TASKS = "id,text\nt1,Could you look?\nt2,Look now.\n"
ANNOTATIONS = "id,annotator,label\nt1,a7,Polite\nt1,a3,Impolite\nt2,a9,Impolite\nt2,a3,Impolite\n"
TEST = "id,text,label\nx1,Thanks a lot!,Polite\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A directory that can be read, but for what a test changes in it."""

    def files(tasks: str = TASKS, annotations: str = ANNOTATIONS, test: str = TEST) -> Path:
        (tmp_path / "tasks.csv").write_text(tasks, encoding="utf-8")
        (tmp_path / "annotations.csv").write_text(annotations, encoding="utf-8")
        (tmp_path / "test.csv").write_text(test, encoding="utf-8")
        return tmp_path

    return files


def test_generated_corpus_has_the_asked_shape_and_no_text_twice() -> None:
    made = texts.generate(tasks=600, test=300)
    every = [*made.tasks.values(), *(text for text, _ in made.test)]
    assert (len(made.tasks), len(made.test)) == (600, 300)
    assert len(set(every)) == 900
    assert not any("{" in text or "  " in text for text in every)
    assert made.classes == ["Impolite", "Polite"]
    assert {len(rows) for rows in made.annotations.values()} == {5}
    assert set(made.annotations) == set(made.tasks)


def test_generated_classes_are_balanced_within_reason() -> None:
    polite = sum(label == texts.POLITE for _, label in texts.generate(tasks=0, test=1000).test)
    assert 350 < polite < 650


def test_generated_corpus_depends_on_nothing_but_its_seed() -> None:
    assert texts.generate(seed=3) == texts.generate(seed=3)
    assert texts.generate(seed=3) != texts.generate(seed=4)


def test_annotators_are_as_good_as_they_are_said_to_be() -> None:
    # Truth is not part of a corpus; the majority of five stands in for it, and is right on nearly every text.
    made = texts.generate(tasks=3000, test=0)
    agreement = dict.fromkeys(texts.ANNOTATORS, 0)
    for rows in made.annotations.values():
        polite = sum(label == texts.POLITE for _, label in rows) > 2
        for annotator, label in rows:
            agreement[annotator] += (label == texts.POLITE) == polite
    shares = {annotator: agreed / 3000 for annotator, agreed in agreement.items()}
    assert shares == pytest.approx(texts.ANNOTATORS, abs=0.06)
    assert sorted(shares, key=shares.__getitem__, reverse=True) == list(texts.ANNOTATORS)


def test_next_person_to_see_a_task_gives_its_next_annotation(write: Callable[..., Path]) -> None:
    read = read_corpus(write())
    assert [read.answer("t1", person=person, seen_by=seen) for person, seen in ((4, 0), (2, 1))] == [
        "Polite",
        "Impolite",
    ]


def test_annotators_of_every_task_give_their_own_label(write: Callable[..., Path]) -> None:
    read = read_corpus(write(annotations=ANNOTATIONS.replace("a9", "a7")))
    assert read.annotators == ["a3", "a7"]
    assert read.answer("t1", person=0, seen_by=0) == "Impolite"
    assert read.answer("t1", person=1, seen_by=1) == "Polite"
