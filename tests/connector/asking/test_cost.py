"""Tokens before and after, and a budget that requests at once do not exceed."""

from __future__ import annotations

import threading

import pytest

from connector.asking.cost import Ledger, OutOfBudget, Prices, Tokens, at_most, estimated

PRICES = Prices(2.0, 10.0)
SCHEMA = {"type": "object"}  # 18 characters


def test_prices_are_per_million() -> None:
    assert PRICES.cost(Tokens(500_000, 100_000)) == pytest.approx(2.0)


def test_an_estimate_is_four_characters_a_token() -> None:
    messages = [{"content": "a" * 100}, {"content": "é" * 22}]
    assert estimated(messages, SCHEMA, "b" * 9) == (35, 3)  # (100 + 22 + 18) / 4
    image = {"content": [{"type": "text", "text": "c" * 40}, {"type": "image_url", "image_url": {"url": "d" * 9999}}]}
    assert estimated([*messages, image], SCHEMA, "b" * 9) == (1045, 3)


def test_no_text_has_more_tokens_than_bytes() -> None:
    assert at_most([{"content": "é" * 10}], SCHEMA, 50) == (20 + 18 + 2 * 16, 50)


def test_a_budget_counts_what_is_under_way() -> None:
    ledger = Ledger(PRICES, 0.01)
    most = Tokens(1000, 200)  # 0.004
    ledger.reserve(most)
    ledger.reserve(most)
    ledger.answered(most, Tokens(1000, 200))
    ledger.answered(most, Tokens(1000, 200))
    with pytest.raises(OutOfBudget):
        ledger.reserve(most)
    assert (ledger.requests, ledger.tokens) == (2, (2000, 400))
    assert ledger.cost == pytest.approx(0.008)


def test_a_request_waits_for_those_under_way_if_they_may_cost_less() -> None:
    ledger = Ledger(PRICES, 0.01)
    most, got = Tokens(1000, 200), threading.Event()
    ledger.reserve(most)
    ledger.reserve(most)
    waiting = threading.Thread(target=lambda: (ledger.reserve(most), got.set()))
    waiting.start()
    assert not got.wait(0.1)
    ledger.answered(most, Tokens(500, 1))
    assert got.wait(10)
    waiting.join()


def test_what_was_refused_is_free_and_what_is_unknown_is_not() -> None:
    ledger = Ledger(PRICES, 0.01)
    most = Tokens(1000, 200)
    ledger.reserve(most)
    ledger.refused(most)
    ledger.reserve(most)
    ledger.unknown(most)
    ledger.reserve(most)
    ledger.unknown(most)
    assert (ledger.cost, ledger.lost) == (0.0, (2000, 400))
    assert ledger.lost_cost == pytest.approx(0.008)
    with pytest.raises(OutOfBudget):
        ledger.reserve(most)


def test_without_prices_nothing_is_limited() -> None:
    ledger = Ledger()
    ledger.reserve(Tokens(10**9, 10**9))
    ledger.answered(Tokens(10**9, 10**9), Tokens(1, 1))
    assert (ledger.cost, ledger.lost_cost, ledger.requests) == (None, None, 1)
