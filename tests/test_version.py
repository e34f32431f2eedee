"""The version of connector/__init__.py is that of both commands, of the OpenAPI document and of the changelog."""

from pathlib import Path

from click.testing import CliRunner
from support import ROOT

from connector import __version__
from connector.cli import main as cli
from ml_backend import cli as ml_backend_cli
from ml_backend.rest.app import create_app
from ml_backend.settings import Settings


def test_both_commands_and_the_openapi_document_have_the_version(tmp_path: Path) -> None:
    outdated = "the environment is of an older version: run `make setup`"
    for command in (cli.cli, ml_backend_cli.main):
        assert CliRunner().invoke(command, ["--version"]).output.split()[-1] == __version__, outdated
    document = create_app(Settings(model_dir=tmp_path)).openapi()
    assert document["info"]["version"] == __version__, outdated


def test_the_changelog_begins_with_the_version() -> None:
    heading = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert heading.split()[1] == __version__
