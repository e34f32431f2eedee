"""The events that a real Label Studio sent (tests/ml_backend/webhooks/README.md), and what a server does with them."""

import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from ml_backend.features.encoder import Encoder
from ml_backend.jobs.records import Job
from ml_backend.labeling.label_config import find_conditions, find_controls
from ml_backend.labeling.webhook import WebhookHandler
from ml_backend.project import Projects
from ml_backend.settings import Settings
from ml_backend.training.request import TrainingRequest
from support import ROOT

RECORDED = {
    path.stem: json.loads(path.read_text()) for path in (ROOT / "tests" / "ml_backend" / "webhooks").glob("*.json")
}
EVENTS = {name: body for name, body in RECORDED.items() if "action" in body}
ANNOTATED, BUTTON = EVENTS["annotation_created"], EVENTS["start_training"]
CLASSES = ["Polite", "Impolite"]
TOPICS = """<View><Text name="t" value="$text"/><Choices name="topics" toName="t" choice="multiple" {}>
<Choice value="rain"/><Choice value="price"/><Choice value="noise"/></Choices></View>"""
QUESTION = '<View><Text name="t" value="$text"/><Choices name="politeness" toName="t">{}</Choices></View>'


def question(*classes: str) -> str:
    return QUESTION.format("".join(f'<Choice value="{name}"/>' for name in classes))


class EventHarness:
    """Events handled on an empty model directory; the trainings that they would start are in `started`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        settings = Settings(model_dir=directory)
        self.started: list[tuple[str, TrainingRequest]] = []
        self.projects = Projects(settings, Encoder(settings.encoder))
        self.events = WebhookHandler(settings, self.projects, find_controls, find_conditions, self._start)

    def _start(self, project: str, request: TrainingRequest) -> Job:
        self.started.append((project, request))
        return Job(f"job-{len(self.started)}")

    def send(self, body: Any) -> dict[str, Any]:
        return self.events.handle(body if isinstance(body, bytes) else json.dumps(body).encode())

    def annotate(self, number: int, item: int, *choices: str, text: str = "", config: str = "", **changes: Any) -> None:
        """An event as the recorded one, of another annotation."""
        event = deepcopy(EVENTS["annotation_created"])
        event["project"]["label_config"] = config or question("Polite", "Impolite")
        (name,) = (control.name for control in find_controls(event["project"]["label_config"]))
        region = {"from_name": name, "to_name": "t", "type": "choices", "value": {"choices": list(choices)}}
        event["annotation"] |= {"id": number, "task": item, "result": [region] if choices else [], **changes}
        event["task"] |= {"id": item, "data": {"text": text or f"text {item}"}}
        assert self.send(event) == {}

    def train(self, config: str = "") -> TrainingRequest:
        """The button, after which a training is started."""
        event = deepcopy(EVENTS["start_training"])
        event["project"]["label_config"] = config or question("Polite", "Impolite")
        assert self.send(event) == {"job": f"job-{len(self.started)}"}
        return self.started[-1][1]

    def trained(self, config: str = "") -> dict[str, Any]:
        """The button: {text: names} of what would be trained on."""
        request = self.train(config)
        texts = self.dataset.texts(request.digests)
        names = [
            [request.classes[index] for index in label] if isinstance(label, tuple) else request.classes[label]
            for label in request.labels
        ]
        return dict(zip((texts[key] for key in request.digests), names, strict=True))

    @property
    def dataset(self) -> Any:
        return self.projects.create("1").dataset

    def known(self) -> list[tuple[int, dict[str, list[str]]]]:
        """Item and answers of all annotations that are remembered, skips left out."""
        return [(row.item, row.answers) for row in self.dataset.annotations("text")]
