"""`connector sync --gold` on a real Label Studio: gold tasks look like any other, each person gets each once."""

from __future__ import annotations

import json
from typing import Any

from support.connector_commands import connector
from support.label_studio_server import Annotators
from support.project_driver import ProjectDriver, StartProject, texts

from connector.demo.people import Person


def imported(text: str, label: str) -> dict[str, Any]:
    """A task to import with an annotation, which Label Studio marks as ground truth."""
    region = {"from_name": "politeness", "to_name": "text", "type": "choices", "value": {"choices": [label]}}
    return {"data": {"text": text}, "annotations": [{"result": [region]}]}


def run(loop: ProjectDriver, command: str, *options: str) -> dict[str, Any]:
    done = connector(loop, command, "--project", str(loop.id), "--json", *options)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def shape(value: Any) -> Any:
    """The keys of what Label Studio serves, without its values."""
    if isinstance(value, dict):
        return {name: shape(part) for name, part in sorted(value.items())}
    return [shape(part) for part in value[:1]] if isinstance(value, list) else None


def served(loop: ProjectDriver, person: Person, count: int) -> list[dict[str, Any]]:
    """What the person is served in turn, each answered by its text."""
    tasks = []
    for _ in range(count):
        task = person.next_task(loop.id)
        assert task is not None
        tasks.append(task)
        rude = "Fix section" in task["data"]["text"]
        person.submit(task, "politeness", "text", "Impolite" if rude else "Polite")
    return tasks


def test_gold_tasks_look_like_any_other_and_each_person_gets_each_once(start: StartProject, people: Annotators) -> None:
    words = texts(50)
    gold = [imported(text, "Impolite" if number % 2 else "Polite") for number, text in enumerate(words[:2])]
    loop = start([*gold, *words[2:]])
    judges, (first, other) = loop.tasks[:2], people(2)
    for number, task in enumerate(loop.tasks[2:14]):
        loop.label((first, other)[number % 2], task, "Impolite" if number % 2 else "Polite")
    run(loop, "sync", "--gold", "0.2", "--window", "10")
    assert set(judges) <= set(loop.window)
    loop.assert_published()

    seen: list[int] = []
    for person in (first, other):
        tasks = served(loop, person, 8)
        ids = [task["id"] for task in tasks]
        mine = [task for task in tasks if task["id"] in judges]
        plain = [task for task in tasks if task["id"] not in judges]
        assert mine, "everyone is asked for gold"
        assert len(set(ids)) == len(ids)
        for task in mine:
            # Who has reopened it is there, as with every second opinion.
            assert shape({**task, "updated_by": []}) == shape({**plain[0], "updated_by": []})
            assert not [row for row in task["annotations"] if row["ground_truth"]]
            assert "gold" not in json.dumps({**task, "data": None})
        seen += [task["id"] for task in mine]
        run(loop, "sync", "--gold", "0.2", "--window", "10")
    assert seen
    found = {one["email"]: one for one in run(loop, "status")["annotators"]}
    assert all(found[person.email]["on_truth"] >= 1 for person in (first, other))
    assert all(found[person.email]["right_on_truth"] == found[person.email]["on_truth"] for person in (first, other))
