"""The project as it is now, whole and question by question."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Any

from connector._compat import batched
from connector.annotations.controls import Control
from connector.annotations.form.data import CONTENT_SEPARATOR
from connector.annotations.left_out import LeftOut, with_causes, without_content
from connector.annotations.objects.linked import links_in, with_texts
from connector.annotations.questions import Questions
from connector.annotations.records import Annotation, Task, digest, without_labels_of
from connector.formatting import count
from connector.state.rows import MachineLabel

Texts = Callable[[Iterable[int]], dict[int, str]]
LinkedTexts = Callable[[Iterable[str]], dict[str, str]]
ByMachine = Mapping[str, Mapping[int, MachineLabel]]

TEXTS_AT_ONCE = 5_000
_LINKED_AT_ONCE = 500  # texts, each of which may be long


@dataclass
class ProjectSnapshot:
    """The project as Label Studio has it now.

    Attributes:
        project: Its settings.
        questions: Those that are served. Labels and texts are joint ones, as `Questions` says.
        tasks: By id.
        versions: Number of predictions by model version.
        changed: Whether an annotation, a text or the set of tasks differs from the last sync.
        texts: Reads the texts of some tasks, {id: text}, because all of them are many times larger than the rest.
        key: The key of the model in the ML backend. "": that of the project.
        failed: {digest of a medium's address, or of a link: why it could not be fetched}. Such a medium or text counts
            as missing content.
        with_failed: The same project with these, and with links in place of texts. None: it is the same.
        read_machine_labels: Reads {machine: {task: its label}}, without those that cannot be read.
    """

    project: dict[str, Any]
    questions: Questions
    tasks: dict[int, Task]
    versions: dict[str, int]
    changed: bool
    texts: Texts
    key: str = ""
    failed: Mapping[str, str] = field(default_factory=dict)
    with_failed: ProjectSnapshot | None = None
    read_machine_labels: Callable[[], ByMachine] = dict

    def without_failed(self, failed: Mapping[str, str]) -> ProjectSnapshot:
        """The snapshot without these media and links, {digest of the address, or of the link: why}."""
        if not failed or not (self.questions.has_media or self.questions.has_links):
            return self
        texts = partial(self._texts_without, failed)
        return replace(self, tasks=self._without(failed), texts=texts, failed=failed, with_failed=self)

    def without_annotators(self, excluded: Collection[int], annotations: Collection[int]) -> ProjectSnapshot:
        """The snapshot without labels by these annotators, as `without_labels_of` says. Their annotations stay."""
        if not excluded:
            return self
        tasks = {number: without_labels_of(task, excluded, annotations) for number, task in self.tasks.items()}
        return replace(self, tasks=tasks)

    def with_linked(self, known: Mapping[str, str], read: LinkedTexts) -> ProjectSnapshot:
        """The snapshot with texts in place of links.

        Args:
            known: {digest of a link: digest of its text}. Other links stay.
            read: Reads the texts of some links, {digest of a link: text}.
        """
        if not known or not self.questions.has_links:
            return self
        tasks, texts = dict(self.tasks), partial(self._texts_with, read)
        if self.questions.read_alike:
            others = []  # their content is not a link alone
            for number, task in self.tasks.items():
                if task.digest is not None and task.digest in known:
                    tasks[number] = task._replace(digest=known[task.digest])
                elif task.digest is not None:
                    others.append(number)
            for part in batched(others, _LINKED_AT_ONCE):
                tasks |= {number: tasks[number]._replace(digest=digest(text)) for number, text in texts(part).items()}
        return replace(self, tasks=tasks, texts=texts, with_failed=self.complete)

    @property
    def complete(self) -> ProjectSnapshot:
        """The project as its tasks describe it, with links and with media that could not be fetched."""
        return self.with_failed or self

    def links(self) -> dict[str, tuple[str, int]]:
        """{digest of a link: the link as contents have it, and a task with it}."""
        found: dict[str, tuple[str, int]] = {}
        for part in batched(self.tasks if self.questions.has_links else (), TEXTS_AT_ONCE):
            for number, text in self.texts(part).items():
                for marked in links_in(text):
                    found.setdefault(digest(marked), (marked, number))
        return found

    @property
    def sources(self) -> dict[int, str]:
        """{task with content: the digest of what its data show, which has links in place of texts}."""
        described = self.complete.tasks
        return {number: described[number].digest or "" for number, task in self.tasks.items() if task.digest}

    @property
    def control(self) -> Control:
        """The control, of a project with one question or of a part of `by_question`."""
        (control,) = self.questions.controls
        return control

    @property
    def model_key(self) -> str:
        """The key of the model in the ML backend."""
        return self.key or str(self.project["id"])

    def by_question(self) -> list[ProjectSnapshot]:
        """A snapshot for each question, as if there were no other. Of a project with one, itself."""
        if not self.questions.several and not self.questions.missing:
            return [self]
        return [self._of(place) for place in range(len(self.questions.controls))]

    def answers_without_content(self) -> dict[str, list[int]]:
        """{control: annotations that answer it on a task that lacks what it is about}: no model learns from them."""
        incomplete = {number: task for number, task in self.tasks.items() if task.problem and task.annotations}
        if self.questions.read_alike or not incomplete:
            return {}
        found: dict[str, list[int]] = {name: [] for name in self.questions.names}
        for number, task in incomplete.items():
            for row, usable in zip(task.annotations, self.usable_tasks[number].annotations, strict=True):
                for name in _answered(row, self.questions) - _answered(usable, self.questions):
                    found[name].append(row.id)
        return {name: sorted(ids) for name, ids in found.items() if ids}

    @cached_property
    def machine_labels(self) -> ByMachine:
        """{machine: {task: its label}}, of the tasks that have content. Labels are joint ones as those of people."""
        return {
            name: {task: one for task, one in labels.items() if task in self.tasks and self.tasks[task].digest}
            for name, labels in self.read_machine_labels().items()
        }

    @cached_property
    def usable_tasks(self) -> dict[int, Task]:
        """The tasks with those answers alone that give a label. Everything that counts labels counts these."""
        return usable_tasks(self.tasks, self.questions, self.texts)

    def is_unfetched(self, problem: str) -> bool:
        """Whether the problem of a task is, or is among others, that something could not be fetched."""
        return any(cause in problem for cause in self._causes)

    @cached_property
    def _causes(self) -> set[str]:
        return set(self.failed.values())

    def left_out_sentences(self, left_out: LeftOut) -> list[str]:
        """What is left out of learning and of the queue. `left_out`: what is, of the tasks."""
        partly = {task: cause for task, cause in left_out.lacking.items() if self.is_unfetched(cause)}
        return [
            *left_out.sentences(self.questions.names, self.questions.content, hides=bool(self.questions.conditions)),
            *([f"a part of {count(len(partly), 'task')}: {with_causes(partly)}"] if partly else []),
            *without_content(self.answers_without_content()),
            *(f"the question {words}" for words in self.questions.not_served),
        ]

    def _without(self, failed: Mapping[str, str]) -> dict[int, Task]:
        """The tasks, with why media are missing. Those of which no content is left have no digest."""
        if self.questions.read_alike and not self.questions.has_links:
            digests = ((number, task.digest or "") for number, task in self.tasks.items())
            problems = {number: (failed[key], False) for number, key in digests if key in failed}
        else:
            problems = {}
            for part in batched(self.tasks, TEXTS_AT_ONCE):
                for number, joint in self.texts(part).items():
                    left, gone = self.questions.without_media(joint, failed)
                    if gone:
                        words = " and ".join(dict.fromkeys(filter(None, [self.tasks[number].problem, *gone])))
                        problems[number] = words, bool(left.replace(CONTENT_SEPARATOR, ""))
        tasks = dict(self.tasks)
        for number, (problem, is_left) in problems.items():
            task = tasks[number]
            tasks[number] = task._replace(digest=task.digest if is_left else None, problem=problem)
        return tasks

    def _texts_without(self, failed: Mapping[str, str], ids: Iterable[int]) -> dict[int, str]:
        """The joint texts of tasks, without media that could not be fetched."""
        texts = self.texts(ids)
        if self.questions.read_alike:
            return texts
        return {task: self.questions.without_media(joint, failed)[0] for task, joint in texts.items()}

    def _texts_with(self, read: LinkedTexts, ids: Iterable[int]) -> dict[int, str]:
        """The joint texts of tasks, with texts in place of links that were fetched."""
        texts = self.texts(ids)
        links = {marked: digest(marked) for text in texts.values() for marked in links_in(text)}
        found = read(links.values())
        known = {marked: found[key] for marked, key in links.items() if key in found}
        return {task: with_texts(text, known) for task, text in texts.items()}

    def _of(self, place: int) -> ProjectSnapshot:
        questions, control = self.questions, self.questions.controls[place]
        digests = None if questions.read_alike else self._digests(place)
        tasks = {
            number: task
            if digests is None and not task.annotations
            else task._replace(
                digest=task.digest if digests is None else digests.get(number),
                annotations=tuple(_of_question(row, questions, control.name) for row in task.annotations),
            )
            for number, task in self.tasks.items()
        }
        return replace(
            self,
            questions=Questions((control,)),
            tasks=tasks,
            texts=partial(self._texts, place),
            key=questions.model_key(self.project["id"], control.name),
            with_failed=self.with_failed._of(place) if self.with_failed and control.has_links else None,
            read_machine_labels=partial(self._machine_labels_of, control.name),
        )

    def _machine_labels_of(self, name: str) -> ByMachine:
        """The machines' answers to a question."""
        found: dict[str, dict[int, MachineLabel]] = {}
        for machine, labels in self.machine_labels.items():
            answers = ((task, one, self.questions.labels_of(one.label or "").get(name)) for task, one in labels.items())
            found[machine] = {task: one._replace(label=label) for task, one, label in answers if label is not None}
        return found

    def _texts(self, place: int, ids: Iterable[int]) -> dict[int, str]:
        texts = {task: self.questions.text_of(joint, place) for task, joint in self.texts(ids).items()}
        return {task: text for task, text in texts.items() if text is not None}

    def _digests(self, place: int) -> dict[int, str]:
        """{task: the digest of what the question's model reads}. A part of the texts is in memory at a time."""
        return {
            task: digest(text)
            for part in batched(self.tasks, TEXTS_AT_ONCE)
            for task, text in self._texts(place, part).items()
        }


def usable_tasks(tasks: Mapping[int, Task], questions: Questions, texts: Texts) -> dict[int, Task]:
    """The tasks, without answers to a question on a task that lacks what the question is about.

    No model learns from such an answer. An annotation without any other answer gives no label.

    Args:
        tasks: By id.
        questions: Those that are served.
        texts: Reads the texts of some tasks, {id: text}.
    """
    usable = dict(tasks)
    answered = [number for number, task in tasks.items() if task.annotations]
    for number in answered:
        if tasks[number].digest is None:
            usable[number] = _keep(tasks[number], questions, ())
    if questions.read_alike:
        return usable
    incomplete = [number for number in answered if tasks[number].digest is not None and tasks[number].problem]
    for part in batched(incomplete, TEXTS_AT_ONCE):
        for number, text in texts(part).items():
            names = [name for place, name in enumerate(questions.names) if questions.text_of(text, place) is not None]
            usable[number] = _keep(tasks[number], questions, names)
    return usable


def _keep(task: Task, questions: Questions, names: Collection[str]) -> Task:
    """The task with the answers to the questions `names` alone."""
    return task._replace(annotations=tuple(_with_answers(row, questions, names) for row in task.annotations))


def _with_answers(row: Annotation, questions: Questions, names: Collection[str]) -> Annotation:
    if row.label is None:
        return row
    labels = {name: label for name, label in questions.labels_of(row.label).items() if name in names}
    return row._replace(label=questions.joint(labels) if labels else None)


def _answered(row: Annotation, questions: Questions) -> set[str]:
    """The questions that an annotation answers."""
    return set() if row.label is None else set(questions.labels_of(row.label))


def _of_question(row: Annotation, questions: Questions, name: str) -> Annotation:
    return row if row.label is None else row._replace(label=questions.labels_of(row.label).get(name))
