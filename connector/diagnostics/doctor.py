"""`connector doctor`: names what breaks the queue in silence, and the remedy; it changes nothing in Label Studio."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from connector.annotations.label_config import Control
from connector.backend import Backend
from connector.diagnostics import queue_checks as symptoms
from connector.diagnostics import server_checks as checks
from connector.diagnostics.finding import Finding, ok, problem
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.label_studio.client import LabelStudio
from connector.settings import Settings
from connector.state.project_state import ProjectState
from connector.state.pull import Pulled, control_of, look

LEVELS = {"problem": "Problem", "warning": "Warning", "ok": "Fine"}


def examine(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    settings: Settings,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> list[Finding]:
    """The findings of all checks; those that depend on a server that is away, or on `init`, are left out.

    `clock`: an aware datetime.
    """
    return _Examination(project_id, gateway, state, settings, clock()).findings()


def exit_code(findings: Iterable[Finding]) -> int:
    """2 when somebody has to change something, 3 when all problems are servers that are away, 0 without a problem."""
    problems = [finding for finding in findings if finding.level == "problem"]
    if not problems:
        return 0
    return 3 if all(finding.away for finding in problems) else 2


def words(project_id: int, findings: Iterable[Finding]) -> str:
    """A line for each check, problems first."""
    ranked = sorted(findings, key=lambda finding: list(LEVELS).index(finding.level))
    counts = {level: sum(finding.level == level for finding in ranked) for level in LEVELS}
    wrong = [f"{n} {level}{'' if n == 1 else 's'}" for level, n in counts.items() if n and level != "ok"]
    head = " and ".join(wrong) or f"all {counts['ok']} checks are fine"
    width = max(len(finding.check) for finding in ranked)
    lines = [
        f"{LEVELS[finding.level]:7}  {finding.check:{width}}  {' '.join(filter(None, (finding.cause, finding.remedy)))}"
        for finding in ranked
    ]
    return "\n".join([f"Project {project_id}: {head}.", *lines])


class _Examination:
    """One run of all checks: what it learns on the way decides which can follow."""

    def __init__(
        self, project_id: int, gateway: LabelStudio, state: ProjectState, settings: Settings, now: datetime
    ) -> None:
        self.project_id = project_id
        self.gateway = gateway
        self.state = state
        self.settings = settings
        self.now = now
        self.record = state.record()
        self.control: Control | None = None
        self.pulled: Pulled | None = None  # the project as Label Studio has it, where it could be asked
        self.backends: list[dict[str, Any]] | None = None

    def findings(self) -> list[Finding]:
        found: list[Finding] = []
        try:
            for finding in self._of_label_studio():
                found.append(finding)
            answer = ok("label_studio", f"It answers at {self.gateway.url}.")
        except TryAgainLater as error:
            answer = problem("label_studio", str(error), "Start it, or correct LABEL_STUDIO_URL.", away=True)
        except ConnectorError as error:
            answer = problem("label_studio", str(error), "Correct LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY.")
        found.insert(0, answer)

        url = self.settings.ml_backend_url
        backend = checks.backend(
            self.project_id, lambda: Backend.of(self.settings, self.gateway.retries), self.control, self.record
        )
        found.append(backend)
        if self.backends is not None:
            found.append(checks.backend_address(self.backends, url if backend.level != "problem" else None))
        if self.record.adopted_at is not None:
            away = any(finding.away for finding in found)
            tasks = self.state.tasks() if self.pulled is None else self.pulled.tasks
            found.append(symptoms.last_sync(self.project_id, self.record, tasks.values(), self.now, away))
        return found

    def _of_label_studio(self) -> Iterator[Finding]:
        """What Label Studio can be asked; raises where it does not answer or refuses."""
        server, user = self.gateway.version(), self.gateway.whoami()
        yield checks.version(server)
        yield checks.token(self.settings.label_studio_api_key.get_secret_value(), user["email"], self.now)
        yield checks.rights(user)
        try:
            project = self.gateway.get_project(self.project_id)
        except UsageError as error:
            yield problem("project", str(error), "Give the number that stands in the project's address as --project.")
            return
        yield ok("project", f"'{project['title']}' has {project['task_number']} tasks.")
        self.backends = self.gateway.backends(self.project_id)
        yield checks.members(self.project_id, server.get("edition"), self.gateway)
        if self.record.adopted_at is None:
            remedy = f"Run connector init --project {self.project_id}."
            yield problem("adopted", f"Project {self.project_id} is not set up: init has not been run.", remedy)
            return
        yield from self._of_project(project)

    def _of_project(self, project: Mapping[str, Any]) -> Iterator[Finding]:
        """The checks of a project that is set up."""
        if self.record.control is not None:
            self.control = Control.from_json(self.record.control)
        try:
            self.control = control_of(project, self.record)
        except UsageError as error:
            yield problem(
                "adopted",
                str(error),
                "Put the control back in Settings, Labeling Interface; or serve another one: connector init "
                f"--project {self.project_id} --control NAME.",
            )
            yield from checks.settings(project)
            return
        yield ok("adopted", f"Set up for '{self.control.name}' with {', '.join(self.control.classes)}.")
        pulled = look(self.project_id, self.gateway, self.state)
        if self.state.record().queue_version != self.record.queue_version:
            # A sync has published meanwhile: what Label Studio said is of another window than what we know.
            self.record = self.state.record()
            pulled = look(self.project_id, self.gateway, self.state)
        self.pulled = pulled
        chart = symptoms.chart(self.project_id, pulled, self.state)
        order = [
            *checks.settings(pulled.project),
            checks.annotator_evaluation(pulled.project, self.gateway.url),
            checks.model_version(pulled.project, pulled.versions, self.record),
            symptoms.served_order(chart),
        ]
        yield from order
        yield symptoms.window(chart)
        yield symptoms.locks(chart, all(finding.level == "ok" for finding in order))
        yield symptoms.skip_queue(chart, self.gateway.url, self.gateway.emails)
        yield symptoms.zombies(chart)
        yield symptoms.second_opinions(chart, self.gateway.url)
        yield symptoms.texts(chart, self.gateway.url)
        yield symptoms.choices(chart)
