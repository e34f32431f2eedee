"""A day of two annotators on a project under our queue: whom it serves what, and that forms are blank."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from connector.annotations.label_config import find_questions
from support.browser_annotator import Album, Desk
from support.connector_commands import connector_process
from support.project_driver import ProjectDriver


@dataclass
class Day:
    """A project, its two annotators, and what they said.

    Attributes:
        title: The project's.
        contents: What its tasks show, in the order of their ids.
        keys: {class: the key that chooses it}.
        right: The class of a content.
        window_size: That of each sync.
        said: {content: {e-mail address: class}}, None for a skip.
        truths: Tasks with a ground truth. They are asked of anyone, though nobody has labelled them.
    """

    loop: ProjectDriver
    album: Album
    anna: Desk
    ben: Desk
    title: str
    contents: list[str]
    keys: dict[str, str]
    right: Callable[[str], str]
    window_size: int
    said: dict[str, dict[str, str | None]] = field(default_factory=dict)
    window: list[int] = field(default_factory=list)
    second_opinions: set[int] = field(default_factory=set)
    truths: set[int] = field(default_factory=set)
    suggested: dict[int, str] = field(default_factory=dict)  # what the form shows as chosen, by task

    def __post_init__(self) -> None:
        self.said = {content: {} for content in self.contents}

    def run(self, *arguments: str) -> str:
        """One of the commands, as cron or a person runs it."""
        done = connector_process(self.loop, *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def sync(self, *options: str) -> None:
        """One sync. From then on, people are to be served its window."""
        self.run("sync", "--project", str(self.loop.id), "--window", str(self.window_size), *options)
        slots = self.loop.state.window()
        self.window = [slot.task for slot in slots]
        self.second_opinions = {slot.task for slot in slots if slot.relabel}
        questions = find_questions(self.loop.project()["label_config"])
        found = {row["task"]: questions.read(row["result"]).label for row in self.loop.served() if row["result"]}
        self.suggested = {task: label for task, label in found.items() if label is not None}

    def content(self, task: int) -> str:
        """What a task shows."""
        return self.contents[self.loop.tasks.index(task)]

    def other(self, desk: Desk) -> Desk:
        """The other annotator."""
        return self.ben if desk is self.anna else self.anna

    def due(self, desk: Desk) -> int:
        """What the person is to be served: what they hold, or the window's first that nobody holds or they have had."""
        if desk.held is None:
            taken = {self.other(desk).held, *desk.seen}
            desk.held = next(task for task in self.window if task not in taken)
        return desk.held

    def expect_form(self, desk: Desk) -> int:
        """The person's form shows the task that is due, and nothing chosen but what we suggest. Returns the task."""
        task = self.due(desk)
        desk.expect_form(task, self.content(task), self.other(desk).email, self.suggested.get(task))
        return task

    def turn(self, desk: Desk, label: str | None = None, *, skip: bool = False) -> None:
        """The person answers the task before them by the keyboard, and is shown the next one."""
        task = self.expect_form(desk)
        content = self.content(task)
        if task in self.second_opinions:
            assert task in self.other(desk).seen | self.truths
            assert task not in self.suggested
        assert task not in desk.seen
        label = label or self.right(content)
        key = "" if skip or self.suggested.get(task) == label else self.keys[label]
        saved = desk.answer(key, "Control+Space" if skip else "Control+Enter")
        assert (saved["task"], saved["was_cancelled"]) == (task, skip)
        self.said[content][desk.email] = None if skip else label
        desk.seen.add(task)
        desk.held = None
        if not skip:
            self.window = [one for one in self.window if one != task]
        desk.expect_content(self.content(self.due(desk)))
