"""Doctor's checks of the servers: Label Studio, its token, the project's settings and the ML backend."""

from __future__ import annotations

import base64
import contextlib
import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

from connector.annotations.questions import Questions
from connector.backend import Backend, RefusedCredentials
from connector.diagnostics.finding import Finding, ok, problem, warning
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.formatting import count, format_value, listed
from connector.label_studio.client import REFUSED_BY_BACKEND, LabelStudio
from connector.queue.settings import REQUIRED_SETTINGS, wrong_settings
from connector.queue.versions import our_versions, unknown_newer
from connector.state.rows import ProjectRecord

TESTED_LABEL_STUDIO = "1.23.2"
OPEN_SOURCE = "Community"
EXPIRES_SOON = timedelta(days=14)

# What init, sync and undo do in Label Studio.
NEEDED_RIGHTS = (
    "projects.view",
    "projects.change",
    "tasks.view",
    "tasks.change",
    "predictions.any",
    "views.view",
    "views.create",
    "views.change",
    "views.delete",
    "webhooks.view",
    "webhooks.change",
)

# Why another value breaks the order, and how people change it.
_SETTINGS = {
    "sampling": ("Label Studio does not serve the window", "in Settings, General, Task Sampling"),
    "maximum_annotations": ("random started tasks are served before all others", "through the API"),
    "show_overlap_first": ("second opinions are served before all new tasks", "through the API"),
    "show_collab_predictions": (
        "Label Studio forgets the window the next time its settings are saved",
        "in Settings, Annotation, Use predictions to prelabel tasks",
    ),
}


def version(server: Mapping[str, Any]) -> Finding:
    """Is this the version of Label Studio that we tested?"""
    release = f"{server.get('release')} ({server.get('edition')})"
    if server.get("release") == TESTED_LABEL_STUDIO:
        return ok("version", f"Label Studio {release}, the version that we tested.")
    return warning(
        "version",
        f"This Label Studio is {release}, which is untested. We tested {TESTED_LABEL_STUDIO}.",
        "Check served_order again after a few annotations.",
    )


def token(key: str, email: str, now: datetime) -> Finding:
    """Whose token is it, and how long is it valid?"""
    ends = expiry(key)
    if ends is None:
        return ok("token", f"A legacy token of {email}, valid until it is reset.")
    description = f"A personal access token of {email}, valid until {ends:%Y-%m-%d}"
    if ends - now > EXPIRES_SOON:
        return ok("token", f"{description}.")
    return warning(
        "token",
        f"{description}, which is soon.",
        "Make a new one in Label Studio, Account & Settings, Personal Access Token, and set LABEL_STUDIO_API_KEY.",
    )


def expiry(key: str) -> datetime | None:
    """When a personal access token ends. None for a legacy token, which ends only when it is reset."""
    try:
        payload = key.split(".")[1]
        ends = json.loads(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))["exp"]
        return datetime.fromtimestamp(ends, timezone.utc)
    except (IndexError, ValueError, KeyError, TypeError):
        return None


def rights(user: Mapping[str, Any]) -> Finding:
    """Has the token's user the rights that init, sync and undo need?"""
    permissions = user.get("permissions")
    if permissions is None:
        return ok("rights", "This Label Studio does not say what its users may do.")
    missing = [name for name in NEEDED_RIGHTS if name not in permissions]
    if not missing:
        return ok("rights", f"{user['email']} may do all that is needed.")
    return problem(
        "rights",
        f"{user['email']} lacks {', '.join(missing)} in Label Studio.",
        "Give that user a role that has these rights, or set LABEL_STUDIO_API_KEY to the token of a user who has them.",
    )


def settings(project: Mapping[str, Any]) -> Iterator[Finding]:
    """Are the project's settings as the queue needs them?"""
    wrong = wrong_settings(project)
    for name, required in REQUIRED_SETTINGS.items():
        why, how = _SETTINGS[name]
        if name in wrong:
            yield problem(
                name,
                f"It is {format_value(project.get(name))} instead of {format_value(required)}: {why}. Someone changed "
                f"it {how}.",
                f"Run connector sync --project {project['id']}, which restores it.",
            )
        else:
            yield ok(name, f"It is {format_value(required)}.")


def annotator_evaluation(project: Mapping[str, Any], url: str) -> Finding:
    """Does annotator evaluation serve tasks with a ground truth first?"""
    if not project.get("annotator_evaluation_enabled"):
        return ok("annotator_evaluation", "It is off.")
    return problem(
        "annotator_evaluation",
        "annotator_evaluation_enabled is on: second opinions on tasks with a ground truth are served before all "
        "others, and to several people at once.",
        "In the Enterprise edition, turn it off in Settings, Quality, Annotator Evaluation. Without such a page, "
        f'PATCH {url}/api/projects/{project["id"]}/ with {{"annotator_evaluation_enabled": false}}.',
    )


def model_version(project: Mapping[str, Any], versions: Mapping[str, int], record: ProjectRecord) -> Finding:
    """Does Label Studio hold the published window, and does the project point at it?"""
    ours, served = record.queue_version, project["model_version"] or ""
    sync = f"connector sync --project {project['id']}"
    if ours is None and served in our_versions(versions):
        return warning(
            "model_version",
            f"The project serves a window ({served}), and the state database knows of none. Either it is a copy from "
            "before the first sync, or a connector with another state database also runs this project.",
            f"Run {sync}. If this comes again, look for the other connector.",
        )
    if ours is None:
        return problem("model_version", "Nothing is published yet: tasks are served in random order.", f"Run {sync}.")
    repair = f"Run {sync}, which publishes the window again."
    predictions, size = versions.get(ours, 0), record.queue_size or 0
    if size and predictions != size:
        what = "is gone" if not predictions else f"has {count(predictions, 'prediction')} instead of {size:,}"
        cause = f"The window ({ours}) {what}: someone deleted predictions or tasks in the Data Manager."
        return problem("model_version", cause, repair)
    if served == ours:
        return ok("model_version", f"The project serves our window ({ours})." if ours else "The window is empty.")
    if served in unknown_newer(versions, ours):
        return warning(
            "model_version",
            f"The project serves a newer window ({served}) than the one in the state ({ours}). Either a sync was "
            "killed right after it had published, or a connector with another state database also runs this project.",
            f"Run {sync}. If this comes again, look for the other connector.",
        )
    if served in our_versions(versions):
        cause = f"The project serves an old window of ours ({served})."
    elif not served:
        cause = "The project's model_version is empty: tasks are served in random order."
    else:
        cause = (
            f"The project's model_version is '{served}', not our window ({ours}): tasks are served in another order."
        )
    return problem("model_version", f"{cause} Someone saved Settings, Annotation, or deleted predictions.", repair)


def members(project_id: int, edition: object, gateway: LabelStudio) -> Finding:
    """Has the project members, to whom Label Studio then serves random tasks?"""
    if edition == OPEN_SOURCE:
        return ok(
            "members", "The open-source edition cannot make project members. The check served_order would show them."
        )
    try:
        emails = gateway.members(project_id)
    except UsageError:
        return ok("members", "This Label Studio does not say who is a member. The check served_order would show them.")
    if len(emails) < 2:
        return ok("members", "The project has fewer than two members.")
    return problem(
        "members",
        f"The project has {len(emails)} members ({', '.join(emails[:5])}{', …' if len(emails) > 5 else ''}): with more "
        "than one, Label Studio serves a random task of the window instead of the best.",
        "Remove them from the project, Settings, Members. People of the workspace can label without being members.",
    )


def backend(
    project_id: int, connect: Callable[[], Backend], questions: Questions | None, record: ProjectRecord
) -> Finding:
    """Does the ML backend answer, and do its models know the classes of the labelling config?"""
    train = f"connector sync --project {project_id} --train always"
    with contextlib.closing(connect()) as server:
        try:
            server.check()
            keys = {"": str(project_id)}
            if questions is not None:
                keys = {name: questions.model_key(project_id, name) for name in questions.names}
            models = {name: model for name, key in keys.items() if (model := server.model(key))}
            missing = questions.missing if questions is not None else ()
            kept = [name for name in missing if questions and server.model(questions.model_key(project_id, name))]
        except TryAgainLater as error:
            return problem("backend", str(error), "Start it, or correct ML_BACKEND_URL.", unavailable=True)
        except RefusedCredentials as error:
            return problem("backend", str(error), "Set them in the environment or in .env of the connector.")
        except UsageError as error:
            return problem("backend", str(error), "Correct ML_BACKEND_URL, the address of ml-backend serve.")
        except ConnectorError as error:
            return problem("backend", str(error), "Its log may say more.")
    if not models and record.model_version is not None and not kept:
        return warning(
            "backend",
            f"The ML backend at {server.url} has lost its model ({record.model_version}). Perhaps it runs with "
            "another --model-dir, or it is another server.",
            f"Start it with the folder that it had before, or run {train}.",
        )
    learns = "a training makes one from labels of two classes, on two tasks that differ."
    if not models:
        return ok("backend", f"It answers. It has no model: {learns}")
    several = questions is not None and questions.several
    for control in questions.controls if questions is not None else ():
        model, its = models.get(control.name), f"Its model of '{control.name}'" if several else "Its model"
        if model is None:
            continue
        if set(model["classes"]) != set(control.classes):
            return warning(
                "backend",
                f"{its} knows {listed(model['classes'])}, the labelling config has {listed(control.classes)}.",
                f"Run {train}. It needs labels of two classes, on two tasks that differ.",
            )
        if bool(model.get("multilabel")) != control.multiple:
            kinds = ("one class", "several classes")
            return warning(
                "backend",
                f"{its} was trained for {kinds[not control.multiple]} per task, but the labelling config asks "
                f"for {kinds[control.multiple]}.",
                f"Run {train}.",
            )
    newest, last = max(str(model["model_version"]) for model in models.values()), record.model_version
    other = f" The last window was chosen by {last}." * (last not in (None, newest))
    without = " and ".join(f"'{name}'" for name in keys if name not in models)
    no_model = f" There is no model of {without}: {learns}" if without else ""
    return ok("backend", f"It answers. Its {'newest ' if several else ''}model is {newest}.{other}{no_model}")


def backend_address(backends: list[dict[str, Any]], reached: str | None) -> Finding:
    """Does Label Studio reach the ML backends that are connected to the project?

    `reached`: the address of the one that the connector reaches, if any.
    """
    if not backends:
        return ok("backend_address", "No ML backend is connected in Label Studio. The connector needs none there.")
    broken = [backend for backend in backends if backend["state"] in ("DI", "ER")]
    if not broken:
        return ok("backend_address", f"Label Studio reaches {', '.join(backend['url'] for backend in backends)}.")
    first = broken[0]
    reason = f": {first['error_message']}" if first["state"] == "ER" and first.get("error_message") else ""
    cause = f"Label Studio's ML backend at {first['url']} is {first['readable_state']}{reason}."
    if REFUSED_BY_BACKEND in reason:
        return warning(
            "backend_address",
            f"{cause} It requires other credentials, so predictions on demand in Label Studio do not work.",
            "Run connector init --connect-backend with ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD set to those of "
            "the ML backend. Or change them in Settings, Model.",
        )
    if first["url"].rstrip("/") == reached:
        cause += " The connector reaches it, Label Studio does not."
    return warning(
        "backend_address",
        f"{cause} The queue works all the same, but predictions on demand in Label Studio do not.",
        "Label Studio must reach that address itself. For a private address, start Label Studio with "
        "ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false. In a container, 127.0.0.1 is the container. Or "
        "disconnect the backend in Settings, Model.",
    )
