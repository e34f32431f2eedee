"""`connector sync`: of one project, of all of them, once or as a service."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime
from typing import TYPE_CHECKING

import click

from connector.active_learning import DEFAULT_MAX_ANNOTATIONS, DEFAULT_STRATEGY, STRATEGY_NAMES
from connector.cli.options import (
    annotator_version_option,
    audit_option,
    cost_option,
    explain,
    media_option,
    open_servers,
    project_option,
    say,
    server_options,
)
from connector.cli.share import Share
from connector.errors import UsageError, gravest_exit_code
from connector.whole_number import WholeNumber

if TYPE_CHECKING:
    from connector.backend import Backend
    from connector.label_studio.client import LabelStudio
    from connector.settings import Settings
    from connector.state.project_state import State
    from connector.sync.options import Cost
    from connector.sync.projects import ProjectSyncs, Servers, SyncResult


@click.command(short_help="Read new annotations, and publish what is asked next.")
@project_option("The project in Label Studio to sync.", required=False)
@click.option("--all", "all_projects", is_flag=True, help="Sync every project that init has set up, one after another.")
@click.option(
    "--every",
    type=WholeNumber(5, 86_400),
    metavar="SECONDS",
    help="Keep running: sync again this many seconds after each sync (at least 5), or as soon as half of the window is "
    "used up. SIGTERM or Ctrl-C ends it.",
)
@click.option(
    "--window",
    type=WholeNumber(1, 5000),
    metavar="N",
    default=100,
    show_default=True,
    help="Number of tasks to put in order. If few of the last are new, some new ones follow them, so that annotators "
    "do not run out.",
)
@click.option(
    "--max-annotations-per-task",
    type=WholeNumber(),
    metavar="N",
    show_default=f"{DEFAULT_MAX_ANNOTATIONS}, or what init --min-annotations-per-task asks for if that is more",
    help="Never ask for more annotations of a task.",
)
@click.option(
    "--train",
    type=click.Choice(["auto", "always", "never"]),
    default="auto",
    show_default=True,
    help="Train the model if enough labels have changed (auto), at every sync, or never.",
)
@click.option(
    "--strategy",
    type=click.Choice(STRATEGY_NAMES),
    default=DEFAULT_STRATEGY,
    show_default=True,
    metavar="NAME",
    help=f"How to choose tasks: {', '.join(STRATEGY_NAMES)}.",
)
@click.option(
    "--ground-truth",
    is_flag=True,
    help="Use tasks with a ground truth as a test set: the model is not trained on them, and they are not asked for. "
    "Label Studio marks all imported annotations as ground truth.",
)
@click.option(
    "--gold",
    type=Share(0.05, 0.5),
    metavar="SHARE",
    default=0.0,
    show_default=True,
    help="Share of the window that asks for tasks whose class is known, such as 0.05, to judge annotators.",
)
@click.option(
    "--prelabel",
    default="none",
    show_default=True,
    metavar="none|new|NAME",
    help="Preselect a label on new tasks: the model's answer (new), or that of the machine NAME. People tend to follow "
    "it, and status tells how far. Second opinions and tasks of the audit are always blind.",
)
@click.option(
    "--publish-consensus",
    is_flag=True,
    help="Show consensus labels in the Data Manager, as predictions of their own model version.",
)
@audit_option
@click.option(
    "--skip-ambiguous",
    is_flag=True,
    help="Ask for no further opinion on tasks that people honestly differ on, as far as labels show it.",
)
@annotator_version_option
@cost_option
@media_option
@click.option("--dry-run", is_flag=True, help="Show what the next window would be, and change nothing.")
@server_options
def sync(
    project_id: int | None,
    all_projects: bool,
    every: int | None,
    window: int,
    max_annotations_per_task: int | None,
    train: str,
    strategy: str,
    ground_truth: bool,
    gold: float,
    prelabel: str,
    publish_consensus: bool,
    audit: float,
    skip_ambiguous: bool,
    annotator_versions: tuple[str, ...],
    cost: Cost,
    dry_run: bool,
    as_json: bool,
    **servers: str | None,
) -> None:
    """Pull annotations, train the model if that is due, and put the label stream in order.

    Run it from cron, or with --every as a service.

    Example: connector sync --project 7 --json

    Exit code with --all: that of the gravest error, 1 before 2 before 3.
    """
    from connector.sync.signals import Stopped, StopSignals

    if (project_id is not None) == all_projects:
        raise click.UsageError("Give --project ID, or --all for every project that init has set up.")
    if annotator_versions and (all_projects or dry_run):
        other = "--all" if all_projects else "--dry-run"
        raise click.UsageError(
            f"Give --annotator-version without {other}. It is remembered: connector init --project ID "
            "--annotator-version NAME."
        )
    if every is not None and dry_run:
        raise click.UsageError("Give --dry-run without --every: nothing would change from one sync to the next.")
    context = click.get_current_context()
    if every is not None:
        stop = context.with_resource(StopSignals())

    from connector.progress import Reporter
    from connector.retry import Retries
    from connector.sync.options import SyncOptions
    from connector.sync.projects import ProjectSyncs
    from connector.sync.scheduler import Scheduler

    settings, gateway, state = open_servers(servers)
    options = SyncOptions(
        window=window,
        max_annotations_per_task=max_annotations_per_task,
        train=train,
        prelabel_new=prelabel == "new",
        prelabel="" if prelabel in ("none", "new") else prelabel,
        dry_run=dry_run,
        scorer=settings.scorer,
        strategy=strategy,
        ground_truth=ground_truth,
        gold=gold,
        publish_consensus=publish_consensus,
        audit=audit,
        skip_ambiguous=skip_ambiguous,
        annotator_versions=annotator_versions,
        cost=cost,
        media_hosts=settings.allowed_hosts,
    )

    def reporter(project: int) -> Reporter:
        if every is not None:
            return Reporter(about=f"Project {project}: ", quiet=True, checkpoint=stop.check)
        return Reporter(about=f"Project {project}: " if all_projects else "")

    if every is not None:  # a signal ends the wait for a server, too
        gateway.retries = Retries(settings.retry_seconds, sleep=stop.sleep)
    with closing(
        ProjectSyncs(_servers(settings, gateway, state), options, reporter=reporter, only=project_id)
    ) as syncs:
        if every is None:
            context.exit(_sync_once(syncs, several=all_projects, as_json=as_json))
        log = ServiceLog(several=all_projects, as_json=as_json)
        scheduler = Scheduler(every, syncs, log, wait=stop.wait, clock=time.monotonic, alone=not all_projects)
        with suppress(Stopped):
            scheduler.run_forever()


def _servers(settings: Settings, gateway: LabelStudio, state: State) -> Servers:
    from connector.label_studio.client import LabelStudio
    from connector.retry import Retries
    from connector.sync.projects import Servers

    url, token = settings.label_studio_url, settings.label_studio_api_key.get_secret_value()

    def open_backend() -> Backend:
        from connector.backend import Backend  # with NumPy: a sync with nothing to do must not pay for it

        return Backend.of(settings, gateway.retries)

    return Servers(
        url,
        gateway,
        state,
        open_backend=open_backend,
        open_probe=lambda: LabelStudio(url, token, retries=Retries(0)),
        explain=explain,
    )


def _sync_once(syncs: ProjectSyncs, *, several: bool, as_json: bool) -> int:
    """Syncs each project once, prints the results, and returns the exit code."""
    from connector.sync.projects import format_error, format_untried
    from connector.sync.summary import format_summary

    projects = syncs.projects()
    if not projects:
        raise UsageError(syncs.no_projects())
    results: list[SyncResult] = []
    for result in syncs.sync(projects):
        results.append(result)
        if result.summary is not None and not as_json:
            click.echo(format_summary(result.summary))
        elif result.error is not None and not result.untried:
            say(format_error(result) if several else f"Error: {result.error}", err=True)
    if untried := format_untried(results):
        click.echo(untried, err=True)
    if as_json and several:
        click.echo(json.dumps({"projects": [result.to_json() for result in results]}))
    elif as_json and results[0].summary is not None:
        click.echo(json.dumps(results[0].to_json()))
    return gravest_exit_code(result.exit_code for result in results)


class ServiceLog:
    """What `--every` prints: one line per sync, or one object per round, each with the time."""

    def __init__(self, *, several: bool, as_json: bool) -> None:
        self._several = several
        self._as_json = as_json
        self._error_shown = False

    def no_projects(self, *, any_more: bool) -> None:
        """There are no projects to sync."""
        since = "any more" if any_more else "yet"
        click.echo(_with_time(f"No project is set up {since}. Waiting for connector init --project ID."), err=True)

    def sync_ended(self, result: SyncResult, *, notable: bool) -> None:
        """A sync has ended."""
        from connector.sync.projects import format_error
        from connector.sync.summary import format_summary

        if not notable:
            return
        if result.summary is not None:
            if not self._as_json:
                click.echo(_with_time(format_summary(result.summary)))
            return
        self._error_shown = True
        if not result.untried:
            say(_with_time(format_error(result)), err=True)

    def round_ended(self, results: Sequence[SyncResult]) -> None:
        """All syncs of a round have ended."""
        from connector.sync.projects import format_untried

        if self._error_shown and (untried := format_untried(results)):
            click.echo(_with_time(untried), err=True)
        self._error_shown = False
        if self._as_json:
            objects = [result.to_json() for result in results]
            at = datetime.now().astimezone().isoformat(timespec="seconds")
            click.echo(json.dumps({"at": at, **({"projects": objects} if self._several else objects[0])}))


def _with_time(line: str) -> str:
    return f"{datetime.now():%Y-%m-%d %H:%M:%S} {line}"
