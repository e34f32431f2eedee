"""What `connector doctor` finds about a project on the real servers, and doing what its remedies say."""

from __future__ import annotations

import json
import re
import shlex
from typing import Any

from connector.diagnostics.doctor import examine
from connector.diagnostics.finding import Finding
from connector.retry import Retries
from connector.settings import Settings
from support.connector_commands import connector
from support.project_driver import ProjectDriver

CHECKS = [
    "label_studio",
    "version",
    "token",
    "rights",
    "project",
    "members",
    "adopted",
    "sampling",
    "maximum_annotations",
    "show_collab_predictions",
    "show_overlap_first",
    "annotator_evaluation",
    "model_version",
    "served_order",
    "window",
    "held_tasks",
    "skip_queue",
    "stuck_tasks",
    "second_opinions",
    "texts",
    "choices",
    "answers",
    "backend",
    "backend_address",
    "last_sync",
]

FINE: dict[str, str] = {}


def findings(loop: ProjectDriver, **settings: str) -> dict[str, Finding]:
    """All findings by their check; `settings` are named as in the environment."""
    given = {
        "LABEL_STUDIO_URL": loop.gateway.url,
        "LABEL_STUDIO_API_KEY": loop.server.token,
        "ML_BACKEND_URL": loop.backend,
        **settings,
    }
    patience, loop.gateway.retries = loop.gateway.retries, Retries(0)
    try:
        found = examine(loop.id, loop.gateway, loop.state, Settings(**given))
    finally:
        loop.gateway.retries = patience
    names = [finding.check for finding in found]
    assert len(names) == len(set(names))
    for finding in found:
        assert finding.cause.endswith((".", "?")), finding
        assert bool(finding.remedy) == (finding.level != "ok"), finding
    return {finding.check: finding for finding in found}


def not_fine(loop: ProjectDriver, **settings: str) -> dict[str, str]:
    """The checks that are not ok, with their level."""
    return {check: found.level for check, found in findings(loop, **settings).items() if found.level != "ok"}


def follow(loop: ProjectDriver, remedy: str, *, body: dict[str, Any] | None = None, **named: str) -> None:
    """Does what the remedy says, word by word: the first call in it, then the first command.

    `named`: what stands for a word in capitals (`ID`, `NAME`); `body` where the remedy leaves open what to send.
    """
    for word, value in named.items():
        remedy = re.sub(rf"\b{word}\b", value, remedy)
    call = re.search(r"PATCH (\S+) with (\{.*?\}|the data)", remedy)
    if call is not None:
        assert call[1].startswith(loop.gateway.url)
        loop.call("PATCH", call[1].removeprefix(loop.gateway.url), json=body or json.loads(call[2]))
        remedy = remedy[call.end() :]
    command = re.search(r"connector ((?:sync|init)(?: --[a-z-]+ [\w./-]*\w)*)", remedy)
    assert command or call, remedy
    if command is not None:
        done = connector(loop, *shlex.split(command[1]))
        assert done.returncode == 0, done.stderr
