"""Accuracy on the test tasks, with the same request to the ML backend that Label Studio makes."""

from __future__ import annotations

import time
from dataclasses import dataclass

from connector._compat import batched
from connector.demo.servers import local_session
from connector.errors import ConnectorError

TASKS_A_CALL = 100


@dataclass(frozen=True)
class Measure:
    """The ML backend at `url`, a labelling config and `test` [(data of a task, label), …]."""

    url: str
    config: str
    test: list[tuple[dict[str, str], str]]

    def accuracy(self, project: str) -> float:
        """The share of test tasks that the current model of `project` (its key in the ML backend) labels correctly."""
        right = 0
        for part in batched(self.test, TASKS_A_CALL):
            answers = self._predict(project, [data for data, _ in part])
            right += sum(answer == label for answer, (_, label) in zip(answers, part, strict=True))
        return right / len(self.test)

    def _predict(self, project: str, rows: list[dict[str, str]]) -> list[str]:
        body = {
            "tasks": [{"id": number, "data": data} for number, data in enumerate(rows)],
            "project": f"{project}.{int(time.time())}",
            "label_config": self.config,
            "params": {"context": None},
        }
        with local_session() as session:
            response = session.post(f"{self.url}/predict", json=body, timeout=100)
        if not response.ok:
            raise ConnectorError(f"The ML backend answered {response.status_code} to /predict: {response.text[:300]}")
        return [
            entry["result"][0]["value"]["choices"][0] if entry["result"] else "" for entry in response.json()["results"]
        ]
