"""How many tokens requests have and what they cost, before and after. Does no I/O."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

CHARACTERS_PER_TOKEN = 4  # a usual figure for English. Only an estimate
IMAGE_TOKENS = 1_000  # of a small copy of an image. Models differ widely
# No token is shorter than a byte, so a text never has more tokens than bytes. For images there is no such limit.
_MOST_IMAGE_TOKENS = 10_000
_MESSAGE_TOKENS = 16  # what a server may put around each message
_MILLION = 1_000_000


class OutOfBudget(Exception):
    """A request could cost more than is left of the budget."""


class Tokens(NamedTuple):
    """Tokens that are sent and that come back."""

    into: int
    out: int


NO_TOKENS = Tokens(0, 0)


class Prices(NamedTuple):
    """Prices of a million tokens that are sent, and of a million that come back, in any currency."""

    into: float
    out: float

    def cost(self, tokens: Tokens) -> float:
        """What so many tokens cost."""
        return (tokens.into * self.into + tokens.out * self.out) / _MILLION


def estimated(messages: Iterable[Mapping[str, Any]], schema: Mapping[str, Any], answer: str) -> Tokens:
    """About how many tokens a request has, by the number of characters.

    Args:
        messages: What is sent.
        schema: The form of answers, which servers count, too.
        answer: An answer of usual length.
    """
    texts, images = _contents(messages)
    characters = sum(map(len, texts)) + len(json.dumps(schema, ensure_ascii=False))
    return Tokens(_in_tokens(characters) + images * IMAGE_TOKENS, _in_tokens(len(answer)))


def at_most(messages: Iterable[Mapping[str, Any]], schema: Mapping[str, Any], max_tokens: int) -> Tokens:
    """How many tokens a request can have at most. With images, this is a guess."""
    texts, images = _contents(messages)
    written = [*texts, json.dumps(schema, ensure_ascii=False)]
    size = sum(len(text.encode()) + _MESSAGE_TOKENS for text in written)
    return Tokens(size + images * _MOST_IMAGE_TOKENS, max_tokens)


def _in_tokens(characters: int) -> int:
    return -(-characters // CHARACTERS_PER_TOKEN)


def _contents(messages: Iterable[Mapping[str, Any]]) -> tuple[list[str], int]:
    """The texts in messages, and the number of images."""
    texts, images = list[str](), 0
    for message in messages:
        content = message["content"]
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts += [part["text"] for part in parts if part["type"] == "text"]
        images += sum(part["type"] != "text" for part in parts)
    return texts, images


@dataclass
class Ledger:
    """What a run has spent. Several threads may use it.

    Each request is reserved at its most before it is sent, so that all of them together stay within the budget.

    Attributes:
        prices: None: costs are not counted.
        budget: Most that the run may cost. None: no limit.
        tokens: Of all answers, by the server's count or, where it has none, by an estimate.
        lost: At most so many tokens more were paid for, in requests of which it is unknown whether they were answered.
        requests: How many were sent.
    """

    prices: Prices | None = None
    budget: float | None = None
    tokens: Tokens = NO_TOKENS
    lost: Tokens = NO_TOKENS
    requests: int = 0
    _reserved: float = field(default=0.0, repr=False)
    _under_way: int = field(default=0, repr=False)
    _changed: threading.Condition = field(default_factory=threading.Condition, repr=False)

    @property
    def cost(self) -> float | None:
        """What the answers have cost. None: without prices."""
        return None if self.prices is None else self.prices.cost(self.tokens)

    @property
    def lost_cost(self) -> float | None:
        """The same of `lost`."""
        return None if self.prices is None else self.prices.cost(self.lost)

    def reserve(self, most: Tokens) -> None:
        """Sets aside what a request can cost. Raises OutOfBudget if that is not left.

        If it would be left when other requests have cost less than they could, it waits for them.
        """
        with self._changed:
            if self.prices is not None:
                worst = self.prices.cost(most)
                while self.budget is not None and self._spent(self.prices) + self._reserved + worst > self.budget:
                    if not self._under_way or self._spent(self.prices) + worst > self.budget:
                        raise OutOfBudget
                    self._changed.wait()
                self._reserved += worst
            self._under_way += 1
            self.requests += 1

    def answered(self, most: Tokens, tokens: Tokens) -> None:
        """A request, of which `most` was reserved, had so many tokens."""
        with self._changed:
            self._release(most)
            self.tokens = _sum(self.tokens, tokens)

    def refused(self, most: Tokens) -> None:
        """A request was not answered, and costs nothing."""
        with self._changed:
            self._release(most)

    def unknown(self, most: Tokens) -> None:
        """It is unknown whether a request was answered. It counts at its most."""
        with self._changed:
            self._release(most)
            self.lost = _sum(self.lost, most)

    def _release(self, most: Tokens) -> None:
        self._under_way -= 1
        if self.prices is not None:
            # No rest of rounding stays when nothing is under way.
            self._reserved = self._reserved - self.prices.cost(most) if self._under_way else 0.0
        self._changed.notify_all()

    def _spent(self, prices: Prices) -> float:
        return prices.cost(_sum(self.tokens, self.lost))


def _sum(one: Tokens, other: Tokens) -> Tokens:
    return Tokens(one.into + other.into, one.out + other.out)
