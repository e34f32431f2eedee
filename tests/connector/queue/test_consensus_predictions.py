"""Which consensus labels a sync publishes: what is new, what differs enough, what is gone."""

from connector.queue.consensus_predictions import MOST_QUALITIES, QUALITY_STEP, Changes, Label, changed


def test_what_is_as_published_is_left_alone() -> None:
    known = {1: Label("a", 0.8), 2: Label("b", 0.5)}
    assert changed(known, known) == Changes([], [], [])
    assert changed(known, {1: Label("a", 0.8 + QUALITY_STEP / 2), 2: Label("b", 0.5)}) == Changes([], [], [])


def test_what_is_new_another_or_gone_is_told_apart() -> None:
    known = {1: Label("a", 0.8), 2: Label("b", 0.5), 3: Label("a", 0.9), 4: Label("a", 0.9)}
    wanted = {2: Label("a", 0.5), 3: Label("a", 0.7), 4: Label("a", 0.9), 6: Label("b", 0.6), 5: Label("b", 0.6)}
    assert changed(known, wanted) == Changes(new=[5, 6], other=[2, 3], gone=[1])


def test_qualities_that_moved_most_come_first_and_labels_always() -> None:
    count = MOST_QUALITIES + 10
    known = {task: Label("a", 0.0) for task in range(2 * count)}
    moved = {task: Label("a", 0.1 + task / 1000) for task in range(count)}
    turned = {task: Label("b", 0.0) for task in range(count, 2 * count)}
    assert changed(known, moved | turned).other == [*range(10, count), *range(count, 2 * count)]
