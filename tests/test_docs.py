"""Links between the project's pages lead somewhere, commands and settings are on them, and the English is plain."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from pydantic.fields import FieldInfo
from support import ROOT

import connector.errors
import ml_backend.errors
from connector.cli import main as cli
from connector.settings import Settings as ConnectorSettings
from connector.settings import default_state_url
from ml_backend import cli as ml_backend_cli
from ml_backend.settings import Settings as BackendSettings

COMMANDS, SETTINGS = ROOT / "docs" / "commands.md", ROOT / "docs" / "settings.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("benchmarks/*.md")])
SHARED = {"--label-studio-url", "--ml-backend-url", "--state", "--verbose", "--json"}  # documented once on the page
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
    assert {"CHANGELOG.md", "scaling.md", "0013-dependencies.md"} <= {page.name for page in PAGES}


def test_the_index_of_decisions_lists_every_page_with_its_title_and_date() -> None:
    folder = ROOT / "docs" / "decisions"
    rows = []
    for page in sorted(folder.glob("[0-9]*.md")):
        title, _, date = page.read_text().splitlines()[:3]
        number = page.name[:4]
        rows.append(f"| {number} | [{title.removeprefix(f'# {number} ')}]({page.name}) | {date} |")
    assert [line for line in (folder / "README.md").read_text().splitlines() if line.startswith("| 0")] == rows
    assert [row[2:6] for row in rows] == [f"{number:04d}" for number in range(1, len(rows) + 1)]


def test_files_that_pages_and_docstrings_name_are_there() -> None:
    named = re.compile(r"\b(?:connector|ml_backend|benchmarks|tests|docs)/[\w/.-]*\w\.(?:py|md)\b")
    code = [path for folder in ("connector", "ml_backend", "benchmarks") for path in (ROOT / folder).rglob("*.py")]
    found = [(page.name, file) for page in [*PAGES, *code] for file in named.findall(page.read_text())]
    assert [(page, file) for page, file in found if not (ROOT / file).exists()] == []


def commands() -> Iterator[tuple[str, click.Command]]:
    for program, group in (("connector", cli.cli), ("ml-backend", ml_backend_cli.main)):
        for name, command in group.commands.items():
            yield f"{program} {name}", command


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_the_section_of_a_command_has_its_options(name: str, command: click.Command) -> None:
    options = {one for option in command.params for one in [*option.opts, *option.secondary_opts] if one[:2] == "--"}
    page = COMMANDS.read_text()
    (section,) = re.findall(rf"^## {name}$(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert missing(options & SHARED, page) == set()
    assert missing(options - SHARED, section) == set()


def missing(options: set[str], text: str) -> set[str]:
    """The options that the text does not have as words of their own."""
    return options - set(re.findall(r"(?<![\w-])--[\w-]+", text))


def test_an_option_is_not_found_in_a_longer_one() -> None:
    assert missing({"--at", "--data", "--out"}, "`--attempts`, `no--data`, `--database`; `--out FILE`") == {
        "--at",
        "--data",
    }


@pytest.mark.parametrize(("name", "command"), list(commands()))
def test_every_command_has_help_with_an_example(name: str, command: click.Command) -> None:
    assert f"Example: {name}" in str(command.help)


def test_every_setting_is_on_its_page_with_its_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("XDG_STATE_HOME", raising=False)
    there = [
        (str(field.validation_alias or f"ML_BACKEND_{name.upper()}"), default(field))
        for name, field in BackendSettings.model_fields.items()
    ]
    there += [(variable(name), default(field)) for name, field in ConnectorSettings.model_fields.items()]
    assert sorted(documented_settings()) == sorted(there)


def documented_settings() -> Iterator[tuple[str, str]]:
    """The settings of the page's tables, each with its default, or "" if it has none."""
    for first, second in re.findall(r"^\| (`[A-Z_]+`.*?) \|(.*?)\|", SETTINGS.read_text(), re.MULTILINE):
        names, defaults = re.findall("`(.*?)`", first), re.findall("`(.*?)`", second)
        # ML_BACKEND_FINETUNE_STEPS, `_LEARNING_RATE`: those that share a beginning share a row.
        names = [names[0].rpartition("_")[0] + name if name.startswith("_") else name for name in names]
        yield from zip(names, map(normal, defaults or [""] * len(names)), strict=True)


def default(field: FieldInfo) -> str:
    """A setting's default as the page would have it, or "" if it is required or None."""
    if field.default_factory is default_state_url:  # the folder alone
        folder = Path(default_state_url().removeprefix("sqlite:///")).parent
        return f"~/{folder.relative_to(Path.home())}"
    if isinstance(field.default, bool):
        return str(field.default).lower()
    return "" if field.is_required() or field.default is None else normal(str(field.default))


def normal(value: str) -> str:
    """10 and 10.0, and a folder with and without ./, are the same."""
    try:
        return str(float(value))
    except ValueError:
        return value.removeprefix("./")


def variable(field: str) -> str:
    """The environment variable of a field of the connector's settings."""
    alias = ConnectorSettings.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else field.upper()


# -- English (CONTRIBUTING.md) ---------------------------------------------------------------------------------------


README = re.sub(r"^ {4}.*$|<!--.*?-->", "", _CODE.sub("", (ROOT / "README.md").read_text()), flags=re.MULTILINE)
LONGEST = 35
_BANNED = re.compile(r"\b(told|heard|whoever|somebody|of before|at hand|stands)\b", re.IGNORECASE)
SPEAKERS = {"echo", "say", "Finding", "ok", "problem", "warning"}
SPEAKERS |= {name for module in (connector.errors, ml_backend.errors) for name in vars(module) if name[0].isupper()}


def sentences(text: str) -> Iterator[str]:
    """The sentences of prose in Markdown; a heading, an item of a list and a row of a table end one."""
    for block in re.split(r"\n\s*\n|\n(?=\s*(?:[-*#|]|\d+\.))", re.sub(r"\]\([^)]*\)", "]", text)):
        yield from re.split(r"(?<=[.:?!])[*)\]]*\s+", " ".join(block.split()))


def too_long(text: str) -> list[str]:
    return [sentence for sentence in sentences(text) if len(sentence.split()) > LONGEST]


def help_texts() -> Iterator[tuple[str, str]]:
    """Every text of `--help`, under the name of its command or option."""
    for program, group in (("connector", cli.cli), ("ml-backend", ml_backend_cli.main)):
        yield program, group.help or ""
    for name, command in commands():
        yield name, command.help or ""
        yield from ((f"{name} {option.opts[0]}", getattr(option, "help", None) or "") for option in command.params)


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """The strings of errors, of findings and of what is printed or logged, each with its line."""
    for call in ast.walk(ast.parse(path.read_text())):
        if not isinstance(call, ast.Call):
            continue
        speaker = ast.unparse(call.func).rpartition(".")[2]
        if speaker in SPEAKERS or speaker.endswith("Error"):
            for part in ast.walk(call):
                if isinstance(part, ast.Constant) and isinstance(part.value, str):
                    yield part.lineno, part.value


def test_the_readme_is_in_short_sentences_of_plain_words() -> None:
    assert too_long(README) == []
    assert _BANNED.findall(README) == []


def test_help_texts_are_in_short_sentences_of_plain_words() -> None:
    texts = dict(help_texts())
    assert {name: text for name, text in texts.items() if ";" in text or _BANNED.search(text)} == {}
    assert {name: text for name, text in texts.items() if too_long(text)} == {}


@pytest.mark.parametrize("package", ["connector", "ml_backend"])
def test_messages_have_no_semicolon_and_only_plain_words(package: str) -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line}: {text}"
        for path in sorted((ROOT / package).rglob("*.py"))
        for line, text in messages(path)
        if re.search(r";\s", text) or _BANNED.search(text)
    ]
    assert found == []


def test_a_long_sentence_and_a_banned_word_are_found() -> None:
    assert too_long("Short. " + "word " * 36 + "\n- an item") == [("word " * 36).strip()]
    assert _BANNED.findall("Whoever stands there, understands.") == ["Whoever", "stands"]
