"""What tests of features share."""

import pytest

from ml_backend.features import device


@pytest.fixture
def single_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Computes as on a processor without bfloat16, so that vectors can be compared."""
    monkeypatch.setattr(device, "has_fast_bfloat16", lambda kind: False)
