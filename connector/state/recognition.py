"""Recognises a project by itself, whatever address its Label Studio is reached at.

Two projects are the same if they have the same id and Label Studio created both at the same microsecond. This holds for
every spelling of the address, and after the server has moved. It also holds for a copy of the server, which must have a
state database of its own. So another address is accepted without a question only if it leads to the same port of the
same machine, and the project holds the window that the state has published.
"""

from __future__ import annotations

import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Iterator, Mapping
from typing import Any
from urllib.parse import SplitResult, urlsplit

from connector.errors import ConnectorError, ProjectGone, StaleTasks, StateError, TryAgainLater, UsageError
from connector.label_studio.client import LabelStudio
from connector.state.project_state import ProjectState, State

log = logging.getLogger("connector")
THIS_MACHINE = "this machine"


def open_project(project_id: int, gateway: LabelStudio, state: State, *, remember: bool = False) -> ProjectState:
    """The state of the project. It is empty if `init` has not set the project up.

    Args:
        project_id: The project in Label Studio.
        gateway: Label Studio. It is asked only if the project was set up at another address.
        state: The state database.
        remember: Whether to record a new address of the project.

    Raises:
        UsageError: The project was set up at another address, which may be that of another server.
    """
    here = state.at(gateway.url, project_id)
    if here is not None and here.record().adopted_at is not None:
        return here
    elsewhere = state.elsewhere(gateway.url, project_id)
    project = gateway.get_project(project_id) if elsewhere else {}
    for other in elsewhere:
        if not _is_recorded(other, project):
            continue
        if not _is_same_server(other, project_id, gateway):
            raise UsageError(
                f"{_two_addresses(other, gateway)} If that server has moved or has another name, run connector init "
                f"--project {project_id}. A copy of that server needs another state database (CONNECTOR_STATE)."
            )
        if remember:
            _remember(other, gateway)
        return other
    return here or state.project(gateway.url, project_id)


def open_for_init(project_id: int, gateway: LabelStudio, state: State, confirm: Callable[[str], bool]) -> ProjectState:
    """The state in which `init` records the project: the one it has, at whatever address, or an empty one.

    Asks if the project was set up at an address that may be that of another server. If the answer is yes, the new
    address is recorded for all projects of that server.

    Raises:
        UsageError: The answer was no. Nothing was changed.
    """
    project = gateway.get_project(project_id)
    here = state.at(gateway.url, project_id)
    if here is not None and here.record().adopted_at is not None and here.record().is_of(project):
        return here
    for other in state.elsewhere(gateway.url, project_id):
        if not _is_recorded(other, project):
            continue
        if _is_same_server(other, project_id, gateway):
            _remember(other, gateway)
        elif confirm(f"{_two_addresses(other, gateway)} {_COPY} Has that server moved, or has it another name?"):
            _move(other, gateway, state)
        else:
            raise UsageError(
                f"Nothing was changed. {_two_addresses(other, gateway)} Give --yes if that server has moved or has "
                f"another name. {_COPY}"
            )
        return other
    if here is not None and not here.record().is_of(project):
        return state.new_project(gateway.url, project_id, replacing=here)
    return here or state.project(gateway.url, project_id)


def open_deleted(project_id: int, gateway: LabelStudio, state: State) -> ProjectState:
    """The state of a project that Label Studio no longer has, under any spelling of the address."""
    here = state.at(gateway.url, project_id)
    if here is not None and here.record().adopted_at is not None:
        return here
    spelled_otherwise = (other for other in state.elsewhere(gateway.url, project_id) if _is_same_place(other, gateway))
    return next(spelled_otherwise, None) or here or state.project(gateway.url, project_id)


def set_up_projects(gateway: LabelStudio, state: State, *, remember: bool = False) -> dict[int, ProjectState]:
    """The projects that `init` has set up at this Label Studio, by id, under other spellings of its address, too.

    `remember`: whether to record new addresses. Raises TryAgainLater if Label Studio has to be asked and is away.
    """
    found = {project_id: state.project(gateway.url, project_id) for project_id in state.adopted(gateway.url)}
    for other in state.elsewhere(gateway.url):
        project_id = other.record().project_id
        if project_id in found or other.record().created_at is None or not _is_same_place(other, gateway):
            continue
        with contextlib.suppress(UsageError):  # another server had this address, or the project is gone
            project = gateway.get_project(project_id)
            if _is_recorded(other, project) and _is_same_server(other, project_id, gateway):
                found[project_id] = other
                if remember:
                    _remember(other, gateway)
    return dict(sorted(found.items()))


@contextlib.contextmanager
def explain_deleted(project_id: int, gateway: LabelStudio) -> Iterator[None]:
    """Raises ProjectGone if something fails within because the project, which is set up, was deleted.

    Label Studio's calls fail in different ways on a deleted project. So it is looked for after any failure but those
    that may pass.
    """
    try:
        yield
    except ProjectGone as gone:
        raise _deleted(project_id, gone) from gone
    except (TryAgainLater, StateError) as error:
        if not isinstance(error, StaleTasks):
            raise
        _look_for(project_id, gateway)
        raise
    except ConnectorError:
        _look_for(project_id, gateway)
        raise


def _look_for(project_id: int, gateway: LabelStudio) -> None:
    """Raises ProjectGone if the project is gone, and nothing if that cannot be found out."""
    try:
        gateway.get_project(project_id)
    except ProjectGone as gone:
        raise _deleted(project_id, gone) from gone
    except ConnectorError:
        pass


def _deleted(project_id: int, gone: ProjectGone) -> ProjectGone:
    forget = f"connector undo --project {project_id} --forget"
    return ProjectGone(f"{gone} If it was deleted, make the connector forget it: {forget}.")


def not_set_up(url: str, state: State) -> str:
    """What to do if no project of the Label Studio at `url` is set up."""
    others = sorted({address for project in state.elsewhere(url) for address in project.addresses()})
    if not others:
        return f"No project of {url} is set up yet: run connector init --project ID first."
    return (
        f"No project of {url} is set up yet. This state database knows projects of {', '.join(others)}. Correct "
        "LABEL_STUDIO_URL. If that server has moved, run connector init with one of its projects."
    )


def same_place(one: str, other: str) -> bool:
    """Whether two addresses lead to the same port and path of the same machine, whatever name they give it."""
    first, second = urlsplit(one), urlsplit(other)
    if (_port(first), first.path) != (_port(second), second.path):
        return False
    return not _machines(first.hostname or "").isdisjoint(_machines(second.hostname or ""))


_COPY = "A copy of that server needs another state database (CONNECTOR_STATE)."


def _two_addresses(other: ProjectState, gateway: LabelStudio) -> str:
    record = other.record()
    return f"Project {record.project_id} was set up at {record.url}, and {gateway.url} has the same project."


def _is_recorded(other: ProjectState, project: Mapping[str, Any]) -> bool:
    """Whether the state is that of the project, by when Label Studio created it."""
    record = other.record()
    return bool(record.created_at and project.get("created_at")) and record.is_of(project)


def _is_same_server(other: ProjectState, project_id: int, gateway: LabelStudio) -> bool:
    """Whether the gateway certainly leads to the server at which the project was set up, and not to a copy of it."""
    version = other.record().queue_version
    return _is_same_place(other, gateway) and (not version or version in gateway.model_versions(project_id))


def _is_same_place(other: ProjectState, gateway: LabelStudio) -> bool:
    return any(same_place(address, gateway.url) for address in other.addresses())


def _remember(other: ProjectState, gateway: LabelStudio) -> None:
    record = other.record()
    log.info("%s is another address of %s, where project %d was set up.", gateway.url, record.url, record.project_id)
    other.add_address(gateway.url)


def _move(moved: ProjectState, gateway: LabelStudio, state: State) -> None:
    """Records the new address of the server of a project, for all of the server's projects."""
    before = set(moved.addresses())
    for other in state.elsewhere(gateway.url):
        if before.isdisjoint(other.addresses()):
            continue
        with contextlib.suppress(UsageError):  # deleted since
            record = other.record()
            if _is_recorded(other, gateway.get_project(record.project_id)):
                _remember(other, gateway)
                other.put(url=gateway.url)


def _port(parts: SplitResult) -> int:
    return parts.port or {"http": 80, "https": 443}[parts.scheme]


def _machines(host: str) -> set[str]:
    """The addresses of a host. All those of this machine itself count as one."""
    try:
        found = {str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(host, None)}
    except (OSError, UnicodeError):  # no such host, or no host's name
        return set()
    own = {address for address in found if _is_own(ipaddress.ip_address(address))}
    return found - own | ({THIS_MACHINE} if own else set())


def _is_own(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    return address.is_loopback or address.is_unspecified
