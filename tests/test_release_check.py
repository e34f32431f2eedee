"""`make release-check` says what is missing for a release."""

import datetime
import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest
from support.built_distributions import ROOT

from connector import __version__

pytestmark = pytest.mark.nightly

TODAY = datetime.date(2027, 3, 1)
WANTED = "'## 1.2.0 (2027-03-01)'."


@pytest.fixture(scope="module")
def check() -> ModuleType:
    spec = importlib.util.spec_from_file_location("release_check", ROOT / "tools" / "release_check.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_build_has_the_version(check: ModuleType) -> None:
    assert check.version_of(ROOT) == __version__


# -- the changelog ---------------------------------------------------------------------------------------------------


@pytest.mark.nightly
@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ("# Changelog\n\n## 1.2.0 (2027-03-01)\n\n- x\n\n## 1.1.0 (2026-01-01)\n", []),
        (
            "# Changelog\n\n## 1.2.0 (unreleased)\n",
            ["CHANGELOG.md says that 1.2.0 is unreleased: make its heading " + WANTED],
        ),
        (
            "## 1.2.0 (2027-02-28)\n",
            ["CHANGELOG.md dates 1.2.0 2027-02-28, and today is another day: make its heading " + WANTED],
        ),
        (
            "## 1.1.0 (2027-03-01)\n",
            ["CHANGELOG.md begins with 1.1.0, connector/__init__.py says 1.2.0: bring them together."],
        ),
        ("## Next\n", ["CHANGELOG.md has no heading of this release: begin it with " + WANTED]),
        ("", ["CHANGELOG.md has no heading of this release: begin it with " + WANTED]),
    ],
)
def test_the_changelog_wants_version_and_day(check: ModuleType, changes: str, said: list[str]) -> None:
    assert list(check.missing_in_changelog(changes, "1.2.0", TODAY)) == said


# -- git -------------------------------------------------------------------------------------------------------------


def git(folder: Path, *arguments: str) -> None:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com"]
    subprocess.run(["git", *who, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A clone with one commit."""
    git(tmp_path, "init", "--bare", "origin.git")
    git(tmp_path, "clone", "origin.git", "checkout")
    clone = tmp_path / "checkout"
    (clone / "file").write_text("1")
    git(clone, "add", "file")
    git(clone, "commit", "--message", "First")
    return clone


@pytest.mark.nightly
def test_a_clean_checkout_without_newer_tags_lacks_nothing(check: ModuleType, checkout: Path) -> None:
    for tag in ("v1.1.0", "v1.2.0rc1", "version-of-yesterday", "9.0"):
        git(checkout, "tag", tag)
    assert list(check.missing_in_git(checkout, "1.2.0")) == []


@pytest.mark.nightly
def test_changed_and_unknown_files_are_named(check: ModuleType, checkout: Path) -> None:
    (checkout / "file").write_text("2")
    for name in "abc":
        (checkout / name).touch()
    (said,) = check.missing_in_git(checkout, "1.2.0")
    assert said == "Files are not as committed (4: file, a, b, …): commit them, or put them away."


@pytest.mark.nightly
@pytest.mark.parametrize("taken", ["v1.2.0", "v1.10.0"])
@pytest.mark.parametrize("where", ["here", "at the remote"])
def test_a_version_that_is_tagged_or_overtaken_is_refused(
    check: ModuleType, checkout: Path, taken: str, where: str
) -> None:
    git(checkout, "tag", taken)
    if where == "at the remote":
        git(checkout, "push", "origin", taken)
        git(checkout, "tag", "--delete", taken)
    (said,) = check.missing_in_git(checkout, "1.2.0")
    assert said == f"{taken[1:]} is tagged already: raise the version in connector/__init__.py above it."


@pytest.mark.nightly
def test_what_is_no_checkout_is_said(check: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "pyproject.toml").write_text("[project\n")
    assert check.main(tmp_path) == 1
    assert capsys.readouterr().out.startswith("This is no checkout to release from; ")


@pytest.mark.nightly
def test_a_remote_that_does_not_answer_is_told(check: ModuleType, checkout: Path) -> None:
    git(checkout, "remote", "set-url", "origin", str(checkout / "none"))
    (said,) = check.missing_in_git(checkout, "1.2.0")
    assert said.startswith("The remote origin does not answer")


# -- the whole -------------------------------------------------------------------------------------------------------

PROJECT = """
[build-system]
requires = ["hatchling"]
build-backend = "hatchling.build"
[project]
name = "small"
requires-python = ">=3.10"
dynamic = ["version"]
[tool.hatch.version]
path = "connector/__init__.py"
[tool.hatch.build.targets.wheel]
packages = ["connector"]
"""
EXAMINED = """
import os, pathlib
def test_both_are_there():
    names = sorted(path.name for path in pathlib.Path(os.environ["DISTRIBUTIONS"]).iterdir())
    assert names == ["small-1.2.0-py3-none-any.whl", "small-1.2.0.tar.gz"]
"""


@pytest.mark.nightly
@pytest.mark.parametrize("fails", [False, True])
def test_all_that_is_missing_is_said_at_once_or_what_to_do_next(checkout: Path, fails: bool) -> None:
    today = datetime.date.today().isoformat()
    files = {
        "pyproject.toml": PROJECT,
        "connector/__init__.py": '__version__ = "1.2.0"\n',
        "CHANGELOG.md": f"## 1.2.0 ({'unreleased' if fails else today})\n",
        "tests/test_packaging.py": "def test_it():\n    assert False\n" if fails else EXAMINED,
        "tests/test_installation.py": EXAMINED.replace("both", "really_both"),
        "tools/release_check.py": (ROOT / "tools" / "release_check.py").read_text(encoding="utf-8"),
        ".gitignore": "dist/\n__pycache__/\n.pytest_cache/\n",
        "dist/of-before.whl": "",
    }
    for name, text in files.items():
        (checkout / name).parent.mkdir(exist_ok=True)
        (checkout / name).write_text(text, encoding="utf-8")
    git(checkout, "add", ".")
    git(checkout, "commit", "--message", "Second")
    if fails:
        (checkout / "stray").touch()
    script = checkout / "tools" / "release_check.py"
    done = subprocess.run([sys.executable, script], cwd=checkout, capture_output=True, text=True, timeout=120)
    lines = done.stdout.splitlines()
    if fails:
        assert done.returncode == 1
        assert lines[lines.index("1.2.0 cannot be released yet:") + 1 :] == [
            f"- CHANGELOG.md says that 1.2.0 is unreleased: make its heading '## 1.2.0 ({today})'.",
            "- Files are not as committed (1: stray): commit them, or put them away.",
            "- The distributions in dist/ do not pass their tests: what fails is above.",
        ]
    else:
        assert done.returncode == 0, done.stdout + done.stderr
        assert lines[-2:] == [
            "1.2.0 can be released, if `make test-all` has passed on this commit. What is left:",
            "git tag v1.2.0 && git push origin v1.2.0 && .venv/bin/uv publish "
            "dist/small-1.2.0-py3-none-any.whl dist/small-1.2.0.tar.gz",
        ]
