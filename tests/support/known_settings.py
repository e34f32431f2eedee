"""What the programs that are deployed know: their settings, their commands, and those of Label Studio."""

from __future__ import annotations

import re
from collections.abc import Sequence

import click

from connector.cli.main import cli as connector
from connector.demo.servers import label_studio_program
from connector.settings import Settings as ConnectorSettings
from ml_backend.cli import main as ml_backend
from ml_backend.settings import Settings as BackendSettings

OF_CONNECTOR = {str(field.alias) for field in ConnectorSettings.model_fields.values()}
OF_BACKEND = {f"ML_BACKEND_{name.upper()}" for name in BackendSettings.model_fields}
COMMANDS: dict[str, click.Group] = {"connector": connector, "ml-backend": ml_backend}


def names_in_label_studio() -> set[str]:
    """Every string in Label Studio's source that may be the name of an environment variable or of a feature flag."""
    (source,) = label_studio_program().parents[1].glob("lib/python*/site-packages/label_studio")
    found: set[str] = set()
    for module in source.rglob("*.py"):
        if "migrations" not in module.parts:
            found |= set(re.findall(r"""['"](\w+)['"]""", module.read_text(encoding="utf-8")))
    return found


def understood(words: Sequence[str]) -> str:
    """Has the command line read by the program that it names, without running it; its name and the subcommand's.

    Raises click.UsageError where an option is none of its own.
    """
    program, name, *rest = words
    command = COMMANDS[program].commands[name]
    command.make_context(name, list(rest))
    return f"{program} {name}"
