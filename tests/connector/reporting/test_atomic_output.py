"""Where output may go."""

import os
from pathlib import Path

import pytest

from connector.errors import UsageError
from connector.reporting.atomic_output import check_file, resolve_output
from connector.state.project_state import State


def test_a_pipe_is_no_file() -> None:
    """As /dev/stdout is in a pipe: a link to something that has a name and is nowhere."""
    reading, writing = os.pipe()
    out = Path(f"/dev/fd/{writing}")
    resolve_output(out)
    with pytest.raises(UsageError, match=rf"^{out} is no file, and --format csv writes a file: give another --out\.$"):
        check_file(out, "--format csv")
    os.close(reading)
    os.close(writing)


def test_a_link_to_a_file_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "there.csv").write_text("")
    (tmp_path / "link.csv").symlink_to("there.csv")
    (tmp_path / "new.csv").symlink_to("not there yet.csv")
    for name in ("there.csv", "link.csv", "new.csv", "none.csv"):
        check_file(tmp_path / name, "a report")


def test_a_database_is_not_replaced(tmp_path: Path) -> None:
    out = tmp_path / "state.sqlite"
    State(f"sqlite:///{out}").close()
    before = out.read_bytes()
    with pytest.raises(
        UsageError, match=rf"^{out} is a database, perhaps the connector's state: give another --out\.$"
    ):
        check_file(out, "a report")
    assert out.read_bytes() == before
    out.write_text("id,label\n")
    check_file(out, "a report")
