"""The wheel holds what it should, and the connector installs from it alone, without torch, and runs."""

import configparser
import os
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterator
from email import message_from_string
from email.message import Message
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from connector import __version__

ROOT = Path(__file__).parents[1]
ML_BACKEND_ALONE = {"torch", "transformers", "sentence-transformers", "fastapi", "uvicorn", "safetensors"}


def run(*command: str | Path, cwd: Path) -> str:
    """The command's standard output; a failure shows all it said."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "VIRTUAL_ENV"))}
    words = [str(part) for part in command]
    done = subprocess.run(words, cwd=cwd, env=own, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, f"{' '.join(words)}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel as `python -m build` makes it, with the pinned build backend."""
    target = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", target, ROOT, cwd=target)
    (made,) = target.glob("*.whl")
    return made


@pytest.fixture(scope="module")
def content(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as opened:
        yield opened


def in_dist_info(content: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in content.namelist() if path.endswith(f".dist-info/{name}"))
    return content.read(path).decode()


@pytest.fixture(scope="module")
def metadata(content: zipfile.ZipFile) -> Message:
    return message_from_string(in_dist_info(content, "METADATA"))


def requirements(metadata: Message) -> list[Requirement]:
    return [Requirement(line) for line in metadata.get_all("Requires-Dist", [])]


def of_extra(metadata: Message, extra: str) -> set[str]:
    """What the extra brings; "" is the plain installation."""
    return {
        canonicalize_name(one.name)
        for one in requirements(metadata)
        if (one.marker is None) == (extra == "") and (one.marker is None or one.marker.evaluate({"extra": extra}))
    }


# -- the wheel -------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_both_packages_and_nothing_else(content: zipfile.ZipFile) -> None:
    tops = {path.partition("/")[0] for path in content.namelist()}
    assert {"connector", "ml_backend"} == {top for top in tops if not top.endswith(".dist-info")}
    for package in ("connector", "ml_backend"):
        modules = {path.relative_to(ROOT).as_posix() for path in (ROOT / package).rglob("*.py")}
        assert modules <= set(content.namelist())


def test_the_wheel_holds_the_labelling_config_as_it_is(content: zipfile.ZipFile) -> None:
    assert content.read("connector/label_config.xml") == (ROOT / "label_config.xml").read_bytes()


def test_the_wheel_holds_the_licence(content: zipfile.ZipFile) -> None:
    assert [path for path in content.namelist() if path.endswith("LICENSE")]


def test_the_wheel_has_both_commands(content: zipfile.ZipFile) -> None:
    points = configparser.ConfigParser()
    points.read_string(in_dist_info(content, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {"connector": "connector.cli:main", "ml-backend": "ml_backend.cli:main"}


def test_the_version_is_the_connectors(wheel: Path, metadata: Message) -> None:
    assert metadata["Version"] == __version__
    assert wheel.name == f"label_studio_activelab-{__version__}-py3-none-any.whl"


def test_the_plain_installation_asks_for_no_model(metadata: Message) -> None:
    plain = of_extra(metadata, "")
    assert {"label-studio-sdk", "cleanlab", "sqlalchemy"} <= plain
    assert plain & ML_BACKEND_ALONE == set()
    assert of_extra(metadata, "ml-backend") >= ML_BACKEND_ALONE


def test_python_3_10_to_3_13_are_declared(metadata: Message) -> None:
    assert metadata["Requires-Python"] == ">=3.10"
    named = {line.rpartition(" ")[2] for line in metadata.get_all("Classifier", []) if "Python :: 3." in line}
    assert named == {"3.10", "3.11", "3.12", "3.13"}


# -- constraints -----------------------------------------------------------------------------------------------------


def pins() -> dict[str, str]:
    """The exact version that constraints.txt gives each distribution on this interpreter."""
    found: dict[str, str] = {}
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            one = Requirement(line)
            if one.marker is None or one.marker.evaluate():
                (version,) = one.specifier
                assert version.operator == "==", line
                assert canonicalize_name(one.name) not in found, f"{line}: pinned twice"
                found[canonicalize_name(one.name)] = version.version
    return found


def test_every_requirement_is_pinned_within_its_range(metadata: Message) -> None:
    pinned = pins()
    for one in requirements(metadata):
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), str(one)


# -- the connector alone ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with nothing but the wheel and what it asks for, by the pins; its folder of commands."""
    home = tmp_path_factory.mktemp("installed")
    venv.create(home / "env", with_pip=True)
    commands = home / "env" / ("Scripts" if os.name == "nt" else "bin")
    pip = [commands / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    run(*pip, "--constraint", ROOT / "constraints.txt", wheel, cwd=home)
    return commands


def test_the_connector_runs_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    assert "sync" in run(installed / "connector", "--help", cwd=tmp_path)
    assert run(installed / "connector", "--version", cwd=tmp_path).split()[-1] == __version__


def test_every_module_of_the_connector_loads_from_the_wheel_alone(installed: Path, tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, connector\n"
        "names = [module.name for module in pkgutil.walk_packages(connector.__path__, 'connector.')]\n"
        "for name in names: name.endswith('__main__') or importlib.import_module(name)\n"
        "print(connector.__file__, *names)"
    )
    where, *names = run(installed / "python", "-W", "ignore", "-c", code, cwd=tmp_path).split()
    assert not Path(where).is_relative_to(ROOT)
    assert {"connector.sync", "connector.scoring", "connector.activelab", "connector.adopt"} <= set(names)


def test_the_packaged_labelling_config_is_found(installed: Path, tmp_path: Path) -> None:
    code = "from connector.cli import _label_config; print(_label_config(None), end='')"
    assert run(installed / "python", "-c", code, cwd=tmp_path) == (ROOT / "label_config.xml").read_text()


def test_what_is_installed_is_pinned_and_holds_no_torch(installed: Path, tmp_path: Path) -> None:
    listed = run(installed / "python", "-m", "pip", "list", "--format", "freeze", cwd=tmp_path).split()
    versions = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in listed)}
    for own in ("label-studio-activelab", "pip", "setuptools", "wheel"):
        versions.pop(own, None)  # ours, and what an empty environment brings
    assert "cleanlab" in versions
    assert set(versions) & ML_BACKEND_ALONE == set()
    pinned = pins()
    assert versions == {name: pinned.get(name) for name in versions}
