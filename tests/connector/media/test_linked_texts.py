"""Texts in files: fetched once, kept, put in the place of their links, and tried again if they fail."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from support.media_fetching import Make
from support.media_server import MediaServer, Reply
from support.small_internet import SmallInternet

from connector.annotations.label_config import find_questions
from connector.annotations.questions import Questions
from connector.annotations.records import digest, read_task
from connector.media import Failure, Fetcher, Source
from connector.media.failures import PRIVATE, TOO_LARGE, UNREADABLE
from connector.media.texts import LIMITS, TEXTS
from connector.progress import Reporter
from connector.state.project_state import ProjectState
from connector.state.pull import fetched
from connector.state.snapshot import ProjectSnapshot
from connector.sync.linked import bring_texts

HOST = "http://pictures.example"
CHOICES = '<Choices name="{}" toName="{}"><Choice value="A"/><Choice value="B"/></Choices>'
TEXT, TURNS = '<Text name="t" value="$a" valueType="url"/>', '<Paragraphs name="p" value="$b" valueType="url"/>'
NOTE, PAGE = '<Text name="n" value="$note"/>', '<HyperText name="h" value="$a" valueType="url"/>'


def questions(*tags: str) -> Questions:
    return find_questions(f"<View>{''.join(tags)}</View>")


ONE = questions(TEXT, CHOICES.format("c", "t"))


@pytest.fixture
def fetcher(make: Make) -> Fetcher:
    return make(limits=LIMITS)


@pytest.fixture
def snapshot(state: ProjectState) -> Callable[..., ProjectSnapshot]:
    """Puts tasks with these data into the mirror, and gives the project as they describe it."""

    def put(asked: Questions, *data: Mapping[str, Any]) -> ProjectSnapshot:
        raws = [
            {"id": number, "data": one, "is_labeled": False, "overlap": 1, "updated_at": "2026-03-01T10:00:00Z"}
            for number, one in enumerate(data, start=1)
        ]
        tasks = [read_task({**raw, "annotations": []}, asked) for raw in raws]
        texts = {raw["id"]: text for raw in raws if (text := asked.shown(raw["data"]).text) is not None}
        state.store_tasks(tasks, texts, span=(0, None))
        project = {"id": 7, "label_config": "", "skip_queue": "REQUEUE_FOR_OTHERS"}
        return ProjectSnapshot(project, asked, state.tasks(), {}, True, state.texts)

    return put


def brought(described: ProjectSnapshot, fetcher: Fetcher, state: ProjectState) -> ProjectSnapshot:
    bring_texts(described, fetcher, state, Reporter())
    return fetched(described, state)


def test_a_text_is_fetched_once_and_put_in_the_place_of_its_link(
    snapshot: Callable[..., ProjectSnapshot], fetcher: Fetcher, state: ProjectState, pictures: MediaServer
) -> None:
    pictures.replies = {"/1": Reply(b"one"), "/2": Reply(b"two")}
    described = snapshot(ONE, {"a": f"{HOST}/1"}, {"a": f"{HOST}/2"}, {"a": f"{HOST}/1"}, {"a": "Hello"})
    for _ in range(2):
        whole = brought(described, fetcher, state)
        assert whole.texts([1, 2, 3, 4]) == {1: "one", 2: "two", 3: "one"}
        assert [task.digest for task in whole.tasks.values()] == [digest("one"), digest("two"), digest("one"), None]
        assert whole.sources == {number: described.tasks[number].digest for number in (1, 2, 3)}
        assert whole.complete is described
    assert sorted(pictures.paths) == ["/1", "/2"]
    assert brought(snapshot(ONE, {"a": f"{HOST}/2"}), fetcher, state).texts([1]) == {1: "two"}
    assert list(state.linked().values()) == [digest("two")]  # no task has the other one any more


def test_what_fails_is_missing_and_tried_again_later(
    snapshot: Callable[..., ProjectSnapshot], fetcher: Fetcher, state: ProjectState, pictures: MediaServer
) -> None:
    failures = state.media_failures
    pictures.replies = {"/1": [Reply(b"", 404), Reply(b"\0"), Reply(b"one")]}
    described = snapshot(ONE, {"a": f"{HOST}/1"}, {"a": f"{HOST}/2.json"})
    pending = fetched(described, state)
    assert (pending.tasks, pending.failed) == (described.tasks, {})
    whole = brought(described, fetcher, state)
    assert [task.problem for task in whole.tasks.values()] == ["its text answers 404 (not found)"] * 2
    assert [task.digest for task in whole.tasks.values()] == [None, None]
    assert brought(described, fetcher, state).tasks == whole.tasks
    assert len(pictures.requests) == 2
    for hours, problem in ((1, "its text is no text in UTF-8"), (2, "")):
        before = {key: failure._replace(tried_at=time.time() - 3_601 * hours) for key, failure in failures().items()}
        state.store_media(before, [])
        assert brought(described, fetcher, state).tasks[1].problem == problem
    assert [failure.attempts for failure in failures().values()] == [3]
    assert fetched(described, state).texts([1]) == {1: "one"}


def test_pairs_fields_and_several_contents_are_put_together(
    snapshot: Callable[..., ProjectSnapshot], fetcher: Fetcher, state: ProjectState, pictures: MediaServer
) -> None:
    turns = json.dumps([{"author": "Anna", "text": "Hi"}]).encode()
    pictures.replies = {"/1": Reply(b"<p>one</p>"), "/2": Reply(turns)}
    data = {"a": f"{HOST}/1", "b": f"{HOST}/2", "note": "N"}
    lacking = {**data, "b": f"{HOST}/3"}

    pair = questions(PAGE, TURNS, '<Pairwise name="c" toName="h,p"/>')
    whole = brought(snapshot(pair, data, lacking), fetcher, state)
    assert whole.texts([1]) == {1: "one\n\x1e\nAnna: Hi"}
    assert [task.digest for task in whole.tasks.values()] == [digest("one\n\x1e\nAnna: Hi"), None]

    fields = questions(PAGE, CHOICES.format("c", "h")).with_fields(["note", "a"])
    whole = brought(snapshot(fields, data), fetcher, state)
    assert (whole.texts([1]), whole.tasks[1].digest) == ({1: "note: N\n\na: one"}, digest("note: N\n\na: one"))

    several = questions(TEXT, TURNS, NOTE, *(CHOICES.format(*names) for names in (("c", "t"), ("d", "p"), ("e", "n"))))
    described = snapshot(several, data, lacking)
    parts = brought(described, fetcher, state).by_question()
    assert [part.texts([1, 2]) for part in parts] == [
        {1: "<p>one</p>", 2: "<p>one</p>"},
        {1: "Anna: Hi"},
        {1: "N", 2: "N"},
    ]
    for part, control in zip(parts, several.controls, strict=True):
        texts = part.texts(part.tasks)
        assert {number: task.digest for number, task in part.tasks.items() if task.digest} == {
            number: digest(text) for number, text in texts.items()
        }
        # What the ML backend computes of a task that Label Studio sends.
        shown = {number: control.shown(one).text or "" for number, one in ((1, data), (2, lacking))}
        if control.has_links:
            assert part.sources == {number: digest(shown[number]) for number in texts}
    assert fetched(described, state).tasks[2].problem == "its text answers 404 (not found)"


def test_a_fetching_that_ends_early_goes_on_where_it_was(
    snapshot: Callable[..., ProjectSnapshot], fetcher: Fetcher, state: ProjectState, pictures: MediaServer
) -> None:
    pictures.anything = Reply(b"text")
    described = snapshot(ONE, *({"a": f"{HOST}/{number}"} for number in range(250)))

    class Ended(Reporter):
        def stage(self, *words: Any) -> Any:
            whole = super().stage(*words)

            class Stage:
                def __enter__(self) -> Stage:
                    whole.__enter__()
                    return self

                def __exit__(self, *error: Any) -> None:
                    whole.__exit__(*error)

                def count(self, done: int, total: int) -> None:
                    if done == 240:
                        raise KeyboardInterrupt

            return Stage()

    with pytest.raises(KeyboardInterrupt):
        bring_texts(described, fetcher, state, Ended())
    assert len(state.linked()) == 200
    brought(described, fetcher, state)
    assert len(state.linked()) == 250
    assert len(pictures.requests) <= 250 + 50 + 16


# -- the worst that a task or a host can do --------------------------------------------------------------------------


@pytest.fixture
def one(fetcher: Fetcher) -> Callable[[str], bytes | Failure]:
    """Fetches the text behind an address."""

    def fetch(address: str) -> bytes | Failure:
        ((_, found),) = fetcher.fetch({"only": Source(7, (address,))}, TEXTS)
        return found

    return fetch


@pytest.mark.parametrize("how", ["endless", "whole"])
def test_a_file_is_never_read_beyond_its_limit(
    one: Callable[[str], bytes | Failure], pictures: MediaServer, how: Any
) -> None:
    pictures.anything = Reply(b"a" * (LIMITS.bytes + 1), how=how)
    found = one(f"{HOST}/a.txt")
    assert isinstance(found, Failure)
    assert (found.cause, found.problem) == (TOO_LARGE, "its text is larger than 5 MB")


def test_a_compressed_file_is_no_text(one: Callable[[str], bytes | Failure], pictures: MediaServer) -> None:
    pictures.anything = Reply(b"\x1f\x8b", headers={"Content-Encoding": "gzip"})
    found = one(f"{HOST}/a.txt")
    assert isinstance(found, Failure)
    assert found.cause == UNREADABLE


def test_a_host_of_this_network_is_not_asked_for_a_text(make: Make, pictures: MediaServer) -> None:
    pictures.anything = Reply(b"secret")
    fetcher = make(limits=LIMITS, real_network=True)
    addresses = (f"http://127.0.0.1:{pictures.port}/", f"http://localhost:{pictures.port}/")
    found = dict(fetcher.fetch({address: Source(7, (address,)) for address in addresses}, TEXTS))
    assert {one.cause for one in found.values() if isinstance(one, Failure)} == {PRIVATE}
    assert pictures.requests == []


def test_a_redirect_into_this_network_is_not_followed(
    one: Callable[[str], bytes | Failure], internet: SmallInternet, pictures: MediaServer
) -> None:
    internet.add("metadata.example", pictures.port, "169.254.169.254")
    pictures.replies = {"/a": Reply(status=302, headers={"Location": "http://metadata.example/latest"})}
    found = one(f"{HOST}/a")
    assert isinstance(found, Failure)
    assert found.cause == PRIVATE
    assert pictures.paths == ["/a"]


def test_markup_that_nests_too_deeply_shows_no_words(
    snapshot: Callable[..., ProjectSnapshot], fetcher: Fetcher, state: ProjectState, pictures: MediaServer
) -> None:
    pictures.anything = Reply(b"<div>" * 200_000 + b"words")
    asked = questions(PAGE, CHOICES.format("c", "h"))
    whole = brought(snapshot(asked, {"a": f"{HOST}/deep.html"}), fetcher, state)
    assert (whole.tasks[1].digest, whole.tasks[1].problem) == (None, "its text has no words")
