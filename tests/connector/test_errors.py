"""Exit codes of several errors at once."""

import pytest

from connector.errors import gravest_exit_code


@pytest.mark.parametrize(
    ("codes", "gravest"),
    [([], 0), ([0, 0], 0), ([0, 3], 3), ([3, 2, 0], 2), ([3, 1, 2], 1)],
)
def test_the_exit_code_of_several_errors_is_that_of_the_gravest(codes: list[int], gravest: int) -> None:
    assert gravest_exit_code(codes) == gravest
