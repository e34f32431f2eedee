"""The causes are few, and the page for users has them all."""

import re

import pytest
from support import ROOT

from connector.media import Failure, Limits
from connector.media.failures import CAUSES, Unusable

PAGE = (ROOT / "docs" / "media.md").read_text()


def test_every_cause_is_on_the_page() -> None:
    rows = re.findall(r"^\| `([\w ]+)` \|", PAGE, re.MULTILINE)
    assert set(rows) >= CAUSES
    assert {cause for cause in rows if not cause.isdigit()} == CAUSES


def test_the_limits_are_on_the_page() -> None:
    limits = Limits()
    for words in (
        f"{limits.bytes // 1_000_000} MB",
        f"{limits.seconds:g} s",
        f"{limits.redirects} redirects",
        f"{limits.pixels // 1_000_000} million pixels",
        f"{limits.pages} pages",
        f"{limits.failures_in_a_row} files",
        f"{limits.channels} channels",
        f"{limits.sample_rates[0]:,} to {limits.sample_rates[1]:,} samples per second",
    ):
        assert words in PAGE


@pytest.mark.parametrize("cause", ["", "4040", "gone", "No image"])
def test_there_are_no_other_causes(cause: str) -> None:
    with pytest.raises(AssertionError):
        Unusable(cause, "is gone")


def test_a_failure_is_two_texts() -> None:
    assert Failure("404", "its image answers 404 (not found)")._asdict().keys() == {"cause", "problem", "address"}
