"""Whatever call to the ML backend fails, or is a sync's last; and people who label while both servers fail."""

from __future__ import annotations

import dataclasses
import random
from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest
from support.fault_proxy import ANSWER_500, ANSWER_502, CUT_AFTER, CUT_BEFORE, KILL_AFTER
from support.fault_scenarios import CALLS, OPTIONS, WINDOW, Probes, Stage, Stages, by_day, sdk_warning
from support.label_studio_server import Annotators
from support.watched_queue import Expected

from connector.errors import TryAgainLater

pytestmark = sdk_warning

TRAINING = ("check health", "put items", "send texts", "read probabilities", "train", "watch training")
FAULTS = (ANSWER_500, CUT_AFTER, KILL_AFTER)
FAULT_BY_DAY = {"put items": CUT_AFTER, "train": CUT_AFTER, "watch training": KILL_AFTER}  # the others: ANSWER_500


@pytest.fixture(scope="module")
def training(stages: Stages) -> Stage:
    """The project, which is to be trained anew.

    Labels count in a training by what the model before it says, and no snapshot brings that model back: trained until
    the outcome stays, since a fault adds trainings.
    """
    stage = dataclasses.replace(stages.warm, options={**OPTIONS, "train": "always"})
    outcomes: list[dict[str, Any]] = []
    while len(outcomes) < 3 or not outcomes[-1] == outcomes[-2] == outcomes[-3]:
        assert len(outcomes) < 10
        stage.begin()
        stage.sync()
        outcomes.append(stage.outcome())
    return dataclasses.replace(stage, wanted=outcomes[-1])


@pytest.mark.parametrize(
    ("kind", "fault"),
    [
        pytest.param(kind, fault, marks=by_day(fault == FAULT_BY_DAY.get(kind, ANSWER_500)))
        for kind in TRAINING
        if kind != "send texts"
        for fault in FAULTS
    ],
)
def test_sync_after_one_that_failed_at_the_backend(training: Stage, kind: str, fault: str) -> None:
    probes = training.begin()
    training.fail(training.backend, kind, 1, fault)
    assert training.sync()["trained"]
    training.check(probes)


@pytest.mark.parametrize(
    "fault", [CUT_AFTER, *(pytest.param(one, marks=by_day(False)) for one in (ANSWER_500, KILL_AFTER))]
)
def test_sync_after_one_that_failed_while_texts_were_sent(training: Stage, fault: str) -> None:
    def begin() -> Probes:
        probes = training.begin()
        # The backend keeps what it was sent: each time a text that it has never had.
        row = {"text": f"Could you send this only once, please: {fault}?"}
        training.loop.call("POST", f"/api/projects/{training.loop.id}/import", json=[row])
        return probes

    probes = begin()
    training.fail(training.backend, "send texts", 1, fault)
    training.sync()
    outcome = training.outcome()
    assert probes.unserved == []
    begin()
    training.sync()
    assert training.outcome() == outcome


@pytest.mark.parametrize(
    "fault", [ANSWER_500, *(pytest.param(one, marks=by_day(False)) for one in (CUT_AFTER, KILL_AFTER))]
)
def test_sync_after_one_that_failed_before_anybody_had_labelled(stages: Stages, fault: str) -> None:
    probes = stages.cold.begin()
    stages.cold.fail(stages.cold.backend, "spread", 1, fault)
    stages.cold.sync()
    stages.cold.check(probes)


@pytest.mark.parametrize(
    "fault", [CUT_AFTER, *(pytest.param(one, marks=by_day(False)) for one in (ANSWER_500, ANSWER_502, CUT_BEFORE))]
)
def test_sync_recovers_by_itself_when_calls_to_the_backend_fail_once(training: Stage, fault: str) -> None:
    probes = training.begin()
    # A training is not asked for twice.
    calls = {(kind, 1): fault for kind in TRAINING if kind not in ("send texts", "train")}
    training.backend.fault(calls)
    assert training.sync()["trained"]
    assert set(training.backend.hit) == calls.keys()
    training.check(probes)


def test_people_go_on_labelling_while_syncs_fail_wherever_they_may(stages: Stages, people: Annotators) -> None:
    stage = dataclasses.replace(stages.wide, options={"window": WINDOW})
    stage.begin()
    loop = stage.loop
    team, chance = people(3), random.Random(5)
    written: list[tuple[int | None, int, str]] = []
    refused: list[str] = []

    def turn() -> None:
        person = team[len(written) % 3]
        label = chance.choice(["Polite", "Impolite"])
        written.append((loop.turn(person, label), person.user_id, label))

    def around(kind: str, hit: bool) -> None:
        if hit:
            try:
                turn()
            except Exception as error:  # in the proxy's thread nobody would hear of it
                refused.append(f"{kind}: {error!r}")

    stage.label_studio.around = stage.backend.around = around
    failed = 0
    for patient in [True, False] * 3:
        turn()
        stage.label_studio.fault(some_faults(chance, CALLS), outage=not patient)
        stage.backend.fault(some_faults(chance, TRAINING), outage=not patient)
        try:
            stage.sync(patient=patient)
        except TryAgainLater:
            failed += 1
        turn()
    assert failed > 1
    assert refused == []
    assert [row for row in written if row[0] is None] == []
    stage.label_studio.mend()
    stage.backend.mend()
    stage.sync()

    loop.assert_published()
    stage.check_versions()
    found = [
        (row["task"], row["completed_by"], row["result"][0]["value"]["choices"][0])
        for _, row in sorted(loop.annotations().items())
    ]
    assert found == written
    known = {task.id: len(task.annotations) for task in loop.state.tasks().values()}
    assert known == {**dict.fromkeys(loop.tasks, 0), **Counter(task for task, _, _ in found)}
    expected = Expected(loop)
    for person in (*team, *team):
        assert loop.turn(person) == expected.turn(person)


def some_faults(chance: random.Random, kinds: Iterable[str]) -> dict[tuple[str, int], str]:
    """A fault at a third of the kinds, for one of their first three calls."""
    faults = (ANSWER_500, ANSWER_502, CUT_BEFORE, CUT_AFTER)
    return {(kind, chance.randint(1, 3)): chance.choice(faults) for kind in kinds if chance.random() < 1 / 3}
