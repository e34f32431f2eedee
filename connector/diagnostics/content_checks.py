"""Doctor's checks of what people label and answer: texts, choices, and annotations that give no label."""

from __future__ import annotations

import shlex
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

from connector.annotations.controls import Control
from connector.annotations.form.regions import quoted
from connector.annotations.label_config import servable
from connector.annotations.left_out import LeftOut, no_text_at_all, with_causes, without_content
from connector.annotations.questions import Questions
from connector.annotations.records import UNSHOWN, Annotation
from connector.diagnostics.finding import Finding, ok, warning
from connector.formatting import count, listed, verb, with_article
from connector.state.snapshot import ProjectSnapshot

SAMPLE = 20  # tasks whose keys a message names
# Label Studio 1.23.2 reads the old result when an annotation is changed or deleted, and answers 500 to these. A PATCH
# fails before it writes, a DELETE afterwards.
_NOT_TO_BE_CHANGED = ("its value is", "its type is", "its result ")


def served(questions: Questions, project: Mapping[str, Any]) -> Finding:
    """Are the questions in the labelling config that init set up, and no others?"""
    named = questions.described
    init = f"connector init --project {project['id']}"
    more = [name for name in servable(project["label_config"]) if name not in questions.names]
    others = " and ".join(f"'{name}'" for name in more)
    every = " ".join(f"--control {shlex.quote(name)}" for name in [*questions.names, *more])
    if questions.missing:
        gone = " and ".join(f"'{name}'" for name in questions.missing)
        back = f"Put {gone} back" if not any(questions.missing.values()) else f"Make {gone} as before"
        instead = f"do without it, and serve {others}" if more else "do without it"
        return warning(
            "adopted",
            f"Set up for {named} and {' and '.join(questions.not_served)}. Its labels do not count now.",
            f"{back} in Settings, Labeling Interface. Or {instead}: {init} {every}",
        )
    if not more:
        return ok("adopted", f"Set up for {named}.")
    return ok("adopted", f"Set up for {named}. To serve {others}, too: {init} {every}")


def texts(pulled: ProjectSnapshot, url: str, data_keys: Callable[[Collection[int]], list[str]]) -> Finding:
    """Are there tasks without a text, or without the address of a medium?

    `url`: Label Studio's address. `data_keys` gives the keys that the data of some tasks has.
    """
    questions, left_out = pulled.questions, LeftOut.of(pulled.tasks.values())
    noun = with_article(questions.content)
    # What could not be fetched may be there next time. It has a finding of its own.
    without = {task: cause for task, cause in left_out.without_text.items() if not pulled.is_unfetched(cause)}
    unanswerable = [task for task in left_out.answered if task in without]
    if not pulled.tasks:
        return warning(
            "texts",
            "The project has no tasks.",
            f"Import some in Label Studio. Then run connector sync --project {pulled.project['id']}.",
        )
    lacking = {task: cause for task, cause in left_out.lacking.items() if not pulled.is_unfetched(cause)}
    partial = f"{count(len(lacking), 'task')} {_have(lacking)} only a part of what models read: {with_causes(lacking)}."
    other_keys = (
        "If this is not meant, correct the tasks' data, or name other keys: "
        f"connector init --project {pulled.project['id']} --fields KEYS."
    )
    if not without and lacking:
        return warning("texts", partial, other_keys)
    if not without and (unfetched := len(left_out.without_text)):
        # The check `media` says why.
        return ok("texts", f"No task lacks {noun}, but that of {count(unfetched, 'task')} is not there: see media.")
    if not without:
        return ok(
            "texts",
            f"All {len(pulled.tasks):,} tasks have {noun}." if len(pulled.tasks) != 1 else f"The task has {noun}.",
        )
    named = (
        f"{count(len(without), 'task')} {_have(without)} no {questions.content} and will never be asked for: "
        f"{with_causes(without)}."
    )
    remedies = []
    if len(without) == len(pulled.tasks):
        remedies.append(no_text_at_all(questions, data_keys(list(without)[:SAMPLE]), pulled.project["id"]))
    if unanswerable:
        answered = with_causes(dict.fromkeys(unanswerable, ""))
        named += f" {count(len(unanswerable), 'task')} of them {_have(unanswerable)} annotations ({answered})."
        remedies.append(f"Keep the tasks that have annotations. To use those, give the tasks {noun}:")
    elif len(without) < len(pulled.tasks):
        which = "them" if not lacking else f"those without {noun}"
        remedies.append(f"Delete {which} in the Data Manager, or give them {noun}:")
    if len(remedies) == 0 or remedies[-1].endswith(":"):
        remedies.append(f"PATCH {url}/api/tasks/ID/ with the data they lack.")
    if UNSHOWN in without.values():
        remedies.append(
            "The Data Manager cannot show those that Label Studio cannot show, nor tasks beside them: "
            f"DELETE {url}/api/tasks/ID/, or PATCH it with other data."
        )
    if lacking:
        named += f" {partial}"
        remedies.append(f"Keep those that have a part: they are asked for. {other_keys}")
    return warning("texts", named, " ".join(remedies))


def choices(pulled: ProjectSnapshot) -> Finding:
    """Are there choices in the labelling config, or in annotations, that are no classes?"""
    unknown, questions = LeftOut.of(pulled.tasks.values()).unknown, pulled.questions
    remedies = questions.notes
    if not unknown and not remedies:
        return ok("choices", f"All answers in annotations are in the labelling config ({_classes(questions)}).")
    if not unknown:
        return warning("choices", "The labelling config has a choice that is no class.", " ".join(remedies))
    by_control = [(control, _about(control, unknown.values(), questions)) for control in questions.controls]
    concerned = [(control, answers) for control, answers in by_control if answers]
    effect = f"{verb(len(unknown), 'It counts', 'They count')} as no label."
    if any(control.multiple for control, _ in concerned):
        effect = "Such answers are left out of the set, and a set of nothing else counts as no label."
    ways = dict.fromkeys(way for control, answers in concerned for way in _ways_back(control, answers))
    what = "an answer that the labelling config does not have"
    if ways.keys() == {Control.way_back_of_inner}:
        what = "an answer that cannot be chosen any more"
    remedies.append(f"{' '.join(ways)} Then run connector sync --project {pulled.project['id']}.")
    return warning(
        "choices",
        f"{count(len(unknown), 'annotation')} {_have(unknown)} {what}: {with_causes(unknown)}. {effect}",
        " ".join(remedies),
    )


def _about(control: Control, unknown: Iterable[str], questions: Questions) -> list[str]:
    """The unknown answers that are about a control. With several questions, they begin with its name."""
    return [answer for answer in unknown if not questions.several or f"{control.name}: " in answer]


def _ways_back(control: Control, answers: Sequence[str]) -> list[str]:
    """What can be done about unknown answers in a control."""
    of_inner = [answer for answer in answers if any(quoted(name) in answer for name in control.inner)]
    ways = [control.way_back_of_inner] if of_inner else []
    return ways if len(of_inner) == len(answers) else [*ways, control.way_back]


def answers(pulled: ProjectSnapshot, url: str) -> Finding:
    """Do the annotations give labels? `url`: Label Studio's address."""
    rows = [row for task in pulled.tasks.values() for row in task.annotations if not row.skipped]
    if not rows:
        return ok("answers", "There are no annotations yet.")
    left_out = LeftOut.of(pulled.tasks.values())
    usable = [row for task in pulled.usable_tasks.values() for row in task.annotations if row.label is not None]
    blank = dict.fromkeys(left_out.unanswered, "")
    parts = [f"{len(usable):,} of {count(len(rows), 'annotation')} {verb(len(usable), 'gives', 'give')} a label"]
    if pulled.questions.several:
        parts.append(_by_question(usable, pulled))
    if left_out.unreadable:
        parts.append(
            f"{count(len(left_out.unreadable), 'annotation')} {_have(left_out.unreadable)} an answer that cannot be "
            f"read: {with_causes(left_out.unreadable)}"
        )
    if left_out.unknown:
        parts.append(f"{count(len(left_out.unknown), 'annotation')} {_have(left_out.unknown)} an unknown answer")
    if blank:
        names = " or ".join(f"'{name}'" for name in pulled.questions.names)
        shown = " that the form shows" if pulled.questions.conditions else ""
        parts.append(
            f"{count(len(blank), 'annotation')} {_have(blank)} no answer in {names}{shown}: {with_causes(blank)}"
        )
    if left_out.excluded:
        parts.append(
            f"{count(len(left_out.excluded), 'annotation')} {verb(len(left_out.excluded))} by annotators whom init "
            "--exclude leaves out"
        )
    if left_out.answered:
        bare = f"{count(len(left_out.answered), 'task')} with annotations {_have(left_out.answered)}"
        parts.append(f"{bare} no {pulled.questions.content}")
    cause = f"{'. '.join(parts)}."
    # Unknown choices and tasks without a text have findings of their own.
    if not left_out.unreadable and 2 * len(blank) <= len(rows):
        return ok("answers", cause)
    number, task = min((row.id, row.task) for row in rows if row.unreadable or row.id in blank)
    page = f"{url}/projects/{pulled.project['id']}/data?task={task}"
    if number in left_out.unreadable and pulled.questions.several:
        remedy = (
            f"Correct annotation {number} at {page}, or PATCH {url}/api/annotations/{number}/ with a result that the "
            "form could submit. Deleting it would also delete its answers to the other questions."
        )
    elif number in left_out.unreadable:
        remedy = (
            f"Delete annotation {number} at {page}, where Label Studio may show an error in its place, and answer the "
            "task again. "
        )
        if any(cause in left_out.unreadable[number] for cause in _NOT_TO_BE_CHANGED):
            remedy += f"Or DELETE {url}/api/annotations/{number}/, which deletes it even if the answer is 500."
        else:
            remedy += f"Or PATCH {url}/api/annotations/{number}/ with a result that the form could submit."
    else:
        remedy = f"Look at annotation {number} at {page} and answer the task again."
    if len(left_out.unreadable) > 1:
        remedy += " Treat the others alike, each on the page of its task."
    return warning(
        "answers",
        cause,
        f"{remedy} If many are like that, the labelling config has changed, or people answer another control. To use "
        f"that one, run connector init --project {pulled.project['id']} --control NAME.",
    )


def _by_question(rows: Collection[Annotation], pulled: ProjectSnapshot) -> str:
    """How many of these annotations, which give a label, answer each question."""
    questions = pulled.questions
    answered = Counter(name for row in rows if row.label is not None for name in questions.labels_of(row.label))
    counted = ", ".join(f"'{name}' has {count(answered[name], 'label')}" for name in questions.names)
    return ". ".join([counted, *without_content(pulled.answers_without_content())])


def _classes(questions: Questions) -> str:
    """The classes, of several questions with their names."""
    return questions.described if questions.several else listed(questions.controls[0].classes)


def _have(items: Collection[int]) -> str:
    return verb(len(items), "has", "have")
