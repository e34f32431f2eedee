"""systemd's units and the line for cron: read by systemd itself where it is there, and by their rules everywhere."""

from __future__ import annotations

import configparser
import re
import shutil
import subprocess
import sysconfig
from pathlib import Path

import pytest
from croniter import croniter
from support import ROOT
from support.known_settings import OF_BACKEND, OF_CONNECTOR, understood

from connector.settings import load_settings
from ml_backend.settings import Settings as BackendSettings

DEPLOY = ROOT / "deploy"
UNITS = sorted((DEPLOY / "systemd").iterdir())
SERVICES = [unit.name for unit in UNITS if unit.suffix == ".service"]
INSTALLED = "/opt/label-studio-activelab/bin/"
CONFIGURED = "/etc/label-studio-activelab"


def unit(name: str) -> configparser.ConfigParser:
    """A unit file's sections; a directive given twice, or outside a section, is an error here."""
    found = configparser.ConfigParser(interpolation=None, delimiters=("=",), comment_prefixes=("#", ";"))
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read_string((DEPLOY / "systemd" / name).read_text())
    return found


def words(line: str) -> list[str]:
    """The command as it is typed once it is installed."""
    assert line.startswith(INSTALLED)
    return line.removeprefix(INSTALLED).split()


def example() -> dict[str, str]:
    lines = (DEPLOY / "activelab.env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def test_systemd_takes_them_or_they_have_its_sections(tmp_path: Path) -> None:
    assert [one.name for one in UNITS] == ["connector-sync.service", "connector-sync.timer", "ml-backend.service"]
    for one in UNITS:
        sections = {"Unit", one.suffix[1:].capitalize()}
        assert sections <= set(unit(one.name).sections()) <= {*sections, "Install"}
        text = one.read_text().replace(INSTALLED, f"{sysconfig.get_path('scripts')}/")
        (tmp_path / one.name).write_text(text)
    if analyze := shutil.which("systemd-analyze"):
        done = subprocess.run(
            [analyze, "verify", "--man=no", *tmp_path.iterdir()], capture_output=True, text=True, timeout=60
        )
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", SERVICES)
def test_a_service_runs_a_command_that_there_is_and_not_as_root(name: str) -> None:
    service = unit(name)["Service"]
    assert understood(words(service["ExecStart"])) in ("ml-backend serve", "connector sync")
    assert service["User"] == service["Group"] == "activelab"
    assert service["EnvironmentFile"] == f"{CONFIGURED}/.env"
    assert (service["NoNewPrivileges"], service["ProtectSystem"], service["CapabilityBoundingSet"]) == (
        "yes",
        "strict",
        "",
    )
    assert int(service["TimeoutStopSec"]) >= 10  # a sync takes up to eight seconds to end


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_written_is_in_the_state_directory(name: str) -> None:
    directory = f"/var/lib/{unit(name)['Service']['StateDirectory']}"
    assert example()["ML_BACKEND_MODEL_DIR"].startswith(f"{directory}/")
    assert example()["CONNECTOR_STATE"].startswith(f"sqlite:///{directory}/")


def test_a_service_that_cannot_start_is_not_tried_for_ever() -> None:
    service = unit("ml-backend.service")["Service"]
    assert (service["Restart"], service["RestartPreventExitStatus"]) == ("on-failure", "2")
    assert unit("ml-backend.service")["Install"]["WantedBy"] == "multi-user.target"


def test_the_timer_starts_the_next_sync_after_the_last_has_ended() -> None:
    timer = unit("connector-sync.timer")
    assert "connector-sync.service" in SERVICES  # by the name, since it names no Unit
    assert "Unit" not in timer["Timer"]
    assert "OnCalendar" not in timer["Timer"]
    for directive in ("OnBootSec", "OnUnitInactiveSec", "AccuracySec"):
        assert re.fullmatch(r"\d+(s|min)", timer["Timer"][directive])
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert unit("connector-sync.service")["Service"]["Type"] == "oneshot"


def test_cron_has_a_schedule_the_user_and_the_same_command() -> None:
    (file,) = (DEPLOY / "cron").iterdir()
    assert re.fullmatch(r"[A-Za-z0-9_-]+", file.name)  # cron reads no other files in /etc/cron.d
    text = file.read_text()
    assert text.endswith("\n")  # nor a line that does not end
    (line,) = (one for one in text.splitlines() if one and not re.match(r"#|\w+=", one))
    *schedule, user, command = line.split(maxsplit=6)
    assert croniter.is_valid(" ".join(schedule))
    assert len(schedule) == 5
    assert user == unit("connector-sync.service")["Service"]["User"]
    assert "%" not in command  # a line end, for cron
    directory, run = command.split(" && ")
    assert directory == f"cd {CONFIGURED}"  # where .env is
    assert words(run.removesuffix(" >/dev/null")) == words(unit("connector-sync.service")["Service"]["ExecStart"])


def test_the_settings_are_known_and_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = example()
    assert set(settings) <= OF_CONNECTOR | OF_BACKEND
    for name, value in settings.items():
        monkeypatch.setenv(name, value or "filled-in")
    assert load_settings().state_url == settings["CONNECTOR_STATE"]
    assert str(BackendSettings().model_dir) == settings["ML_BACKEND_MODEL_DIR"]


def test_the_documentation_names_files_that_there_are() -> None:
    text = (ROOT / "docs" / "deployment.md").read_text()
    named = set(re.findall(r"deploy/[\w./-]*\w", text))
    assert [path for path in named if not (ROOT / path).exists()] == []
    files = [path for path in DEPLOY.rglob("*") if path.is_file()]
    assert [file for file in files if not any(file.is_relative_to(ROOT / path) for path in named)] == []
    for name in re.findall(r"\b(?:ML_BACKEND|CONNECTOR)_[A-Z_]+\b", text):
        assert name in OF_CONNECTOR | OF_BACKEND
