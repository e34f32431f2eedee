"""A project of many tasks and annotations on a real Label Studio, built once in a directory and used again."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from connector.demo import servers, texts
from connector.demo.people import Person
from connector.demo.project import create_project_of
from connector.errors import ConnectorError

LOGIN = servers.Login("admin@example.com", "label-studio", "0123456789abcdef0123456789abcdef01234567")
PEOPLE = 20
TASKS_A_CALL = 2500


@dataclass(frozen=True)
class LargeProject:
    """A project of a running Label Studio, and who may label it: [(e-mail address, user id), …]."""

    id: int
    people: list[tuple[str, int]]


def large_project(
    directory: Path, label_studio: servers.Server, n_tasks: int, n_annotations: int, questions: int = 1
) -> LargeProject:
    """The project in `directory`, made now if it is not there yet. An annotation answers all `questions` alike.

    Its first tasks have labels of people with different error rates: one in two of the labelled tasks has two, the rest
    one, `n_annotations` in all. Raises ConnectorError when the directory holds a project of another size.
    """
    note = directory / "project.json"
    if note.exists():
        known = json.loads(note.read_text())
        if known["size"] != [n_tasks, n_annotations, questions]:
            raise ConnectorError(
                f"{directory} holds a project of {known['size']} tasks, annotations and questions: take another."
            )
        return LargeProject(known["id"], [(email, user) for email, user in known["people"]])
    people = []
    for number in range(PEOPLE):
        person = Person.sign_up(label_studio.url, f"annotator{number}@example.com")
        people.append((person.email, person.user_id))
        person.close()
    with servers.local_session() as api:
        api.headers["Authorization"] = f"Token {LOGIN.token}"
        project = create_project_of(label_studio, LOGIN, [texts.POLITE, texts.IMPOLITE])
        controls = [project.control, *(f"question{number}" for number in range(2, questions + 1))]
        further = "".join(
            f'<Choices name="{name}" toName="{project.text}"><Choice value="{texts.POLITE}"/>'
            f'<Choice value="{texts.IMPOLITE}"/></Choices>'
            for name in controls[1:]
        )
        config = project.config.replace("</View>", f"{further}</View>")
        path = f"{label_studio.url}/api/projects/{project.id}"
        api.patch(path, json={"label_config": config}, timeout=60).raise_for_status()
        rows = _rows(n_tasks, n_annotations, [user for _, user in people], controls, project.text)
        for start in tqdm(range(0, len(rows), TASKS_A_CALL), desc="Importing", unit_scale=TASKS_A_CALL, unit="task"):
            path = f"{label_studio.url}/api/projects/{project.id}/import"
            answer = api.post(path, json=rows[start : start + TASKS_A_CALL], timeout=3600)
            answer.raise_for_status()
    note.write_text(json.dumps({"id": project.id, "size": [n_tasks, n_annotations, questions], "people": people}))
    return LargeProject(project.id, people)


def _rows(n_tasks: int, n_annotations: int, users: list[int], controls: list[str], text: str) -> list[dict[str, Any]]:
    corpus = texts.generate(tasks=n_tasks, test=0, seed=0)
    two = n_annotations // 3  # so that as many tasks have one
    rows = []
    for number, (task, shown) in enumerate(corpus.tasks.items()):
        count = 2 if number < two else 1 if number < n_annotations - two else 0
        annotations = [
            {
                "completed_by": users[(number * 7 + index * 3) % len(users)],
                "ground_truth": False,
                "lead_time": 4.0,
                "result": [
                    {
                        "from_name": control,
                        "to_name": text,
                        "type": "choices",
                        "value": {"choices": [corpus.annotations[task][index][1]]},
                    }
                    for control in controls
                ],
            }
            for index in range(count)
        ]
        rows.append({"data": {"text": shown}, "annotations": annotations})
    return rows
