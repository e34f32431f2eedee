"""The compose file as it is once the variables are filled in."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sysconfig
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from support import ROOT

Resolve = Callable[[dict[str, str]], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def filled_in() -> dict[str, str]:
    """The variables of .env.example, those that are empty and needed with a value as it says."""
    example = dict(line.split("=", 1) for line in (ROOT / ".env.example").read_text().splitlines() if "=" in line[1:])
    example = {name: value for name, value in example.items() if re.fullmatch("[A-Z_]+", name)}
    return {
        name: value or ("" if name == "LABEL_STUDIO_HOST" else secrets.token_hex(20)) for name, value in example.items()
    }


@pytest.fixture(scope="session")
def resolve(tmp_path_factory: pytest.TempPathFactory) -> Resolve:
    """Resolves the compose file as `docker compose config` does, with podman-compose, which needs no engine for it."""
    home = tmp_path_factory.mktemp("compose")
    # It asks for podman's version whatever it is told to do.
    podman = home / "podman"
    podman.write_text("#!/bin/sh\necho podman version 5.4.0\n")
    podman.chmod(0o755)
    command = Path(sysconfig.get_path("scripts")) / "podman-compose"

    def run(variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        file = home / "env"
        file.write_text("".join(f"{name}={value}\n" for name, value in variables.items()))
        return subprocess.run(
            [command, "--file", ROOT / "docker-compose.yml", "--env-file", file, "config"],
            env={"PATH": f"{home}:{os.environ['PATH']}"},
            cwd=home,
            capture_output=True,
            text=True,
            timeout=60,
        )

    return run


@pytest.fixture(scope="session")
def composed(resolve: Resolve, filled_in: dict[str, str]) -> dict[str, Any]:
    done = resolve(filled_in)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = yaml.safe_load(done.stdout)
    return found


@pytest.fixture(scope="session")
def services(composed: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = composed["services"]
    return found
