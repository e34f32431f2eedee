"""Multi-annotated texts from tables or from a project: what is kept of them, held out, and refused."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.drawn_images import png
from support.made_recordings import wav

from connector.annotations.controls.choices import Choices
from connector.annotations.form.data import PAIR_SEPARATOR
from connector.annotations.label_config import Control
from connector.annotations.records import Annotation, Task, digest
from connector.errors import UsageError
from connector.simulation.corpus import Corpus, hold_out, read_corpus, read_or_hold_out
from connector.simulation.project_corpus import corpus_of
from connector.simulation.replay import label_config

TASKS = "id,text\nt1,Could you look?\nt2,Look now.\n"
ANNOTATIONS = "id,annotator,label\nt1,a7,Polite\nt1,a3,Impolite\nt2,a9,Impolite\nt2,a3,Impolite\n"
TEST = "id,text,label\nx1,Thanks a lot!,Polite\n"


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., Path]:
    """A directory that can be read, but for what a test changes in it; None leaves a file out."""

    def files(**changed: str | None) -> Path:
        tables = {"tasks": TASKS, "annotations": ANNOTATIONS, "test": TEST, "truth": None} | changed
        for name, content in tables.items():
            if content is not None:
                (tmp_path / f"{name}.csv").write_text(content, encoding="utf-8")
        return tmp_path

    return files


# -- tables ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("rows", "note"),
    [
        (
            "x1,Look now.,Impolite\nx2,Look then.,Impolite\n",
            "1 text of test.csv is also in tasks.csv, so the accuracy ",
        ),
        (
            "x1,Look now.,Impolite\nx2, Look now. ,Impolite\n",
            "2 texts of test.csv are also in tasks.csv, so ",
        ),
    ],
)
def test_texts_of_the_test_set_that_are_labelled_are_counted(write: Callable[..., Path], rows: str, note: str) -> None:
    read = read_corpus(write(test=f"id,text,label\n{rows}"))
    assert [one[: len(note)] for one in read.notes] == [note]
    assert len(read.test) == 2
    assert read_corpus(write()).notes == ()


def test_a_column_of_seconds_says_how_long_answers_took(write: Callable[..., Path]) -> None:
    without = read_corpus(write())
    rows = "id,annotator,label,seconds\nt1,a7,Polite,4.5\nt1,a3,Impolite,\nt2,a9,Impolite,1e1\nt2,a3,Impolite,7\n"
    read = read_corpus(write(annotations=f"{rows}t2,a3,Polite,\n"))  # who answered again without a time
    assert read.seconds == {("t1", "a7"): 4.5, ("t2", "a9"): 10.0}
    assert without.seconds == {}
    same = read_corpus(write(annotations=rows))
    assert same.annotations == without.annotations
    assert same.digest != without.digest


@pytest.mark.parametrize("written", ["0", "-1", "nan", "inf", "soon"])
def test_seconds_that_are_no_number_above_zero_are_refused(write: Callable[..., Path], written: str) -> None:
    rows = f"id,annotator,label,seconds\nt1,a7,Polite,2\nt1,a3,Impolite,{written}\nt2,a9,Impolite,3\n"
    with pytest.raises(UsageError, match=f"annotations.csv: row 2 has the seconds '{written}', which are no number"):
        read_corpus(write(annotations=rows))


def test_a_column_of_paths_makes_images(write: Callable[..., Path]) -> None:
    directory = write(tasks="id,image\nt1,a.png\nt2,b.png\n", test="id,image,label\nx1,c.png,Polite\n")
    for number, name in enumerate("abc"):
        (directory / f"{name}.png").write_bytes(png(number))
    read = read_corpus(directory)
    assert (read.kind, read.paired) == ("image", False)
    assert read.tasks == {"t1": str(directory / "a.png"), "t2": str(directory / "b.png")}
    assert read.content(read.tasks["t1"]).startswith(b"\x89PNG")
    (address,) = read.test_addresses
    assert address.startswith("data:image/*;base64,")
    assert '<Image name="text" value="$text"/>' in label_config(read)
    before = read.digest
    (directory / "b.png").write_bytes(png(7))
    assert read_corpus(directory).digest != before  # the files count, not their names


def test_a_column_of_paths_makes_recordings(write: Callable[..., Path]) -> None:
    directory = write(tasks="id,audio\nt1,a.wav\nt2,b.wav\n", test="id,audio,label\nx1,c.wav,Polite\n")
    for number, name in enumerate("abc"):
        (directory / f"{name}.wav").write_bytes(wav(number))
    read = read_corpus(directory)
    assert read.kind == "audio"
    assert read.content(read.tasks["t1"]).startswith(b"fLaC")
    (address,) = read.test_addresses
    assert address.startswith("data:audio/*;base64,")
    assert '<Audio name="text" value="$text"/>' in label_config(read)
    (directory / "a.wav").write_text("<html>")
    with pytest.raises(UsageError, match=r"a.wav cannot be used: it is no recording that can be read: it is an HTML"):
        read.content(read.tasks["t1"])


@pytest.mark.parametrize(
    ("tasks", "test", "problem"),
    [
        ("id,image\nt1,a.png\nt2,none.png\n", "id,image,label\nx1,a.png,Polite\n", "There is no "),
        ("id,image\nt1,a.png\nt2,../b.png\n", "id,image,label\nx1,a.png,Polite\n", "is not in "),
        ("id,image\nt1,a.png\nt2,/etc/passwd\n", "id,image,label\nx1,a.png,Polite\n", "is not in "),
        ("id,image\nt1,a.png\nt2,a.png\n", TEST, "has images in one of its tables and texts in the other"),
        ("id,audio\nt1,a.png\nt2,a.png\n", TEST, "has recordings in one of its tables and texts in the other"),
    ],
)
def test_images_that_are_not_in_the_folder_are_refused(
    write: Callable[..., Path], tasks: str, test: str, problem: str
) -> None:
    directory = write(tasks=tasks, test=test)
    (directory / "a.png").write_bytes(png(0))
    with pytest.raises(UsageError, match=problem):
        read_corpus(directory)


def test_a_file_that_is_no_image_is_refused(write: Callable[..., Path]) -> None:
    directory = write(tasks="id,image\nt1,a.png\nt2,b.png\n", test="id,image,label\nx1,a.png,Polite\n")
    (directory / "a.png").write_bytes(png(0))
    (directory / "b.png").write_text("<html>")
    read = read_corpus(directory)
    with pytest.raises(UsageError, match=r"b.png cannot be used: it is no image that can be read"):
        read.content(read.tasks["t2"])


def test_two_columns_make_a_pair(write: Callable[..., Path]) -> None:
    corpus = read_corpus(
        write(
            tasks="id,left,right\nt1,A,B\nt2,C,D\n",
            annotations="id,annotator,label\nt1,x,left\nt2,x,right\n",
            test="id,left,right,label\nx1,E,F,left\n",
        )
    )
    assert corpus.tasks == {"t1": f"A{PAIR_SEPARATOR}B", "t2": f"C{PAIR_SEPARATOR}D"}
    assert corpus.test == [(f"E{PAIR_SEPARATOR}F", "left")]
    assert corpus.paired
    assert not read_corpus(write(tasks=TASKS, annotations=ANNOTATIONS, test=TEST)).paired


def test_pairs_with_other_labels_are_refused(write: Callable[..., Path]) -> None:
    folder = write(
        tasks="id,left,right\nt1,A,B\nt2,C,D\n",
        annotations="id,annotator,label\nt1,x,left\nt2,x,tie\n",
        test="id,left,right,label\nx1,E,F,left\n",
    )
    with pytest.raises(UsageError, match="They need the columns left and right"):
        read_corpus(folder)


def test_annotations_keep_their_order_and_classes_are_sorted(write: Callable[..., Path]) -> None:
    read = read_corpus(write())
    assert read.tasks == {"t1": "Could you look?", "t2": "Look now."}
    assert read.annotations["t1"] == [("a7", "Polite"), ("a3", "Impolite")]
    assert read.test == [("Thanks a lot!", "Polite")]
    assert read.classes == ["Impolite", "Polite"]
    assert (read.truth, read.notes) == ({}, ())


def test_truth_is_read_where_it_is_known(write: Callable[..., Path]) -> None:
    assert read_corpus(write(truth="id,label\nt2,Polite\n")).truth == {"t2": "Polite"}


def test_the_later_label_of_an_annotator_counts_and_is_told(write: Callable[..., Path]) -> None:
    read = read_corpus(write(annotations=ANNOTATIONS + "t1,a7,Impolite\nt1,a3,Polite\n"))
    assert read.annotations["t1"] == [("a7", "Impolite"), ("a3", "Polite")]
    assert read.notes == ("Annotations left out because the same annotator labelled the task again later: 2.",)


def test_a_start_is_made_of_tasks_with_labels_enough(write: Callable[..., Path]) -> None:
    read = read_corpus(write(annotations=ANNOTATIONS + "t2,a4,Polite\n"))
    assert [read.startable(labels) for labels in (1, 2, 3, 4)] == [["t1", "t2"], ["t1", "t2"], ["t2"], []]
    assert [read.available(most) for most in (1, 2, 5)] == [2, 4, 5]


@pytest.mark.parametrize("changed", [{"test": TEST.replace("Polite", "Impolite")}, {"truth": "id,label\nt2,Polite\n"}])
def test_other_data_have_another_digest(write: Callable[..., Path], changed: dict[str, str]) -> None:
    before = read_corpus(write()).digest
    assert read_corpus(write()).digest == before
    assert read_corpus(write(**changed)).digest != before


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"tasks": "id,words\nt1,x\n"}, "tasks.csv has no column 'text'. It needs id, text."),
        ({"tasks": "id,text\n"}, "tasks.csv has no rows."),
        ({"tasks": ""}, "tasks.csv has no column 'id'"),
        ({"tasks": "id,text\nt1,\n"}, "tasks.csv: row 1 has no text."),
        ({"tasks": TASKS + "t1,again\n"}, "tasks.csv has the id 't1' twice."),
        ({"tasks": TASKS + "t3,bare\n"}, "annotations.csv has no label for 1 of the tasks, 't3' first."),
        (
            {"annotations": ANNOTATIONS + "t9,a1,Polite\n"},
            "annotations.csv labels 't9', an id that tasks.csv does not have.",
        ),
        ({"annotations": ANNOTATIONS.replace("Impolite", "Polite")}, "annotations.csv has labels of one class only"),
        (
            {"tasks": "id,text\nt1,same\nt2,same\n"},
            "annotations.csv: all tasks have the same text, but a model needs two.",
        ),
        ({"test": TEST + "x2,Go.,Rude\n"}, "test.csv has the label 'Rude', which no annotation has."),
        ({"test": "id,text,label\n"}, "test.csv has no rows."),
        ({"truth": "id,label\nt1,Rude\n"}, "truth.csv has the label 'Rude', which no annotation has."),
        ({"truth": "id,label\nt9,Polite\n"}, "truth.csv has 't9', an id that tasks.csv does not have."),
        (
            {"annotations": ANNOTATIONS + 't1,a1,"[""Polite"", ""Rude""]"\n'},
            "a set of classes. Only texts with one class can be replayed.",
        ),
    ],
)
def test_read_says_in_one_sentence_what_is_wrong(
    write: Callable[..., Path], changed: dict[str, str], sentence: str
) -> None:
    directory = write(**changed)
    with pytest.raises(UsageError) as raised:
        read_corpus(directory)
    assert sentence in str(raised.value)
    assert "\n" not in str(raised.value)


def test_read_names_the_missing_file(write: Callable[..., Path]) -> None:
    directory = write()
    (directory / "test.csv").unlink()
    with pytest.raises(UsageError, match=r"There is no .*test\.csv. The directory needs tasks\.csv"):
        read_corpus(directory)


def test_read_refuses_other_encodings(write: Callable[..., Path]) -> None:
    directory = write()
    (directory / "tasks.csv").write_bytes("id,text\nt1,höflich\n".encode("latin-1"))
    with pytest.raises(UsageError, match="cannot be read as a CSV file in UTF-8"):
        read_corpus(directory)


def test_a_label_that_only_begins_like_a_list_is_a_label(write: Callable[..., Path]) -> None:
    read = read_corpus(write(annotations=ANNOTATIONS + "t1,a1,[unclear]\n"))
    assert "[unclear]" in read.classes


# -- no test set -------------------------------------------------------------------------------------------------------


def test_no_text_is_among_the_tasks_and_in_the_test() -> None:
    once = crowd(100)
    twice = replace(once, tasks={task: f"text {int(task[1:]) // 2}" for task in once.tasks})
    held = hold_out(twice)
    assert {text for text, _ in held.test}.isdisjoint(held.tasks.values())
    assert len(held.test) == 20


def crowd(n_tasks: int, **more: Any) -> Corpus:
    """Tasks of two classes in turn with three right labels each, the tenth of them with a tied vote."""
    annotations = {}
    for number in range(n_tasks):
        label = "ab"[number % 2]
        rows = [("x", label), ("y", label), ("z", label)]
        annotations[f"t{number}"] = rows if number % 10 else [("x", "a"), ("y", "b")]
    return Corpus({task: f"text {task}" for task in annotations}, annotations, [], **more)


def test_a_fifth_is_held_out_against_what_most_annotators_said() -> None:
    whole = crowd(100)
    held = hold_out(whole)
    out = {task: text for task, text in whole.tasks.items() if task not in held.tasks}
    assert len(out) == len(held.test) == 20
    assert held.test == [(text, "ab"[int(task[1:]) % 2]) for task, text in out.items()]
    assert not any(task.endswith("0") for task in out)  # their vote is tied
    assert held.annotations == {task: whole.annotations[task] for task in held.tasks}
    assert "20 held-out tasks, against the label of most annotators" in held.notes[0]


def test_what_is_held_out_depends_on_the_seed_alone() -> None:
    assert hold_out(crowd(100)) == hold_out(crowd(100))
    assert hold_out(crowd(100)).tasks != hold_out(crowd(100), seed=1).tasks


def test_truth_comes_before_the_annotators_and_stays_with_its_task() -> None:
    whole = crowd(100, truth={f"t{number}": "a" for number in range(100)})
    held = hold_out(whole)
    assert {label for _, label in held.test} == {"a"}
    assert held.truth.keys() == held.tasks.keys()
    assert "the true label if it is known (20 of them)" in held.notes[0]


def test_too_few_tasks_to_hold_some_out_are_refused() -> None:
    with pytest.raises(UsageError, match="4 tasks are too few to hold some of them out"):
        hold_out(crowd(4))


def test_what_is_left_needs_two_classes() -> None:
    said = {f"t{number}": [("x", "b" if number == 1 else "a")] for number in range(5)}
    small = Corpus({task: f"text {task}" for task in said}, said, [])
    assert hold_out(small, seed=0).classes == ["a", "b"]
    with pytest.raises(UsageError, match=r"The data without the held-out fifth .* labels of one class only"):
        hold_out(small, seed=11)  # which holds t1 out


def test_without_test_csv_some_tasks_are_held_out(write: Callable[..., Path]) -> None:
    rows = crowd(20).annotations
    tasks = "id,text\n" + "".join(f"{task},text {task}\n" for task in rows)
    said = "".join(f"{task},{who},{label}\n" for task, labels in rows.items() for who, label in labels)
    directory = write(tasks=tasks, annotations=f"id,annotator,label\n{said}", test=None)
    assert len(read_or_hold_out(directory).test) == 4
    (directory / "test.csv").write_text("id,text,label\nx1,Hello,a\n")
    assert read_or_hold_out(directory).test == [("Hello", "a")]


# -- a project ---------------------------------------------------------------------------------------------------------

CONTROL = Choices("choice", "text", "text", ("a", "b"), {"a": "a", "b": "b"})


def row(number: int, task: int, annotator: int, label: str | None, minute: int = 0, **more: Any) -> Annotation:
    when = f"2026-03-01T10:{minute:02}:00Z"
    return Annotation(number, task, annotator, label, label is None, more.get("ground_truth", False), when)


def project(*tasks: tuple[Annotation, ...], control: Control = CONTROL) -> Corpus:
    """The corpus of project 7, whose tasks 1, 2, … have these annotations."""
    texts = {number: f"text {number}" for number in range(1, len(tasks) + 1)}
    held = {
        number: Task(number, digest(texts[number]), True, 1, "2026-03-01T10:00:00Z", rows)
        for number, rows in enumerate(tasks, start=1)
    }
    return corpus_of(7, control, held, texts)


def test_a_projects_latest_labels_are_a_corpus_of_which_a_fifth_is_held_out() -> None:
    made = project(
        (row(1, 1, 5, "a", 1), row(2, 1, 3, "b", 2), row(3, 1, 5, "b", 3)),
        (row(4, 2, 5, "a"), row(5, 2, 3, None), row(6, 2, 1, "b", 4, ground_truth=True)),
        (row(7, 3, 3, None),),
        (),
        (row(8, 5, 5, "a"), row(9, 5, 3, "b")),
        (row(10, 6, 5, "a"), row(11, 6, 3, "b")),
        (row(12, 7, 5, "a"), row(13, 7, 3, "b")),
    )
    # Of these five only tasks 1 and 2 have a sure label.
    assert made.tasks.keys() | {"1", "2"} == {"1", "2", "5", "6", "7"}
    (held,) = {"1", "2"} - made.tasks.keys()
    assert made.test == [(f"text {held}", "b")]
    said = {"1": [("5", "b"), ("3", "b")], "2": [("5", "a")], "5": [("5", "a"), ("3", "b")]}
    assert {task: made.annotations[task] for task in said if task in made.tasks} == {
        task: rows for task, rows in said.items() if task != held
    }
    assert made.truth == ({"2": "b"} if held == "1" else {})
    assert "There is no test set" in made.notes[0]


def test_the_lead_times_of_a_project_are_its_seconds() -> None:
    rows = [(row(number, number, 5, "ab"[number % 2]), row(100 + number, number, 3, "a")) for number in range(1, 11)]
    rows[0] = (rows[0][0]._replace(lead_time=4.0), rows[0][1], row(200, 1, 5, "b", 9)._replace(lead_time=6.0))
    rows[1] = (rows[1][0]._replace(lead_time=5.0), row(201, 2, 3, None)._replace(lead_time=2.0))
    made = project(*rows)
    expected = {("1", "5"): 6.0, ("2", "5"): 5.0}  # the latest label's, and none of a skip
    assert made.seconds == {key: value for key, value in expected.items() if key[0] in made.tasks}
    assert made.seconds


def half_marked(labelled: int, marked: int) -> Corpus:
    """A project of so many tasks labelled by 5, and as many more as `marked` with a ground truth by 1, too."""
    said = [(row(number, number, 5, "ab"[number % 2]),) for number in range(1, labelled + 1)]
    true = [
        (row(number, number, 1, "ab"[number % 2], ground_truth=True), row(1000 + number, number, 5, "a"))
        for number in range(labelled + 1, labelled + marked + 1)
    ]
    return project(*said, *true)


def test_ground_truth_is_the_test_where_there_is_enough_of_it() -> None:
    made = half_marked(200, 50)
    assert set(made.test) == {(f"text {number}", "ab"[number % 2]) for number in range(201, 251)}
    assert (list(made.tasks), made.truth) == ([str(number) for number in range(1, 201)], {})
    assert made.notes == ("Accuracy is measured on the 50 tasks with a ground truth, which are used for nothing else.",)
    few = half_marked(200, 49)
    assert len(few.test) == 49
    assert few.truth == {task: "ab"[int(task) % 2] for task in few.tasks if int(task) > 200}
    assert "There is no test set" in few.notes[0]


def test_what_an_import_marked_are_labels_like_any_other() -> None:
    made = half_marked(199, 50)
    assert (len(made.tasks), len(made.test), made.truth) == (200, 49, {})
    assert "They count as labels like any other" in made.notes[0]
    assert [len(made.annotations[task]) for task in made.tasks] == [1 + (int(task) > 199) for task in made.tasks]


@pytest.mark.parametrize(
    ("tasks", "control", "sentence"),
    [
        ([(row(1, 1, 5, "a"),)], CONTROL, "Project 7 has labels of fewer than two classes"),
        ([], replace(CONTROL, multiple=True), "Project 7 is multiple choice"),
    ],
)
def test_a_project_that_cannot_be_replayed_is_refused(
    tasks: list[tuple[Annotation, ...]], control: Control, sentence: str
) -> None:
    with pytest.raises(UsageError, match=sentence):
        project(*tasks, control=control)


def test_tasks_that_all_have_the_text_of_a_held_out_one_leave_none() -> None:
    said = {f"t{number}": [("ann", "AB"[number % 2]), ("bob", "AB"[number % 2])] for number in range(10)}
    same = Corpus(dict.fromkeys(said, "thanks"), said, [])
    with pytest.raises(UsageError, match="no task is left beside one: all 10 tasks have the text of a held-out task"):
        hold_out(same)
