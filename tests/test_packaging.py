"""The sdist and the wheel hold what they should and nothing else, and their metadata are what an index accepts."""

import configparser
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.metadata import Metadata
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from support.built_distributions import MINORS, ML_BACKEND_ALONE, ROOT, build, pins_on, sdist, wheel
from trove_classifiers import classifiers

from connector import __version__

__all__ = ["sdist", "wheel"]  # fixtures

NOT_RELEASED = {".ci"}


@pytest.fixture(scope="module")
def content(wheel: Path) -> Iterator[zipfile.ZipFile]:
    with zipfile.ZipFile(wheel) as opened:
        yield opened


@pytest.fixture(scope="module")
def checkout() -> list[str]:
    """The files of the checkout that git does not ignore."""
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(listed, cwd=ROOT, capture_output=True, text=True, check=True)
    return sorted(name for name in set(done.stdout.split("\0")) if name and (ROOT / name).exists())


def in_dist_info(content: zipfile.ZipFile, name: str) -> str:
    (path,) = (path for path in content.namelist() if path.endswith(f".dist-info/{name}"))
    return content.read(path).decode()


@pytest.fixture(scope="module")
def metadata(content: zipfile.ZipFile) -> Metadata:
    """As PyPI reads them: any field that it would refuse is an error."""
    return Metadata.from_email(in_dist_info(content, "METADATA"), validate=True)


def requirements(metadata: Metadata) -> list[Requirement]:
    return metadata.requires_dist or []


def of_extra(metadata: Metadata, extra: str) -> set[str]:
    """What the extra brings; "" is the plain installation."""
    return {
        canonicalize_name(one.name)
        for one in requirements(metadata)
        if (one.marker is None) == (extra == "") and (one.marker is None or one.marker.evaluate({"extra": extra}))
    }


# -- the wheel -------------------------------------------------------------------------------------------------------


def test_the_wheel_holds_both_packages_and_nothing_else(content: zipfile.ZipFile, checkout: list[str]) -> None:
    files = {path for path in content.namelist() if ".dist-info/" not in path}
    ours = {path for path in checkout if path.startswith(("connector/", "ml_backend/"))}
    assert files == ours | {"connector/label_config.xml"}


def test_the_wheel_holds_the_labelling_config_as_it_is(content: zipfile.ZipFile) -> None:
    assert content.read("connector/label_config.xml") == (ROOT / "label_config.xml").read_bytes()


def test_the_wheel_holds_the_licence(content: zipfile.ZipFile) -> None:
    assert [path for path in content.namelist() if path.endswith("LICENSE")]


def test_the_wheel_has_both_commands(content: zipfile.ZipFile) -> None:
    points = configparser.ConfigParser()
    points.read_string(in_dist_info(content, "entry_points.txt"))
    assert dict(points["console_scripts"]) == {
        "connector": "connector.cli.main:main",
        "ml-backend": "ml_backend.cli:main",
    }


# -- the sdist -------------------------------------------------------------------------------------------------------


def test_the_sdist_holds_what_git_knows_and_nothing_else(sdist: Path, checkout: list[str]) -> None:
    with tarfile.open(sdist) as opened:
        top, files = zip(*(name.split("/", 1) for name in opened.getnames()), strict=True)
    assert set(top) == {f"label_studio_activelab-{__version__}"}
    released = [path for path in checkout if path.partition("/")[0] not in NOT_RELEASED]
    assert sorted(files) == sorted([*released, "PKG-INFO"]), "a new place wants a line in pyproject.toml's sdist"
    assert {"tests/test_packaging.py", "benchmarks/README.md", "docs/decisions/README.md", "LICENSE"} <= set(files)


def test_the_wheel_made_from_the_sdist_is_the_one_made_from_the_checkout(
    sdist: Path, wheel: Path, tmp_path: Path
) -> None:
    with tarfile.open(sdist) as opened:
        opened.extractall(tmp_path, filter="data")
    unpacked = tmp_path / f"label_studio_activelab-{__version__}"
    again = build(unpacked, tmp_path, "wheel")
    assert again.read_bytes() == wheel.read_bytes()
    assert build(unpacked, tmp_path, "sdist").read_bytes() == sdist.read_bytes()


# -- metadata --------------------------------------------------------------------------------------------------------


def test_the_version_is_the_connectors(sdist: Path, wheel: Path, metadata: Metadata) -> None:
    assert str(metadata.version) == __version__
    assert wheel.name == f"label_studio_activelab-{__version__}-py3-none-any.whl"
    assert sdist.name == f"label_studio_activelab-{__version__}.tar.gz"


def test_the_description_is_the_readme_as_markdown(metadata: Metadata) -> None:
    assert metadata.description == (ROOT / "README.md").read_text(encoding="utf-8")
    assert metadata.description_content_type == "text/markdown"
    assert metadata.summary


def test_the_classifiers_are_those_that_pypi_knows(metadata: Metadata) -> None:
    assert set(metadata.classifiers or []) - classifiers == set()


def test_the_plain_installation_asks_for_no_model(metadata: Metadata) -> None:
    plain = of_extra(metadata, "")
    assert {"label-studio-sdk", "cleanlab", "sqlalchemy"} <= plain
    assert plain & ML_BACKEND_ALONE == set()
    assert of_extra(metadata, "ml-backend") >= ML_BACKEND_ALONE


def test_python_3_10_to_3_13_are_declared(metadata: Metadata) -> None:
    assert str(metadata.requires_python) == ">=3.10"
    named = {line.rpartition(" ")[2] for line in metadata.classifiers or [] if "Python :: 3." in line}
    assert named == {"3.10", "3.11", "3.12", "3.13"}


# -- constraints -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("minor", MINORS)
def test_every_requirement_is_pinned_within_its_range(metadata: Metadata, minor: int) -> None:
    pinned = pins_on(f"3.{minor}")
    for one in requirements(metadata):
        assert one.specifier.contains(pinned[canonicalize_name(one.name)]), str(one)
