"""The loop replayed: who is asked what, and what a run returns. One run is on a real ML backend."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import pytest
from support.word_count_backend import WordCountBackend

from connector.active_learning.stopping import forecast
from connector.active_learning.strategies import STRATEGIES
from connector.active_learning.strategy_names import DEFAULT_STRATEGY
from connector.annotations.label_config import find_control
from connector.backend import Backend
from connector.simulation.corpus import Corpus
from connector.simulation.local_backend import start_ml_backend, stop_ml_backend
from connector.simulation.replay import ReplayOptions, Run, label_config, replay

KIND = ("thank you so much", "would you mind", "i am grateful", "please help me")
RUDE = ("do it now", "stop that at once", "you are useless", "hurry up")
ABOUT = ("with the report", "about the garden", "for the old bicycle", "at the station", "on the second page")
PEOPLE = ("ann", "bob", "cleo")
OPTIONS = ReplayOptions(rounds=3, batch=5, initial_tasks=8, initial_labels=2, max_annotations_per_task=3)


def made_up(*, truth: bool = True) -> Corpus:
    """Forty texts, each labelled by three people, of whom cleo is wrong about every fifth; eight more to test on."""
    words = [*((each, "kind") for each in KIND), *((each, "rude") for each in RUDE)]
    texts = [(f"{each} {about}", label) for about in ABOUT for each, label in words]
    tasks = {f"t{number}": text for number, (text, _) in enumerate(texts)}
    true = {f"t{number}": label for number, (_, label) in enumerate(texts)}
    other = {"kind": "rude", "rude": "kind"}
    said = {
        task: [(name, other[label] if name == "cleo" and number % 5 == 0 else label) for name in PEOPLE]
        for number, (task, label) in enumerate(true.items())
    }
    test = [(f"{each} again", label) for each, label in words]
    return Corpus(tasks, said, test, true if truth else {})


@pytest.fixture
def backend() -> Backend:
    return WordCountBackend()


@pytest.fixture(scope="module")
def real_backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    directory = tmp_path_factory.mktemp("replay")
    client = Backend(start_ml_backend(directory, threads=1).url, poll_seconds=0.02)
    yield client
    client.close()
    stop_ml_backend(directory)


def check_that_runs_are_repeated(name: str, backend: Backend) -> None:
    corpus = made_up()
    rounds = replay(corpus, name, "logistic", 0, OPTIONS, backend)
    assert [one["labels"] for one in rounds] == [16, 21, 26, 31]
    assert (rounds[0]["new"], rounds[0]["relabel"]) == (8, 8)
    assert all(one["new"] + one["relabel"] == 5 for one in rounds[1:])
    assert all(0 <= one[key] <= 1 for one in rounds for key in ("accuracy", "consensus_accuracy", "agreement"))
    assert STRATEGIES[name].relabels or not any(one["relabel"] for one in rounds[1:])
    replay(corpus, name, "logistic", 1, OPTIONS, backend)  # whose model is not the start of the next
    assert replay(corpus, name, "logistic", 0, OPTIONS, backend) == rounds


@pytest.mark.parametrize("name", STRATEGIES)
def test_every_strategy_runs_and_a_run_is_repeated_to_the_digit(name: str, backend: Backend) -> None:
    check_that_runs_are_repeated(name, backend)


@pytest.mark.nightly  # by day one command does: tests/connector/cli/test_simulate.py
@pytest.mark.service
@pytest.mark.parametrize("name", STRATEGIES)
def test_a_real_backend_repeats_a_run_to_the_digit(name: str, real_backend: Backend) -> None:
    check_that_runs_are_repeated(name, real_backend)


def timed(corpus: Corpus) -> Corpus:
    """The texts, every other one very long, with times in proportion to the length."""
    tasks = {task: text + " and so on" * 20 * (int(task[1:]) % 2) for task, text in corpus.tasks.items()}
    seconds = {(task, who): len(tasks[task]) / 10 for task, rows in corpus.annotations.items() for who, _ in rows}
    return replace(corpus, tasks=tasks, seconds=seconds)


def test_by_time_short_texts_are_asked_for_and_hours_are_saved(backend: Backend) -> None:
    corpus, options = timed(made_up()), replace(OPTIONS, initial_tasks=12)
    by_label = replay(corpus, "activelab", "logistic", 0, options, backend)
    run = Run(corpus, "activelab", "logistic", 0, replace(options, cost="time"), backend)
    by_time = run.play(lambda done, total: None)
    assert by_time[0] == by_label[0]  # the start does not depend on times
    assert by_time[-1]["labels"] == by_label[-1]["labels"]
    assert by_time[-1]["hours"] < 0.8 * by_label[-1]["hours"]
    names = list(corpus.tasks)
    assert by_time[-1]["hours"] == pytest.approx(
        sum(len(corpus.tasks[names[task - 1]]) / 10 for task, _ in run.labels) / 3600
    )
    assert "hours" not in replay(made_up(), "activelab", "logistic", 0, OPTIONS, backend)[0]


def test_nobody_answers_a_task_twice_and_none_is_asked_too_often(backend: Backend) -> None:
    corpus = made_up()
    run = Run(corpus, "random", "logistic", 2, replace(OPTIONS, batch=20), backend)
    while run.step() is not None:
        pass
    assert len(run.labels) == 3 * len(corpus.tasks)  # (task, annotator) are the keys
    names = sorted(PEOPLE)
    for (task, annotator), label in run.labels.items():
        assert (names[annotator - 1], label) in corpus.annotations[f"t{task - 1}"]


def test_no_task_gets_more_labels_than_is_allowed(backend: Backend) -> None:
    options = ReplayOptions(rounds=50, batch=15, initial_tasks=8, initial_labels=1, max_annotations_per_task=2)
    run = Run(made_up(), "random", "logistic", 0, options, backend)
    told = []
    while (one := run.step()) is not None:
        told.append(one["labels"])
    counts = Counter(task for task, _ in run.labels)
    assert set(counts.values()) == {2}
    assert told[:4] == [8, 23, 38, 53]
    assert told[-1] == 80  # a round asks a task once: the last ones are smaller


def test_whoever_has_labelled_is_asked_before_newcomers(backend: Backend) -> None:
    corpus = made_up()
    strangers = {
        task: [(f"{name}-{task}" if name != "ann" else name, label) for name, label in rows]
        for task, rows in corpus.annotations.items()
    }
    options = ReplayOptions(rounds=1, batch=10, initial_tasks=20, initial_labels=2)
    run = Run(Corpus(corpus.tasks, strangers, corpus.test), "random-new", "logistic", 0, options, backend)
    run.step()
    before = set(run.labels)
    run.step()
    asked = {annotator for task, annotator in set(run.labels) - before}
    assert asked == {1}  # ann, by the order of names


def test_a_round_asks_for_one_of_several_equal_texts(backend: Backend) -> None:
    corpus = made_up()
    half = {task: text for number, (task, text) in enumerate(corpus.tasks.items()) if number < 20}
    twice = {f"{task}-{copy}": text for task, text in half.items() for copy in "ab"}
    labels = {f"{task}-{copy}": corpus.annotations[task] for task in half for copy in "ab"}
    options = replace(OPTIONS, rounds=4, initial_labels=1)
    run = Run(Corpus(twice, labels, corpus.test), DEFAULT_STRATEGY, "logistic", 0, options, backend)
    run.step()
    names = dict(enumerate(twice, start=1))
    for _ in range(options.rounds):
        before = set(run.labels)
        run.step()
        asked = [twice[names[task]] for task, _ in set(run.labels) - before]
        assert len(set(asked)) == len(asked) == options.batch


def test_a_run_without_truth_tells_no_consensus_accuracy(backend: Backend) -> None:
    (first, *_) = replay(made_up(truth=False), "activelab", "logistic", 0, OPTIONS, backend)
    assert first["consensus_accuracy"] is None


def test_each_round_has_the_advice_that_status_would_give(backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(made_up(), "random", "logistic", 0, OPTIONS, backend)
    for least in (100, 8):
        monkeypatch.setattr("connector.active_learning.stopping.LEAST_TASKS", least)
        told = run.step()
        assert told is not None
        labelled = len({task for task, _ in run.labels})
        assert told["advice"] is forecast(told["agreement"], labelled)["likely_to_pay"]
        assert told["advice"] is (None if least > labelled else True)


def test_progress_counts_the_rounds(backend: Backend) -> None:
    told: list[tuple[int, int]] = []
    replay(made_up(), "margin", "logistic", 0, OPTIONS, backend, lambda done, total: told.append((done, total)))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]


def test_classes_of_any_spelling_make_a_config() -> None:
    classes = ("a <b>", 'it\'s "so"', "ok & fine")
    corpus = replace(made_up(), annotations={name: [("x", name)] for name in classes})
    assert find_control(label_config(corpus)).classes == tuple(sorted(classes))


def test_with_labels_of_one_class_alone_a_run_goes_on_without_a_model(backend: Backend) -> None:
    corpus = made_up()
    odd = {task: [(name, "rude") for name, _ in rows] for task, rows in corpus.annotations.items()}
    odd["t39"] = [("ann", "kind")]
    alike = Corpus(corpus.tasks, odd, corpus.test, corpus.truth)
    rounds = replay(alike, "random-new", "logistic", 0, OPTIONS, backend)
    assert rounds[0]["agreement"] is None
    assert [one["labels"] for one in rounds] == [16, 21, 26, 31]


def test_an_annotator_who_is_a_machine_has_labelled_all_tasks_at_the_start(backend: Backend) -> None:
    corpus = made_up()
    options = replace(OPTIONS, machines=("ann",))
    run = Run(corpus, DEFAULT_STRATEGY, "logistic", 0, options, backend)
    run.step()
    run.step()
    assert len(run.labels) == 21
    assert run.scored is not None
    assert set(run.scored.opinion.names) == {"ann"}
    assert {annotator for _, annotator in run.labels} == {1, 2}  # bob and cleo
    assert set(run.scored.predicted) == set(range(1, 41))


def test_a_corpus_without_some_annotators_keeps_its_tasks() -> None:
    corpus = made_up().without_annotators(("ann", "cleo"))
    assert {name for rows in corpus.annotations.values() for name, _ in rows} == {"bob"}
    assert corpus.tasks == made_up().tasks
    assert corpus.startable(2) == []
    assert made_up().without_annotators(()) == made_up()
