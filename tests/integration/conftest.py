"""A real Label Studio, a real ML backend and a real browser for all tests; projects are made fresh.

There is one Label Studio on SQLite and, for the tests that ask for both, one on PostgreSQL. Each starts when the first
test needs it. They share an ML backend, which tells projects apart by their ids: no two have the same.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, expect, sync_playwright
from support import ROOT
from support.browser_annotator import MILLISECONDS
from support.browser_pages import log_in as log_in
from support.command_runner import commands as commands
from support.command_runner import other_server as other_server
from support.fault_scenarios import stages as stages
from support.label_studio_server import Annotators, LabelStudio, MakeProject, Project, running_label_studio
from support.missing import missing
from support.postgresql_server import PostgreSQL
from support.project_driver import READY_TASKS, StartProject, projects_under_our_queue, texts
from support.proxy import Proxy
from support.ready_projects import ReadyProjects

from connector.demo import servers
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.init import initialize
from connector.state.project_state import State

LABEL_CONFIG = (ROOT / "label_config.xml").read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def label_studio(request: pytest.FixtureRequest) -> LabelStudio:
    """Label Studio on SQLite, unless a test is parametrised with "postgresql", as `loop.on_both_databases` does."""
    database = getattr(request, "param", "sqlite")
    server: LabelStudio = request.getfixturevalue(f"label_studio_on_{database}")
    return server


@pytest.fixture(scope="session")
def label_studio_on_sqlite() -> Iterator[LabelStudio]:
    with running_label_studio() as server:
        yield server


@pytest.fixture(scope="session")
def label_studio_on_postgresql(postgresql: PostgreSQL) -> Iterator[LabelStudio]:
    with running_label_studio(postgresql) as server:
        yield server


@pytest.fixture(scope="session")
def backend(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a running ML backend with the packaged weights, for the projects of both Label Studios."""
    directory = tmp_path_factory.mktemp("ml-backend")
    # The default encoders of images and recordings come from a model hub.
    encoders = {"ML_BACKEND_IMAGE_ENCODER": "efficientnet-lite0", "ML_BACKEND_AUDIO_ENCODER": "melstats"}
    yield servers.start_ml_backend(directory, environment=encoders).url
    servers.stop(directory, servers.ML_BACKEND)


@pytest.fixture(scope="session")
def people(label_studio: LabelStudio) -> Annotators:
    """`people(n)`: n users of Label Studio, the same ones in every test; a fresh project knows none of them."""
    return label_studio.annotators


@pytest.fixture(scope="session")
def make_project(label_studio: LabelStudio) -> MakeProject:
    """`make_project(texts or tasks, config=…, **settings)`: a new project, its tasks as Label Studio imports them."""

    def make(tasks: list[str] | list[dict[str, Any]], *, config: str = LABEL_CONFIG, **settings: Any) -> Project:
        return label_studio.make_project(tasks, config=config, **settings)

    return make


@pytest.fixture(scope="session")
def ready_projects(label_studio_on_sqlite: LabelStudio, tmp_path_factory: pytest.TempPathFactory) -> ReadyProjects:
    """Copies of a project that init has set up, on the Label Studio on SQLite."""
    server = label_studio_on_sqlite

    def make_pattern() -> tuple[int, Path]:
        project = server.make_project(texts(READY_TASKS), config=LABEL_CONFIG)
        file = tmp_path_factory.mktemp("ready") / "state.sqlite"
        database, gateway = State(f"sqlite:///{file}"), Gateway(server.url, server.token)
        initialize(project.id, gateway, database.project(server.url, project.id), confirm=lambda question: True)
        gateway.close()
        database.close()
        return project.id, file

    return ReadyProjects(server.data, make_pattern)


@pytest.fixture
def start(
    request: pytest.FixtureRequest, label_studio: LabelStudio, make_project: MakeProject, backend: str, tmp_path: Path
) -> Iterator[StartProject]:
    """`start(texts or tasks, adopted=True, config=…, **settings)`: a fresh project, set up unless told not to.

    `fresh`: made by Label Studio's API and by init in any case, where one of `texts(n)` is a copy otherwise.
    """
    ready = request.getfixturevalue("ready_projects") if label_studio.database == "sqlite" else None
    with projects_under_our_queue(label_studio, make_project, backend, tmp_path, ready) as make:
        yield make


@pytest.fixture
def proxy(label_studio: LabelStudio) -> Iterator[Proxy]:
    """A proxy before the running Label Studio."""
    proxy = Proxy(label_studio.url)
    yield proxy
    proxy.close()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: the one on the PATH, or else the one that Playwright installed."""
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    flags = ["--disable-background-networking"]
    if os.geteuid() == 0:
        flags.append("--no-sandbox")  # Chromium refuses to start as root with its sandbox
    with sync_playwright() as playwright:
        if found is None and not Path(playwright.chromium.executable_path).exists():
            missing("There is no Chromium on the PATH and Playwright has none. Run `make chromium`.")
        chromium = playwright.chromium.launch(executable_path=found, headless=True, args=flags)
        expect.set_options(timeout=MILLISECONDS)
        yield chromium
        chromium.close()
