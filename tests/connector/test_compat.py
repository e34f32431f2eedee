"""Long lists, some at a time."""

import pytest

from connector._compat import batched


@pytest.mark.parametrize(
    ("count", "given"),
    [(0, []), (1, [[0]]), (3, [[0, 1, 2]]), (4, [[0, 1, 2], [3]]), (6, [[0, 1, 2], [3, 4, 5]])],
)
def test_batches_hold_all_in_order_and_no_more_than_they_may(count: int, given: list[list[int]]) -> None:
    assert [list(batch) for batch in batched(range(count), 3)] == given
