"""Links between the project's pages lead somewhere, and every command, option and setting is on one of them."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from connector import cli
from connector.settings import Settings as ConnectorSettings
from ml_backend import cli as ml_backend_cli
from ml_backend.settings import Settings as BackendSettings

ROOT = Path(__file__).parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/*.md")])
_LINK = re.compile(r"\]\(([^)\s]+)\)")
_CODE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_links_lead_to_files_and_headings_that_are_there(page: Path) -> None:
    found = [link for link in _LINK.findall(_CODE.sub("", page.read_text())) if "://" not in link]
    broken = []
    for link in found:
        name, _, heading = link.partition("#")
        place = (page.parent / name).resolve() if name else page
        if not place.exists() or (heading and heading not in anchors(place)):
            broken.append(link)
    assert broken == []


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    text = _CODE.sub("", page.read_text())
    headings = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(" ", "-") for heading in headings}


def test_the_pages_are_found() -> None:
    assert {"README.md", "CHANGELOG.md", "scaling.md", "decisions.md"} <= {page.name for page in PAGES}


def commands() -> Iterator[tuple[str, click.Command]]:
    for program, group in (("connector", cli.cli), ("ml-backend", ml_backend_cli.main)):
        for name, command in group.commands.items():
            yield f"{program} {name}", command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_and_option_is_documented(name: str, command: click.Command) -> None:
    told = "\n".join(page.read_text() for page in PAGES)
    options = {option for parameter in command.params for option in parameter.opts if option.startswith("--")}
    assert name in told
    assert {option for option in options if option not in told} == set()


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert f"Example: {name}" in str(command.help)


def test_every_setting_is_in_the_readme() -> None:
    told = (ROOT / "README.md").read_text()
    # ML_BACKEND_FINETUNE_STEPS, `_LEARNING_RATE`: those that share a beginning share a row.
    for row in re.findall(r"^\| `(ML_BACKEND_[A-Z]+)_STEPS`, (.*?) \|", told, re.MULTILINE):
        told += "".join(f"`{row[0]}{ending}`" for ending in re.findall(r"`(_[A-Z_]+)`", row[1]))
    settings = {f"ML_BACKEND_{name.upper()}" for name in BackendSettings.model_fields}
    settings |= {variable(name) for name in ConnectorSettings.model_fields}
    assert {name for name in settings if f"`{name}`" not in told} == set()


def variable(field: str) -> str:
    """The environment variable of a field of the connector's settings."""
    alias = ConnectorSettings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else field.upper()
