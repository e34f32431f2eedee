"""The `Choice` tags in a `Choices` or a `Taxonomy`: one level of them, or a tree."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import product
from typing import Any, NamedTuple
from xml.etree import ElementTree

from ml_backend.labeling.form.config import REFERENCE, NotServable, tag_of
from ml_backend.labeling.form.regions import Unreadable, kind_of

MAX_CHOICE_LENGTH = 10_000  # characters that the ML backend takes
_MOST_ALIASES = 6  # in a path of which all mixtures are known
PATH_SEPARATOR = " / "  # as the form shows a path


class Choice(NamedTuple):
    """A `Choice`, by its path: what it is inside of, and itself.

    Attributes:
        values: The value of each.
        aliases: The alias of each. None: it has none.
        leaf: Whether no other choice is inside.
    """

    values: tuple[str, ...]
    aliases: tuple[str | None, ...]
    leaf: bool

    @property
    def path(self) -> tuple[str, ...]:
        """As annotations spell it: each alias, or else each value."""
        return tuple(alias or value for value, alias in zip(self.values, self.aliases, strict=True))

    @property
    def spellings(self) -> list[str]:
        """Its path as annotations may spell it, since an alias may be newer than they are."""
        pairs = zip(self.values, self.aliases, strict=True)
        if sum(bool(alias) for alias in self.aliases) > _MOST_ALIASES:
            return [PATH_SEPARATOR.join(self.values)]
        return [PATH_SEPARATOR.join(path) for path in product(*({value, alias or value} for value, alias in pairs))]


class ClassSet(NamedTuple):
    """The classes that choices are.

    Attributes:
        paths: {class: its path}, in the config's order.
        spellings: {class as an annotation may spell it: class}.
        notes: Sentences about choices that are left out.
    """

    paths: dict[str, tuple[str, ...]]
    spellings: dict[str, str]
    notes: tuple[str, ...]


def read_choices(element: ElementTree.Element, *, through: bool) -> list[Choice]:
    """The choices in an element, each before those inside it. `through`: also those inside other tags, such as View."""
    found: list[Choice] = []
    # With a list of what is left, because a config may nest deeper than Python's stack.
    left = [(child, (), ()) for child in reversed(element)]  # type: list[tuple[Any, tuple[str, ...], tuple[Any, ...]]]
    while left:
        child, values, aliases = left.pop()
        tag = tag_of(child)
        if tag.is_a("Choice"):
            values = (*values, tag.inner_text or tag.get("value"))
            aliases = (*aliases, tag.attributes.get("alias"))
            found.append(Choice(values, aliases, leaf=not any(tag_of(inner).is_a("Choice") for inner in child)))
        elif not through:
            continue
        left.extend((inner, values, aliases) for inner in reversed(child))
    return found


def classes_of(choices: Iterable[Choice], is_class: Callable[[Choice], bool]) -> ClassSet:
    """The classes that those of the choices are for which `is_class` is true. Raises NotServable."""
    paths: dict[str, tuple[str, ...]] = {}
    spellings: dict[str, str] = {}
    notes: dict[str, None] = {}
    for choice in choices:
        value, alias = choice.values[-1], choice.aliases[-1]
        name = PATH_SEPARATOR.join(choice.path)
        if not (alias or value):
            notes["A Choice without a value is left out: give it a value or an alias."] = None
        elif len(name) > MAX_CHOICE_LENGTH:
            notes[f"A Choice of more than {MAX_CHOICE_LENGTH:,} characters is left out: give it a short alias."] = None
        elif not alias and (key := REFERENCE.search(value)):
            raise NotServable(f"the form puts task data for '{key[0]}' in the choice '{value}': give it an alias")
        elif is_class(choice) and all(choice.path):
            if paths.setdefault(name, choice.path) != choice.path:
                raise NotServable(f"two of its choices are '{name}': give one an alias")
            spellings.update(dict.fromkeys(choice.spellings, name))
    spellings.update({name: name for name in paths})
    return ClassSet(paths, spellings, tuple(notes))


def names_of_paths(answer: Any) -> list[str]:
    """The names in a list of choices, each a string, or a path of strings. Raises Unreadable."""
    if isinstance(answer, str):  # from an import, where it can mean one choice alone
        return [answer]
    if not isinstance(answer, list):
        raise Unreadable(f"its choices are {kind_of(answer)}")
    names = []
    for choice in answer:
        path = choice if isinstance(choice, list) and choice else [choice]
        for part in path:
            if not isinstance(part, str):
                raise Unreadable(f"one of its choices is {kind_of(choice)}")
        names.append(PATH_SEPARATOR.join(path))
    return names
