"""`make release-check`: says in sentences what is missing before this checkout can be released.

It looks at the version, CHANGELOG.md and git, builds both distributions into dist/ and has tests/test_packaging.py and
tests/test_installation.py examine these very files.
"""

from __future__ import annotations

import datetime
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from packaging.version import InvalidVersion, Version

ROOT = Path(__file__).parents[1]
TESTS = ("tests/test_packaging.py", "tests/test_installation.py")
VERSION_IS_IN = "connector/__init__.py"


def main(root: Path = ROOT) -> int:
    """Prints what is missing, or what to do next; returns the exit code."""
    try:
        version = version_of(root)
        _git(root, "rev-parse", "--git-dir")
    except subprocess.CalledProcessError as error:
        print(f"This is no checkout to release from; {Path(error.cmd[0]).name} says: {error.stderr.strip()}")
        return 1
    changes = (root / "CHANGELOG.md").read_text(encoding="utf-8")
    missing = [
        *missing_in_changelog(changes, version, datetime.date.today()),
        *missing_in_git(root, version),
        *missing_in_distributions(root),
    ]
    if missing:
        print(f"{version} cannot be released yet:", *(f"- {sentence}" for sentence in missing), sep="\n")
        return 1
    files = " ".join(f"dist/{path.name}" for path in sorted((root / "dist").iterdir()))
    print(f"{version} can be released, if `make test-all` has passed on this commit. What is left:")
    print(f"git tag v{version} && git push origin v{version} && .venv/bin/uv publish {files}")
    return 0


def version_of(root: Path) -> str:
    """The version that a build would have."""
    command = [sys.executable, "-m", "hatchling", "version"]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, check=True).stdout.strip()


def missing_in_changelog(changes: str, version: str, today: datetime.date) -> Iterator[str]:
    """What the first heading, `## VERSION (DATE)`, lacks for a release of `version` today."""
    wanted = f"## {version} ({today.isoformat()})"
    heading = next((line for line in changes.splitlines() if line.startswith("## ")), "")
    named = re.fullmatch(r"## (\S+) \((.+)\)", heading)
    if named is None:
        yield f"CHANGELOG.md has no heading of this release: begin it with '{wanted}'."
        return
    if named[1] != version:
        yield f"CHANGELOG.md begins with {named[1]}, {VERSION_IS_IN} says {version}: bring them together."
    if named[2] == "unreleased":
        yield f"CHANGELOG.md says that {named[1]} is unreleased: make its heading '{wanted}'."
    elif named[2] != today.isoformat():
        yield f"CHANGELOG.md dates {named[1]} {named[2]}, and today is another day: make its heading '{wanted}'."


def missing_in_git(root: Path, version: str) -> Iterator[str]:
    """What differs from a commit, and tags that are in the way, here and at the remotes."""
    changed = _git(root, "status", "--porcelain").splitlines()
    if changed:
        shown = ", ".join(line[3:] for line in changed[:3]) + (", …" if len(changed) > 3 else "")
        yield f"Files are not as committed ({len(changed)}: {shown}): commit them, or put them away."
    tags = _git(root, "tag", "--list").splitlines()
    for remote in _git(root, "remote").splitlines():
        try:
            listed = _git(root, "ls-remote", "--tags", "--refs", remote)
        except subprocess.SubprocessError:
            yield f"The remote {remote} does not answer: find out with `git ls-remote {remote}` which tags it has."
        else:
            tags += [line.rpartition("refs/tags/")[2] for line in listed.splitlines()]
    newest = max(filter(None, map(_version, tags)), default=None)
    if newest is not None and newest >= Version(version):
        yield f"{newest} is tagged already: raise the version in {VERSION_IS_IN} above it."


def missing_in_distributions(root: Path) -> Iterator[str]:
    """Builds the sdist, and the wheel from it, into dist/; a sentence where they do not pass their tests."""
    dist = root / "dist"
    shutil.rmtree(dist, ignore_errors=True)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(dist), str(root)]
    if subprocess.run(build, check=False).returncode != 0:
        yield "The distributions cannot be built: what `python -m build` says is above."
        return
    environment = os.environ | {"DISTRIBUTIONS": str(dist)}
    tests = [sys.executable, "-m", "pytest", "--verbose", *TESTS]
    if subprocess.run(tests, cwd=root, env=environment, check=False).returncode != 0:
        yield "The distributions in dist/ do not pass their tests: what fails is above."


def _git(root: Path, *arguments: str) -> str:
    command, asks_nothing = ["git", *arguments], os.environ | {"GIT_TERMINAL_PROMPT": "0"}
    done = subprocess.run(command, cwd=root, env=asks_nothing, capture_output=True, text=True, check=True, timeout=60)
    return done.stdout


def _version(tag: str) -> Version | None:
    """The version that a tag like v0.1.0 names."""
    try:
        return Version(tag) if tag.startswith("v") else None
    except InvalidVersion:
        return None


if __name__ == "__main__":
    sys.exit(main())
