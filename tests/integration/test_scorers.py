"""Our scorer and cleanlab on a real project: `connector doctor` compares them, and a sync under either is the same."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Callable
from typing import Any

from support.doctor_helpers import FINE, findings, not_fine
from support.project_driver import Loop, connector, project_under_our_queue, texts

from connector.active_learning import activelab
from connector.active_learning.crowdlab import Floats, Labels
from connector.active_learning.window import Slot
from connector.demo.people import Person
from connector.diagnostics.scorer_check import Both, Looking, scorer
from connector.state.pull import look

People = Callable[[int], list[Person]]
Start = Callable[..., Loop]

start = project_under_our_queue
NOWHERE = "http://127.0.0.1:9"


class Wrong:
    """A scorer whose last score is wrong on purpose."""

    heard_consensus = staticmethod(activelab.heard_consensus)

    def scores(self, labels: Labels, pred_probs: Floats, pred_probs_unlabeled: Floats) -> tuple[Floats, Floats]:
        labeled, unlabeled = activelab.scores(labels, pred_probs, pred_probs_unlabeled)
        unlabeled[-1] += 0.2
        return labeled, unlabeled


def label(loop: Loop, people: People) -> None:
    """Three people label the first tasks, two of them each, and one of them differs now and then."""
    team = people(3)
    for index, task in enumerate(loop.tasks[:12]):
        for who in {index % 3, (index + 1) % 3} if index < 8 else {index % 3}:
            loop.label(team[who], task, "Impolite" if (index + (who == 2 and index % 4 == 0)) % 2 else "Polite")


def test_doctor_tells_how_far_our_scores_are_from_cleanlabs(start: Start, people: People) -> None:
    loop = start(texts(30))
    loop.sync()
    assert findings(loop)["scorer"].cause == "Nothing to compare with cleanlab: there are no labels yet."
    label(loop, people)
    assert findings(loop)["scorer"].cause == "Nothing to compare with cleanlab: the ML backend has no model yet."
    loop.sync()
    before, known = loop.dump(), loop.state.record()
    fine = findings(loop)["scorer"]
    assert fine.cause.startswith("Our scores are cleanlab's: the largest difference is ")
    assert fine.cause.endswith(" over 30 tasks.")
    assert not_fine(loop) == FINE
    assert (loop.dump(), loop.state.record()) == (before, known)
    away = connector(loop, "doctor", "--project", str(loop.id), ML_BACKEND_URL=NOWHERE)
    assert away.returncode == 3
    assert "Nothing to compare with cleanlab while the ML backend gives no probabilities." in away.stdout

    with contextlib.closing(Looking(loop.backend)) as backend:
        differs = scorer(loop.id, look(loop.id, loop.gateway, loop.state), backend, Both(Wrong()))
    assert differs.level == "warning"
    assert f"over 30 tasks the largest difference is 0.2, of task {loop.tasks[-1]} (" in differs.cause


def published(loop: Loop, train: str, **environment: str) -> tuple[dict[str, Any], list[Slot]]:
    """What a sync prints that has to publish, and the window."""
    loop.state.put(window_options=None)
    options = ("--train", train, "--window", "20", "--json")
    done = connector(loop, "sync", "--project", str(loop.id), *options, **environment)
    assert done.returncode == 0, done.stderr
    loop.assert_published()
    return json.loads(done.stdout), loop.state.window()


def test_a_sync_with_cleanlab_publishes_the_same_window(start: Start, people: People) -> None:
    loop = start(texts(30))
    label(loop, people)
    trained, _ = published(loop, "auto")
    assert trained["trained"]
    ours, window = published(loop, "never")
    theirs, the_same = published(loop, "never", CONNECTOR_SCORER="cleanlab")
    assert theirs["round"] == ours["round"] + 1
    assert theirs["queue_version"] != ours["queue_version"]
    assert theirs["model_version"] == ours["model_version"] == trained["model_version"]
    assert theirs["window"]["relabel"] > 0
    assert the_same == window
