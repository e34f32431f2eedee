"""Shares as options."""

import click
import pytest

from connector.cli.share import Share


@pytest.mark.parametrize(
    ("share", "taken", "refused"),
    [
        (Share(0.05), ["0", "0.3", "1"], ["-0.01", "1.01", "nan", "inf", "5%", ""]),
        (Share(0.05, 0.5), ["0", "0.5"], ["0.51", "nan"]),
        (Share(0.95, above_0=True), ["0.001", "1"], ["0", "-0.0", "1.01"]),
        (Share(0.02, above_0=True, below_most=True), ["1e-9", "0.999"], ["0", "1"]),
    ],
    ids=["audit", "gold", "target", "max-error"],
)
def test_only_shares_within_the_bounds_are_taken(share: Share, taken: list[str], refused: list[str]) -> None:
    assert [share.convert(text, None, None) for text in taken] == [float(text) for text in taken]
    for text in refused:
        with pytest.raises(click.BadParameter):
            share.convert(text, None, None)


@pytest.mark.parametrize(
    ("share", "bounds"),
    [
        (Share(0.05, 0.5), "of at least 0 and at most 0.5, such as 0.05."),
        (Share(0.95, above_0=True), "above 0 and at most 1, such as 0.95."),
        (Share(0.02, above_0=True, below_most=True), "above 0 and below 1, such as 0.02."),
    ],
    ids=["gold", "target", "max-error"],
)
def test_an_error_names_the_bounds_and_an_example(share: Share, bounds: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        share.convert("2.5", None, None)
    assert refused.value.message == f"'2.5' is not a share {bounds}"
