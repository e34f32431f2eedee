"""Answers of models are kept, and each question is claimed by one process at a time."""

from __future__ import annotations

import subprocess
import sys

from connector.state import lock, schema
from connector.state.machine_answers import Answer
from connector.state.project_state import ProjectState, State

ANSWER = Answer("Polite", "", 0.75, 120, 7)


def test_an_answer_is_kept_by_its_key(state_url: str) -> None:
    state = State(state_url)
    one, other = state.project("http://studio", 7), state.project("http://studio", 8)
    assert one.claim_answer("k1") is not None
    assert one.machine_answers(["k1"]) == {}
    one.store_answer("k1", ANSWER)
    without = Answer(None, "its answer is empty", None, 5, 0)
    assert one.claim_answer("k2") is not None
    one.store_answer("k2", without)
    assert one.machine_answers(["k1", "k2", "k3"]) == {"k1": ANSWER, "k2": without}
    assert other.machine_answers(["k1"]) == {}
    one.forget_adoption()
    assert one.machine_answers(["k1"]) == {"k1": ANSWER}
    state.close()


def test_a_question_is_asked_by_one_process_at_a_time(state_url: str) -> None:
    state = State(state_url)
    one = state.project("http://studio", 7)
    claim = one.claim_answer("k")
    assert claim is not None
    assert one.claim_answer("k") is None
    one.release_answer("k", "another claim")
    assert one.claim_answer("k") is None
    one.release_answer("k", claim)
    assert one.claim_answer("k") is not None
    one.store_answer("k", ANSWER)
    assert one.claim_answer("k") is None
    assert one.claim_answer("k", again=True) is not None
    assert one.machine_answers(["k"]) == {}
    state.close()


def test_the_claim_of_a_dead_process_or_of_long_ago_is_taken_over(state: ProjectState) -> None:
    code = "from connector.state.lock import new_holder; print(new_holder())"
    dead = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
    assert state.claim_answer("k") is not None
    with state._engine.begin() as db:
        db.execute(schema.machine_answers.update().values(holder=dead))
    assert state.claim_answer("k") is not None
    with state._engine.begin() as db:
        db.execute(schema.machine_answers.update().values(holder="elsewhere:1:b/n/s/r"))
    assert state.claim_answer("k") is None
    with state._engine.begin() as db:
        db.execute(schema.machine_answers.update().values(at=schema.machine_answers.c.at - lock.LOCK_SECONDS - 1))
    assert state.claim_answer("k") is not None
