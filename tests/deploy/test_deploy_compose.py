"""docker-compose.yml: valid, complete, and nothing in it that the programs do not know."""

from __future__ import annotations

import re
import subprocess
import sysconfig
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from support import ROOT
from support.image_steps import read
from support.known_settings import OF_BACKEND, OF_CONNECTOR, names_in_label_studio, understood

from connector.settings import load_settings
from ml_backend.settings import Settings as BackendSettings

FILE = ROOT / "docker-compose.yml"
NEEDED = sorted(set(re.findall(r"\$\{(\w+):\?", FILE.read_text())))


def test_it_fits_the_schema_of_the_compose_specification() -> None:
    command = Path(sysconfig.get_path("scripts")) / "check-jsonschema"
    done = subprocess.run(
        [command, "--builtin-schema", "vendor.compose-spec", FILE], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stdout


def test_the_example_has_every_variable_and_no_other(filled_in: dict[str, str]) -> None:
    code = "\n".join(line for line in FILE.read_text().splitlines() if not line.lstrip().startswith("#"))
    assert set(re.findall(r"\$\{(\w+)", code)) == set(filled_in)
    assert code.count("${") == code.count("$")


@pytest.mark.parametrize("name", NEEDED)
def test_nothing_starts_without(name: str, resolve: Any, filled_in: dict[str, str]) -> None:
    done = resolve({**filled_in, name: ""})
    assert done.returncode != 0
    assert f"required variable {name} is missing a value: see .env.example" in done.stderr


def test_whatever_the_example_leaves_empty_and_is_needed_is_asked_for(filled_in: dict[str, str]) -> None:
    lines = (ROOT / ".env.example").read_text().splitlines()
    empty = {line[:-1] for line in lines if re.fullmatch(r"[A-Z_]+=", line)}
    assert empty - {"LABEL_STUDIO_HOST", "CONNECTOR_LLM_API_KEY"} <= set(NEEDED)


def test_nothing_is_named_that_is_not_there(composed: dict[str, Any], services: dict[str, Any]) -> None:
    assert "${" not in yaml.safe_dump(composed)
    used = {volume.split(":")[0] for service in services.values() for volume in service.get("volumes", [])}
    assert used == set(composed["volumes"])
    for service in services.values():
        for other, how in service.get("depends_on", {}).items():
            assert how["condition"] == "service_healthy"
            built = "build" in services[other]
            assert "test" in services[other].get("healthcheck", {}) or built
    assert any(step.name == "HEALTHCHECK" for step in read(ROOT / "Dockerfile"))
    assert services["connector"]["healthcheck"] == {"disable": True}
    assert services["connector"]["image"] == services["ml-backend"]["image"]
    assert {service["restart"] for service in services.values()} == {"unless-stopped"}


def test_the_volumes_of_the_image_are_kept(services: dict[str, Any]) -> None:
    (volumes,) = (step.words for step in read(ROOT / "Dockerfile") if step.name == "VOLUME")
    mounted = {volume.split(":")[1] for volume in services["ml-backend"]["volumes"]}
    assert mounted == set(volumes) - {"/state"}  # which is in PostgreSQL here
    assert services["connector"]["environment"]["CONNECTOR_STATE"].startswith("postgresql+psycopg://")


def test_every_setting_is_known_to_who_is_given_it(services: dict[str, Any]) -> None:
    assert set(services["connector"]["environment"]) <= OF_CONNECTOR
    assert set(services["ml-backend"]["environment"]) <= OF_BACKEND
    known = names_in_label_studio()
    assert "ML_BLOCK_LOCAL_IPS" not in known
    given = set(services["label-studio"]["environment"])
    assert {name for name in given if {name, name.removeprefix("LABEL_STUDIO_")} & known == set()} == set()
    # Of the image of PostgreSQL.
    assert set(services["postgresql"]["environment"]) == {"POSTGRES_DB", "POSTGRES_USER", "POSTGRES_PASSWORD"}


def test_the_programs_take_what_they_are_given(services: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    for service in ("connector", "ml-backend"):
        for name, value in services[service]["environment"].items():
            monkeypatch.setenv(name, value)
    assert load_settings().credentials.for_label_studio["basic_auth_user"] == "label-studio"
    assert BackendSettings().username == "label-studio"
    *_, program = services["connector"]["entrypoint"]
    assert understood([program, *services["connector"]["command"]]) == "connector sync"


def test_they_find_each_other(services: dict[str, Any]) -> None:
    connector, backend, label_studio, database = (
        services[name]["environment"] for name in ("connector", "ml-backend", "label-studio", "postgresql")
    )
    (port,) = (step.value for step in read(ROOT / "Dockerfile") if step.name == "EXPOSE")
    for name, value in (("ML_BACKEND_URL", f"ml-backend:{port}"), ("LABEL_STUDIO_URL", "label-studio:8080")):
        assert urlsplit(connector[name]).netloc == value
        assert value.split(":")[0] in services
    (published,) = services["label-studio"]["ports"]
    assert published == "127.0.0.1:8080:8080"
    state = urlsplit(connector["CONNECTOR_STATE"])
    assert (state.hostname, state.port, state.path) == ("postgresql", 5432, f"/{database['POSTGRES_DB']}")
    assert (label_studio["POSTGRE_HOST"], label_studio["POSTGRE_PORT"]) == ("postgresql", "5432")
    assert (state.username, state.password) == (database["POSTGRES_USER"], database["POSTGRES_PASSWORD"])
    assert label_studio["POSTGRE_USER"] == database["POSTGRES_USER"]
    assert label_studio["POSTGRE_PASSWORD"] == database["POSTGRES_PASSWORD"]
    assert label_studio["LABEL_STUDIO_USER_TOKEN"] == connector["LABEL_STUDIO_API_KEY"]
    assert {name: connector[name] for name in backend} == backend


def test_label_studio_is_the_tested_one_and_serves_our_order(services: dict[str, Any]) -> None:
    pinned = re.search(r"^label-studio==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)
    assert pinned
    assert services["label-studio"]["image"] == f"heartexlabs/label-studio:{pinned[1]}"
    flag = "fflag_fix_back_4620_memory_efficient_predictions_import_08012025_short"
    assert (
        services["label-studio"]["environment"].items()
        >= {
            "TASK_LOCK_TTL": "3600",
            flag: "true",
            "ML_BLOCK_LOCAL_IP": "false",
            "SSRF_PROTECTION_ENABLED": "false",
            "LABEL_STUDIO_ENABLE_LEGACY_API_TOKEN": "true",
        }.items()
    )


def test_the_health_checks_are_programs(services: dict[str, Any]) -> None:
    kind, program, option, code = services["label-studio"]["healthcheck"]["test"]
    assert (kind, program, option) == ("CMD", "python3", "-c")
    assert "/health" in compile(code, "healthcheck", "exec").co_consts[2]
    assert services["postgresql"]["healthcheck"]["test"][:2] == ["CMD", "pg_isready"]
