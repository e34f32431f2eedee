"""The distributions as a release has them, the Pythons of this machine, and commands outside this environment."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from support import ROOT

ML_BACKEND_ALONE = {"torch", "transformers", "sentence-transformers", "fastapi", "uvicorn", "safetensors"}
MINORS = (10, 11, 12, 13)  # of Python 3, as pyproject.toml declares them

# What tells pip where packages are, and the variable that tells uv, which does not read pip's settings.
_FROM_PIP = {
    "index-url": "UV_DEFAULT_INDEX",
    "extra-index-url": "UV_INDEX",
    "find-links": "UV_FIND_LINKS",
    "cert": "SSL_CERT_FILE",
}


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """The command's standard output; a failure shows all it said."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=own | environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def build(source: Path, target: Path, kind: str) -> Path:
    """What `python -m build` makes of `source` with the pinned build backend: a "sdist" or a "wheel"."""
    run(sys.executable, "-m", "build", "--no-isolation", f"--{kind}", "--outdir", target, source, cwd=target)
    return one_in(target, kind)


def one_in(folder: Path, kind: str) -> Path:
    """The only sdist or wheel in a folder."""
    (found,) = folder.glob({"sdist": "*.tar.gz", "wheel": "*.whl"}[kind])
    return found


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sdist of this checkout; that in the folder DISTRIBUTIONS where `make release-check` has made one."""
    made = os.environ.get("DISTRIBUTIONS")
    return one_in(Path(made), "sdist") if made else build(ROOT, tmp_path_factory.mktemp("sdist"), "sdist")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, likewise."""
    made = os.environ.get("DISTRIBUTIONS")
    return one_in(Path(made), "wheel") if made else build(ROOT, tmp_path_factory.mktemp("wheel"), "wheel")


def interpreters() -> dict[str, str]:
    """Each of Python 3.10 to 3.13 that runs here, ours always: {"3.10": its program, …}."""
    environment = dict(os.environ)
    if pyenv := shutil.which("pyenv"):  # whose programs on the PATH refuse to run as a version that is not chosen
        listed = subprocess.run([pyenv, "versions", "--bare"], capture_output=True, text=True, check=False).stdout
        environment["PYENV_VERSION"] = ":".join(listed.split())
    ours = f"3.{sys.version_info.minor}"
    found = {ours: sys.executable}
    for version in (f"3.{minor}" for minor in MINORS):
        for folder in os.get_exec_path():
            if version not in found and (program := _real(Path(folder) / f"python{version}", environment)):
                found[version] = program
    return {f"3.{minor}": found[f"3.{minor}"] for minor in MINORS if f"3.{minor}" in found} | {ours: sys.executable}


def _real(program: Path, environment: Mapping[str, str]) -> str | None:
    """The interpreter that a program is or leads to; None where it does not run, or lacks what we rest on."""
    code = "import sqlite3, ssl, sys; print(sys.executable)"
    try:
        done = subprocess.run([program, "-c", code], env=environment, capture_output=True, text=True, timeout=60)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def uv(*arguments: str | Path, cwd: Path) -> str:
    """Runs uv, with the indexes that pip has here and pip's way of choosing among them."""
    found = {"UV_INDEX_STRATEGY": "unsafe-best-match", "UV_PYTHON_DOWNLOADS": "never"}
    for line in run(sys.executable, "-m", "pip", "config", "list", cwd=cwd).splitlines():
        name, _, value = line.partition("=")
        variable = _FROM_PIP.get(name.rpartition(".")[2])
        if variable and variable not in os.environ:
            separator = "," if variable == "UV_FIND_LINKS" else " "
            found.setdefault(variable, separator.join(ast.literal_eval(value).split()))  # the first is pip's first, too
    return run(sys.executable, "-m", "uv", *arguments, cwd=cwd, **found)


def pins_on(version: str) -> dict[str, str]:
    """The exact version that constraints.txt gives each distribution on a Python, as "3.10", of this system."""
    on = {"python_version": version, "python_full_version": f"{version}.0"}
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate(on):
                (pinned,) = one.specifier
                assert pinned.operator == "==", line
                assert canonicalize_name(one.name) not in found, f"{line}: pinned twice"
                found[canonicalize_name(one.name)] = pinned.version
    return found
