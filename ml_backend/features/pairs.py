"""Pairs: two texts in one, with a separator between them.

The features of a pair are those of its left side minus those of its right. So a linear model has the same weights for
both sides, as the model of Bradley and Terry (1952) has.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

SEPARATOR = "\n\x1e\n"
# The encoder reads 256 tokens, and no class depends on character 20,001. So a book in one task costs no more.
_MAX_CHARACTERS = 20_000


def cut(text: str) -> str:
    """A text, or each side of a pair, as far as models read it."""
    left, separator, right = text.partition(SEPARATOR)
    return f"{left[:_MAX_CHARACTERS]}{separator}{right[:_MAX_CHARACTERS]}"


def sides(text: str) -> tuple[str, ...]:
    """The two texts of a pair. Of a text that is no pair, the one."""
    left, separator, right = text.partition(SEPARATOR)
    return (left, right) if separator else (text,)


def difference(
    compute: Callable[[list[str]], Any], texts: Sequence[str], stack: Callable[[list[Any]], Any] = np.stack
) -> Any:
    """The features of texts and pairs, (n, d).

    Args:
        compute: The features of m texts, as an array or a tensor (m, d).
        texts: n texts, or pairs of texts.
        stack: Makes such an array or tensor of its rows.
    """
    parts = [sides(text) for text in texts]
    paired = [place for place, part in enumerate(parts) if len(part) == 2]
    vectors = compute([part[0] for part in parts] + [parts[place][1] for place in paired])
    left, right = vectors[: len(parts)], vectors[len(parts) :]
    if not paired:
        return left
    if len(paired) == len(parts):
        return left - right
    rows = list(left)
    for place, other in zip(paired, right, strict=True):
        rows[place] = rows[place] - other
    return stack(rows)
