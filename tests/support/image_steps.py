"""Runs a Dockerfile's steps without Docker: stages are folders, and the paths of the image lie below them.

What cannot be done so: the base image is the machine itself with the interpreter of the tests, and users are not made.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import sysconfig
import venv
from dataclasses import dataclass, field
from pathlib import Path
from string import Template

from docker.utils.build import exclude_paths

# Where the Dockerfile puts things; all else that begins with a slash is the machine's own.
_PLACES = re.compile(r"(?<![\w.])/(?=(?:src|dist|opt/venv|models|state|home/app)\b)")
# What the environment of the tests has and an image has not, or shall install by itself.
_NOT_SHARED = re.compile(r"(?i)(__editable__|label[_-]studio[_-]activelab|pip\b|setuptools\b|dumb[_-]init|.*\.pth$)")
_OURS = ("PYTHON", "VIRTUAL_ENV", "ML_BACKEND_", "CONNECTOR_", "LABEL_STUDIO_", "HF_")


@dataclass(frozen=True)
class Instruction:
    """One instruction of a Dockerfile: `RUN --mount=… pip …` is RUN, {"mount": "…"}, "pip …"."""

    name: str
    flags: dict[str, str]
    value: str

    @property
    def words(self) -> list[str]:
        """The words of the exec form, of HEALTHCHECK those of its CMD; or those that the value consists of."""
        value = self.value.removeprefix("CMD ") if self.name == "HEALTHCHECK" else self.value
        return list(json.loads(value)) if value.startswith("[") else shlex.split(value)


def read(dockerfile: Path) -> list[Instruction]:
    """The instructions, with continued lines joined and without comments."""
    lines = [line for line in dockerfile.read_text().splitlines() if not line.lstrip().startswith("#")]
    found = []
    for line in "\n".join(lines).replace("\\\n", "").splitlines():
        if line.strip():
            name, _, rest = line.strip().partition(" ")
            rest, flags = rest.strip(), {}
            while match := re.match(r"--([\w-]+)=(\S+)\s+", rest):
                flags[match[1]], rest = match[2], rest[match.end() :]
            found.append(Instruction(name.upper(), flags, rest))
    return found


def context(root: Path) -> set[str]:
    """The files that `.dockerignore` leaves of the repository, by Docker's own rules."""
    patterns = [line for line in (root / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    return {path for path in exclude_paths(str(root), patterns) if (root / path).is_file()}


@dataclass
class Image:
    """What the last stage came to; `root` is its file system."""

    root: Path
    environment: dict[str, str] = field(default_factory=dict)
    last: dict[str, Instruction] = field(default_factory=dict)

    def mapped(self, text: str) -> str:
        """The text with the image's paths as those that they have here."""
        return _PLACES.sub(f"{self.root}/", text)

    def command(self, name: str) -> list[str]:
        """The words of ENTRYPOINT, CMD or HEALTHCHECK, with paths as they are here."""
        return [self.mapped(word) for word in self.last[name].words]


class Builder:
    """Builds the image of `source` in `home`, with the installed packages of the tests in every environment's sight."""

    def __init__(self, source: Path, home: Path) -> None:
        """`home` is empty."""
        self.ran: list[str] = []  # every RUN with what it said
        self._source = source
        self._home = home
        self._files = context(source)
        self._shared = home / "shared"
        self._share()
        base = home / "base"
        venv.create(base, with_pip=True)
        self._show_shared(base)
        # As in a container: nothing of the environment that the tests run in, but how to reach the package index.
        self._first = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        self._first["PATH"] = f"{base / 'bin'}:/usr/local/bin:/usr/bin:/bin"
        self._first["HOME"] = str(home)

    def build(self) -> Image:
        """Runs all steps; one that fails is an AssertionError with what it said."""
        image = Image(self._home / "root")
        stage = ""
        for step in read(self._source / "Dockerfile"):
            if step.name == "FROM":
                if image.last:
                    image.root.rename(self._home / stage)
                stage = step.value.rpartition(" AS ")[2]
                image = Image(self._home / "root", dict(self._first))
                image.root.mkdir()
            if step.name != "ARG" or image.last:  # an ARG before the first FROM is of no stage
                self._run(step, image)
                image.last[step.name] = step
        return image

    def _run(self, step: Instruction, image: Image) -> None:
        directory = Path(image.mapped(image.last["WORKDIR"].value)) if "WORKDIR" in image.last else image.root
        if step.name == "WORKDIR":
            Path(image.mapped(step.value)).mkdir(parents=True, exist_ok=True)
        elif step.name == "ARG":
            name, _, value = step.value.partition("=")
            image.environment[name] = value
        elif step.name == "ENV":
            for pair in step.words:
                name, _, value = pair.partition("=")
                image.environment[name] = Template(image.mapped(value)).substitute(image.environment)
        elif step.name == "COPY":
            self._copy(step, image, directory)
        elif step.name == "RUN" and step.value.startswith("useradd "):
            for path in re.findall(r"/(?:models|state)\b", step.value):
                Path(image.mapped(path)).mkdir()
        elif step.name == "RUN":
            self._shell(step, image, directory)

    def _copy(self, step: Instruction, image: Image, directory: Path) -> None:
        *sources, target = step.words
        to = directory / image.mapped(target)
        for source in sources:
            if "from" in step.flags:
                shutil.copytree(self._home / step.flags["from"] / source.lstrip("/"), to, symlinks=True)
                continue
            inside = [path for path in self._files if path == source or path.startswith(f"{source}/")]
            assert inside, f"COPY {source}: it is not there, or .dockerignore leaves it out"
            for path in inside:
                file = to / Path(path).relative_to(source) if path != source else directory / target / Path(path).name
                file.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self._source / path, file)

    def _shell(self, step: Instruction, image: Image, directory: Path) -> None:
        mounts = dict(pair.split("=", 1) for pair in step.flags.get("mount", "").split(",") if pair)
        target = Path(image.mapped(mounts["target"])) if mounts else None
        if target is not None:
            assert mounts["type"] == "bind"
            shutil.copytree(self._home / mounts["from"] / mounts["source"].lstrip("/"), target)
        done = subprocess.run(
            ["/bin/sh", "-c", image.mapped(step.value)],
            cwd=directory,
            env=image.environment,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"RUN {step.value}\n{done.stdout}\n{done.stderr}"
        self.ran.append(f"{step.value}\n{done.stdout}")
        if target is not None:
            shutil.rmtree(target)
        for made in image.root.rglob("pyvenv.cfg"):
            self._show_shared(made.parent)

    def _share(self) -> None:
        # torch and all else that is here already need not be fetched again.
        self._shared.mkdir()
        for installed in Path(sysconfig.get_path("purelib")).iterdir():
            if not _NOT_SHARED.match(installed.name):
                (self._shared / installed.name).symlink_to(installed)
        if sys.version_info < (3, 11):
            (self._shared / "tomllib.py").write_text("from tomli import *\n")  # the image's Python has it

    def _show_shared(self, environment: Path) -> None:
        (packages,) = environment.glob("lib/python*/site-packages")
        (packages / "shared.pth").write_text(f"{self._shared}\n")
