"""What `.ci/run` runs, and what a test does that lacks what it needs."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from support import ROOT
from support.missing import missing

DAY = ["test"]
DAY_AND_ALL_FAULTS = ["test", "MARKERS=not nightly"]


class Repository:
    """A repository with `.ci/run` alone, and a `make` that writes down what it is asked for."""

    def __init__(self, folder: Path, programs: Path) -> None:
        self.folder, self._asked = folder, programs / "asked"
        (folder / ".ci").mkdir(parents=True)
        shutil.copy(ROOT / ".ci/run", folder / ".ci/run")
        make = programs / "make"
        make.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" "CI=$CI" > {self._asked}\n')
        make.chmod(0o755)
        self._environment = {
            **{"PATH": f"{programs}:{os.environ['PATH']}", "HOME": str(programs), "GIT_CONFIG_NOSYSTEM": "1"},
            **{f"GIT_{role}_{what}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
        }
        self.git("init", "--quiet", "--initial-branch", "main")
        self.commit(".ci/run")

    def git(self, *arguments: str) -> None:
        subprocess.run(["git", *arguments], cwd=self.folder, env=self._environment, check=True, capture_output=True)

    def commit(self, *files: str) -> None:
        for file in files:
            (self.folder / file).parent.mkdir(parents=True, exist_ok=True)
            with (self.folder / file).open("a") as opened:
                opened.write("\n")
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", "Change")

    def asked_for(self) -> list[str]:
        """What `.ci/run` asks `make` for, which is told that this is a continuous integration."""
        subprocess.run([self.folder / ".ci/run"], env=self._environment, check=True)
        *asked, ci = self._asked.read_text().splitlines()
        assert ci == "CI=true"
        return asked


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    programs = tmp_path / "programs"
    programs.mkdir()
    return Repository(tmp_path / "repository", programs)


def test_all_faults_run_while_nothing_tells_where_main_was(repository: Repository) -> None:
    repository.commit("connector/sync/cycle.py")
    repository.commit("README.md")
    assert repository.asked_for() == DAY_AND_ALL_FAULTS


@pytest.mark.parametrize("room", ["queue", "sync", "state", "label_studio"])
@pytest.mark.parametrize("before", ["a tag", "main of the origin"])
def test_all_faults_run_where_a_change_touches_what_recovers_from_them(
    repository: Repository, room: str, before: str
) -> None:
    repository.commit(f"connector/{room}/module.py")
    mark: tuple[str, ...] = (
        ("tag", "v1.0.0") if before == "a tag" else ("update-ref", "refs/remotes/origin/main", "HEAD")
    )
    repository.git(*mark)
    repository.commit("README.md", "connector/reporting/html.py")
    assert repository.asked_for() == DAY
    repository.commit(f"connector/{room}/module.py")
    repository.commit("README.md")
    assert repository.asked_for() == DAY_AND_ALL_FAULTS


@pytest.mark.parametrize(("ci", "outcome"), [("true", pytest.fail.Exception), ("", pytest.skip.Exception)])
def test_what_a_test_needs_is_missing(monkeypatch: pytest.MonkeyPatch, ci: str, outcome: type[BaseException]) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(outcome, match="There is no Chromium"):
        missing("There is no Chromium.")
