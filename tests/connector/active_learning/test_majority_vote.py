"""The majority vote, and how its ties are broken."""

from hypothesis import given
from hypothesis import strategies as st
from support.label_factory import labels_of

from connector.active_learning.consensus import TIE_WEIGHT, by_majority
from connector.active_learning.majority_vote import majority_vote


def test_the_class_most_annotators_chose_wins() -> None:
    rows = [(0, 0, 1), (0, 1, 1), (0, 2, 0), (1, 0, 0)]
    assert majority_vote(labels_of(rows)).tolist() == [1, 0]


def test_a_tie_goes_to_the_class_that_is_more_frequent_in_all_labels() -> None:
    rows = [(0, 0, 0), (0, 1, 1), (1, 0, 1), (2, 0, 1)]
    assert majority_vote(labels_of(rows)).tolist() == [1, 1, 1]


def test_a_full_tie_goes_to_the_class_that_comes_first() -> None:
    assert majority_vote(labels_of([(0, 0, 2), (0, 1, 1)], 3)).tolist() == [1]


def test_a_frequent_class_never_outvotes_a_majority() -> None:
    rows = [(0, 0, 0), (0, 1, 0), (0, 2, 1)] + [(task, 0, 1) for task in range(1, 50)]
    assert majority_vote(labels_of(rows))[0] == 0


def test_without_labels_there_are_no_consensus_labels() -> None:
    assert majority_vote(labels_of([])).shape == (0,)


CELLS = st.lists(
    st.tuples(st.integers(0, 5), st.integers(0, 4), st.integers(0, 2)), min_size=1, unique_by=lambda cell: cell[:2]
)


@given(CELLS)
def test_the_vote_is_always_a_class_with_the_most_votes(cells: list[tuple[int, int, int]]) -> None:
    place = {task: index for index, task in enumerate(sorted({task for task, _, _ in cells}))}
    rows = [(place[task], annotator, label) for task, annotator, label in cells]
    for task, chosen in enumerate(majority_vote(labels_of(rows, 3))):
        votes = [sum(row[0] == task and row[2] == label for row in rows) for label in range(3)]
        assert votes[chosen] == max(votes)


def test_what_won_a_tie_hardly_counts_in_a_training() -> None:
    # One label, two that agree, a tie, two against one, and a tie of three.
    each = ([0], [1, 1], [0, 1], [1, 1, 0], [0, 1, 2])
    rows = [(task, person, label) for task, given in enumerate(each) for person, label in enumerate(given)]
    found = by_majority(labels_of(rows, 3))
    assert found.weight is not None
    assert found.weight.tolist() == [1, 1, TIE_WEIGHT, 1, TIE_WEIGHT]
    assert 0 < TIE_WEIGHT < 0.1


def test_without_ties_and_with_nothing_but_ties_all_labels_count_alike() -> None:
    assert by_majority(labels_of([(0, 0, 1), (1, 0, 0)])).weight is None
    assert by_majority(labels_of([(0, 0, 1), (0, 1, 0), (1, 0, 0), (1, 1, 1)])).weight is None
    assert by_majority(labels_of([])).weight is None
