"""cleanlab as it is on integer labels."""

import pytest
from cleanlab.internal import multiannotator_utils


@pytest.fixture
def integer_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    """cleanlab counts a task's labels as integers, and so under their own classes.

    On floating-point numbers, as a table with gaps has them, it counts them in the first columns.
    """
    count = multiannotator_utils.value_counts
    monkeypatch.setattr(
        multiannotator_utils, "value_counts", lambda labels, **options: count(labels.astype(int), **options)
    )
