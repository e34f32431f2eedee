"""Texts and names that break what is read or written without care, for hypothesis to draw from."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

Drawn = TypeVar("Drawn")

# Drawn anew the same way in every run; machines that are busy with other tests take their time.
steady = settings(deadline=None, derandomize=True, database=None)

# All but NUL, which PostgreSQL cannot hold, and half a surrogate pair, which has no UTF-8 form: `?` stands for both.
CHARACTERS = st.characters(exclude_characters="\0", exclude_categories=["Cs"])
# What XML 1.0 may hold, and a labelling config is: no control character but tab and the ends of lines.
IN_XML = st.characters(exclude_categories=["Cs", "Cc"], include_characters="\t\n\r", exclude_characters="\ufffe\uffff")

FRAGMENTS = (
    "\r",
    "\n",
    "\r\n",
    "\t",
    " ",
    '"',
    "''",
    '""',
    ",",
    ";",
    "\\",
    "\\n",
    "\x01\x08\x0b\x0c\x1b[31m\x7f",
    "\x1c\x1d\x1e\x85\u2028\u2029",
    "\ufeff",
    "\ufffe\uffff\U0010ffff",
    "e\u0301é",
    "👍🏽👨‍👩‍👧",
    "שלום \u202eabc\u202c مرحبا\u200f",
    "<b>bold</b>",
    '<script>alert("x")</script>',
    "</textarea><!--",
    "&amp;&lt;&#13;&nbsp;&",
    "]]>",
    "{{7*7}}{% x %}${x}%s",
    '{"a":[1,null]}',
    "=1+1",
    "@SUM(A1)",
    "-3",
    "007",
    "1e5",
    "NA",
    "null",
    "None",
    "True",
    "#",
    "'; DROP TABLE tasks; --",
    "../../etc",
    "file://x",
)
LENGTH = 100_000  # of the long ones, in bytes at least

fragments = st.sampled_from(FRAGMENTS)
short_texts = st.one_of(
    fragments, st.text(CHARACTERS, max_size=40), st.lists(fragments | st.text(CHARACTERS, max_size=5)).map("".join)
)
long_texts = st.builds(
    lambda part, end: (part * (LENGTH // len(part.encode()) + 1)) + end,
    short_texts.filter(bool),
    st.text(CHARACTERS, max_size=5),
)


def names(characters: st.SearchStrategy[str] = CHARACTERS, max_size: int = 30) -> st.SearchStrategy[str]:
    """Names of classes or people, made of `characters`; none of them blank."""
    return st.text(characters, min_size=1, max_size=max_size).filter(lambda name: bool(name.strip()))


def examples(strategy: st.SearchStrategy[Drawn], count: int) -> list[Drawn]:
    """Up to `count` examples, the same in every run, for a test that can afford to go once over all of them."""
    found: list[Drawn] = []

    @settings(steady, max_examples=count, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
    @given(strategy)
    def collect(example: Drawn) -> None:
        found.append(example)

    collect()
    return found
