"""The command that stops a demo, as the demo prints it."""

from pathlib import Path

import pytest

from connector.demo.__main__ import DIRECTORY, stop_command


@pytest.mark.parametrize(
    ("directory", "command"),
    [
        (DIRECTORY, "make demo-stop"),
        (Path("/tmp/demo"), "python -m connector.demo stop --dir /tmp/demo"),
        (Path("my demo"), "python -m connector.demo stop --dir 'my demo'"),
    ],
)
def test_the_directory_is_quoted_for_a_shell_where_that_is_needed(directory: Path, command: str) -> None:
    assert stop_command(directory) == command
