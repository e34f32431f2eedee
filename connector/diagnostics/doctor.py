"""`connector doctor`: names what breaks the queue without an error, and the remedy. Label Studio is only read."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from datetime import datetime, timezone
from typing import Any

from connector.annotations.left_out import data_keys
from connector.annotations.questions import Questions
from connector.backend import Backend
from connector.diagnostics import content_checks, queue_checks, server_checks
from connector.diagnostics.finding import Finding, ok, problem
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.formatting import count
from connector.label_studio.client import LabelStudio
from connector.queue.versions import our_versions
from connector.settings import Settings
from connector.state.lock import is_held
from connector.state.project_state import ProjectState
from connector.state.pull import questions_of, read_snapshot
from connector.state.snapshot import ProjectSnapshot

LEVELS = {"problem": "Problem", "warning": "Warning", "ok": "Fine"}


def examine(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    settings: Settings,
    clock: Callable[[], datetime] = lambda: datetime.now(timezone.utc),
) -> list[Finding]:
    """The findings of all checks, without those that depend on an unavailable server or on `init`.

    Args:
        project_id: Label Studio's id of the project.
        gateway: Label Studio.
        state: the project's rows of the state database.
        settings: the addresses and credentials of the servers.
        clock: gives an aware datetime.
    """
    return _Examination(project_id, gateway, state, settings, clock()).findings()


def exit_code(findings: Iterable[Finding]) -> int:
    """2 if a person has to change something, 3 if all problems are unavailable servers, 0 without a problem."""
    problems = [finding for finding in findings if finding.level == "problem"]
    if not problems:
        return 0
    return 3 if all(finding.unavailable for finding in problems) else 2


def format_findings(project_id: int, findings: Iterable[Finding]) -> str:
    """One line per check, problems first."""
    ranked = sorted(findings, key=lambda finding: list(LEVELS).index(finding.level))
    counts = {level: sum(finding.level == level for finding in ranked) for level in LEVELS}
    faults = [count(counts[level], level) for level in ("problem", "warning") if counts[level]]
    head = " and ".join(faults) or f"all {counts['ok']} checks are fine"
    width = max(len(finding.check) for finding in ranked)
    lines = [
        f"{LEVELS[finding.level]:7}  {finding.check:{width}}  {' '.join(filter(None, (finding.cause, finding.remedy)))}"
        for finding in ranked
    ]
    return "\n".join([f"Project {project_id}: {head}.", *lines])


class _Examination:
    """One run of all checks. What a check finds out decides which ones can follow."""

    def __init__(
        self, project_id: int, gateway: LabelStudio, state: ProjectState, settings: Settings, now: datetime
    ) -> None:
        self.project_id = project_id
        self.gateway = gateway
        self.state = state
        self.settings = settings
        self.now = now
        self.record = state.record()
        self.questions: Questions | None = None
        self.pulled: ProjectSnapshot | None = None  # None if Label Studio could not be asked
        self.backends: list[dict[str, Any]] | None = None

    def findings(self) -> list[Finding]:
        findings: list[Finding] = []
        try:
            for finding in self._of_label_studio():
                findings.append(finding)
            connection = ok("label_studio", f"It answers at {self.gateway.url}.")
        except TryAgainLater as error:
            connection = problem("label_studio", str(error), "Start it, or correct LABEL_STUDIO_URL.", unavailable=True)
        except ConnectorError as error:
            connection = problem("label_studio", str(error), "Correct LABEL_STUDIO_URL or LABEL_STUDIO_API_KEY.")
        findings.insert(0, connection)

        url = self.settings.ml_backend_url
        backend = server_checks.backend(
            self.project_id, lambda: Backend.of(self.settings, self.gateway.retries), self.questions, self.record
        )
        findings.append(backend)
        if self.backends is not None:
            findings.append(server_checks.backend_address(self.backends, url if backend.level != "problem" else None))
        if self.record.adopted_at is not None and self.record.interrupted_undo is None:
            unavailable = any(finding.unavailable for finding in findings)
            tasks = self.state.tasks() if self.pulled is None else self.pulled.tasks
            findings.append(queue_checks.last_sync(self.project_id, self.record, tasks.values(), self.now, unavailable))
        return findings

    def _of_label_studio(self) -> Iterator[Finding]:
        """The checks that ask Label Studio. Raises ConnectorError if it does not answer or refuses."""
        server, user = self.gateway.version(), self.gateway.whoami()
        yield server_checks.version(server)
        yield server_checks.token(self.settings.label_studio_api_key.get_secret_value(), user["email"], self.now)
        yield server_checks.rights(user)
        try:
            project = self.gateway.get_project(self.project_id)
        except UsageError as error:
            remedy = "Give the number in the project's address as --project."
            if self.record.adopted_at is not None:
                remedy = f"If it was deleted, run connector undo --project {self.project_id} --forget."
            yield problem("project", str(error), remedy)
            return
        if difference := self.record.difference(project):
            yield problem("project", difference, self.record.set_up_again)
            return
        yield ok("project", f"'{project['title']}' has {count(project['task_number'], 'task')}.")
        self.backends = self.gateway.backends(self.project_id)
        yield server_checks.members(self.project_id, server.get("edition"), self.gateway)
        if self.record.adopted_at is None:
            cause = f"Project {self.project_id} is not set up: init has not been run."
            remedy = f"Run connector init --project {self.project_id}."
            if our_versions(self.gateway.model_versions(self.project_id)):
                cause = (
                    f"Project {self.project_id} has windows that this state database (CONNECTOR_STATE) does not know."
                )
                remedy = (
                    "Set CONNECTOR_STATE to the one that init was run with. If it is lost, connector init --project "
                    f"{self.project_id} takes the project over as it is."
                )
            yield problem("adopted", cause, remedy)
            return
        if self.record.interrupted_undo is not None:  # the other checks would propose a sync, which is refused
            yield self._of_undo()
            return
        yield from self._of_project(project)

    def _of_undo(self) -> Finding:
        """What to do about an undo that has begun and not ended."""
        if is_held(self.record.lock_holder, self.record.lock_until, self.now.timestamp()):
            return ok("adopted", "An undo is running.")
        return problem(
            "adopted",
            "An undo was interrupted. The project is neither as init found it nor as init set it up.",
            f"Run connector undo --project {self.project_id} again. Or go on using the project: connector init "
            f"--project {self.project_id}.",
        )

    def _of_project(self, project: Mapping[str, Any]) -> Iterator[Finding]:
        """The checks of a project that is set up."""
        try:
            self.questions = questions_of(project, self.record)
        except UsageError as error:
            yield problem(
                "adopted",
                str(error),
                "Put the control back in Settings, Labeling Interface. Or serve another one: connector init "
                f"--project {self.project_id} --control NAME.",
            )
            yield from server_checks.settings(project)
            return
        yield content_checks.served(self.questions, project)
        pulled = read_snapshot(self.project_id, self.gateway, self.state)
        if self.state.record().queue_version != self.record.queue_version:
            # A sync has published in between, so that `pulled` and the record are of different windows.
            self.record = self.state.record()
            pulled = read_snapshot(self.project_id, self.gateway, self.state)
        self.pulled = pulled
        window = queue_checks.read_window(self.project_id, pulled, self.state)
        order = [
            *server_checks.settings(pulled.project),
            server_checks.annotator_evaluation(pulled.project, self.gateway.url),
            server_checks.model_version(pulled.project, pulled.versions, self.record),
            queue_checks.served_order(window),
        ]
        yield from order
        yield queue_checks.places_left(window)
        yield queue_checks.held_tasks(window, all(finding.level == "ok" for finding in order))
        yield queue_checks.skip_queue(window, self.gateway.url, self.gateway.emails)
        yield queue_checks.stuck_tasks(window, self.gateway.url)
        yield queue_checks.second_opinions(window, self.gateway.url)
        yield content_checks.texts(pulled, self.gateway.url, self._data_keys)
        if pulled.questions.has_media:
            yield self._of_media(pulled)
        if pulled.questions.has_links:
            yield self._of_linked(pulled)
        yield content_checks.choices(pulled)
        yield content_checks.answers(pulled, self.gateway.url)

    def _of_media(self, pulled: ProjectSnapshot) -> Finding:
        from connector.diagnostics import media_checks
        from connector.sync.media import open_fetcher

        with open_fetcher(self.gateway, self.settings.allowed_hosts) as fetcher:
            return media_checks.media(pulled, self.state.media_failures(), fetcher)

    def _of_linked(self, pulled: ProjectSnapshot) -> Finding:
        from connector.diagnostics import media_checks
        from connector.sync.linked import open_fetcher

        with open_fetcher(self.gateway, self.settings.allowed_hosts) as fetcher:
            return media_checks.linked(pulled, self.state.media_failures(), fetcher)

    def _data_keys(self, tasks: Collection[int]) -> list[str]:
        """The keys that the data of these tasks has."""
        return data_keys(self.gateway.tasks_by_id(self.project_id, list(tasks)))
