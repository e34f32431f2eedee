"""`connector init`: takes a project over and records everything it changes."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from connector.annotations.form.data import MISSING, find_value
from connector.annotations.label_config import find_questions, servable
from connector.annotations.left_out import LeftOut, data_keys, no_text_at_all, with_causes
from connector.annotations.questions import Questions, describe, questions_from_json
from connector.errors import ConnectorError, TryAgainLater, UsageError
from connector.formatting import count, format_value, listed
from connector.label_studio.client import REFUSED_BY_BACKEND, LabelStudio
from connector.progress import Reporter
from connector.queue.excluded import find_excluded, store_excluded
from connector.queue.machines import check_versions, store_versions
from connector.queue.settings import REQUIRED_SETTINGS, wrong_settings
from connector.queue.versions import ACCEPTED_LABELS, PUBLISHED_CONSENSUS, our_versions
from connector.queue.views import OwnTabs, create_tabs, has_our_tab
from connector.settings import NO_CREDENTIALS, Credentials
from connector.state.project_state import ProjectState, now
from connector.state.pull import read_all

BACKEND_TITLE = "ActiveLab"
SAMPLE = 20  # tasks whose keys a message names


def initialize(
    project_id: int,
    gateway: LabelStudio,
    state: ProjectState,
    *,
    control_names: Sequence[str] = (),
    fields: Sequence[str] | None = None,
    min_annotations_per_task: int | None = None,
    exclude: Sequence[str] = (),
    include: Sequence[str] = (),
    annotator_versions: Sequence[str] = (),
    dropped_versions: Sequence[str] = (),
    backend_url: str | None = None,
    credentials: Credentials = NO_CREDENTIALS,
    confirm: Callable[[str], bool],
    reporter: Reporter | None = None,
) -> dict[str, Any]:
    """Prepares the project for our queue and returns what was done. A second run changes nothing more.

    Sets REQUIRED_SETTINGS, adds our tabs to the Data Manager and connects the ML backend.

    Args:
        project_id: The project in Label Studio.
        gateway: Label Studio. Its writes are guarded by the project's lock.
        state: The project's state.
        control_names: The controls to serve. Without any, as before, or all that can be served.
        fields: Keys of a task's data that models read. (): they read what the form shows. None: as before.
        min_annotations_per_task: The number of annotations that every task is to have. None: as before.
        exclude: E-mail addresses of annotators whose labels are not to count.
        include: E-mail addresses of annotators whose labels are to count again.
        annotator_versions: Model versions whose predictions are to count as labels of machines.
        dropped_versions: Machines to forget.
        backend_url: The ML backend to connect. None: none.
        credentials: The credentials that Label Studio is to send to the ML backend.
        confirm: Asks a question. The answer decides whether a rule of several annotations per task is ended.
        reporter: Shows the progress.

    Raises:
        UsageError: The answer was no, the labelling config cannot be served, or there is no such annotator. Nothing was
            changed.
        TryAgainLater: Another process holds the project, or has taken it over.
    """
    with state.lock_for_writes(gateway):
        project = gateway.get_project(project_id)
        asked_at = gateway.server_time
        record = state.record()
        recorded = questions_from_json(record.control) if record.control is not None else None
        before = recorded if record.original_settings is not None else None  # after undo, all are taken again
        names_before = before.order if before is not None else ()
        names = [name for name in names_before if name in control_names or not control_names]
        names += [name for name in control_names if name not in names]  # the first keeps the project's model
        fields_before = recorded.fields if recorded is not None else ()
        questions = _questions(project, names, chosen=bool(control_names))
        questions = questions.with_fields(fields_before if fields is None else fields)
        excluded = find_excluded(project_id, gateway, state, exclude, include)
        if annotator_versions or dropped_versions:
            check_versions(annotator_versions, dropped_versions, gateway.model_versions(project_id), state)
        if fields:
            _check_fields(project, gateway, fields)
        agreed: list[str] = []
        if record.original_settings is None:
            agreed = _remember(project, gateway, state, questions, asked_at, confirm, reporter or Reporter())
            record = state.record()
        wrong = wrong_settings(project)
        state.renew_lock()  # the question may have been open for long
        same_config = (questions, project["label_config"]) == (recorded, record.label_config)
        if not same_config or "maximum_annotations" in wrong:
            # The mirror holds other labels or texts, or flags that the PATCH below rewrites: read all again.
            state.put(bookmark=None, full_read=None, window_options=None)
        former = set((record.found or {}).get("former_models", ()))
        if recorded is not None and recorded.order != questions.order:
            state.store_trained({})  # each label is stored under its question
            former |= {recorded.model_key(project_id, name) for name in recorded.order}
            if recorded.order[0] == questions.order[0]:
                former.discard(str(project_id))
        former -= {questions.model_key(project_id, name) for name in questions.order[1:]}
        state.put(control=questions.to_json(), label_config=project["label_config"])
        if min_annotations_per_task is not None:
            state.put(min_annotations_per_task=min_annotations_per_task)
            state.ask_for_a_window()
        store_excluded(excluded, state)
        machines_before = sorted(state.machines())
        store_versions(annotator_versions, dropped_versions, state)
        if wrong:
            keep = {"model_version": project["model_version"]} if project["model_version"] else {}
            gateway.update_project(project_id, **wrong, **keep)
        tabs = create_tabs(project_id, gateway, questions.data_keys, OwnTabs.of(record.found))
        state.renew_lock()
        made = {"made_tabs": [*tabs.renamed, *tabs.ours.values()], "former_models": sorted(former)}
        state.put(found={**(state.record().found or {}), **made})
        connected = authenticated = False
        if backend_url is not None:
            connected, authenticated = _connect(project_id, gateway, backend_url, credentials, state)
        state.renew_lock()
        found = {name: value for name, value in (state.record().found or {}).items() if name != "undo_began"}
        state.put(adopted_at=record.adopted_at or now(), found=found)
    return {
        "project": project_id,
        "title": project["title"],
        "control": questions.names[0],
        "control_before": names_before[0] if names_before else None,
        "classes": list(questions.controls[0].classes),
        **(
            {"questions": _described(questions), "questions_before": list(names_before)}
            if questions.several or len(names_before) > 1
            else {}
        ),
        "fields": {"before": list(fields_before), "after": list(questions.fields)},
        "notes": [*questions.notes, *agreed],
        "changed": sorted(wrong),
        "changes": [{"name": name, "before": project.get(name), "after": wrong[name]} for name in sorted(wrong)],
        "tabs": [title for title, tab in tabs.ours.items() if tab not in ((record.found or {}).get("made_tabs") or ())],
        "tabs_in_the_way": tabs.in_the_way,
        "min_annotations_per_task": {
            "before": record.min_annotations_per_task,
            "after": state.record().min_annotations_per_task,
        },
        **({"excluded": excluded.names(excluded.after)} if excluded.before | excluded.after else {}),
        **({"included": excluded.names(excluded.before - excluded.after)} if excluded.before - excluded.after else {}),
        **({"machines": now_known} if (now_known := sorted(state.machines())) or machines_before else {}),
        "already": record.adopted_at is not None,
        "backend": backend_url,
        "connected": connected,
        "authenticated": authenticated,
    }


def _questions(project: Mapping[str, Any], names: Sequence[str], *, chosen: bool) -> Questions:
    """The questions to serve. Raises UsageError. `chosen`: whether a person named them now."""
    try:
        return find_questions(project["label_config"], names)
    except UsageError as error:
        if chosen or not names or not (usable := servable(project["label_config"])):
            raise
        options = " ".join(f"--control {shlex.quote(name)}" for name in usable)
        raise UsageError(
            f"{error} To serve what is there: connector init --project {project['id']} {options}"
        ) from error


def _described(questions: Questions) -> list[dict[str, Any]]:
    return [{"control": control.name, "classes": list(control.classes)} for control in questions.controls]


def _check_fields(project: Mapping[str, Any], gateway: LabelStudio, fields: Sequence[str]) -> None:
    """Raises UsageError if a field is in none of the first tasks."""
    raws = next(iter(gateway.tasks(project["id"], fields=None)), [])
    missing = [key for key in fields if all(find_value(raw.get("data"), key) is MISSING for raw in raws)]
    if raws and missing:
        names = listed([f"'{name}'" for name in data_keys(raws)]) or "none"
        raise UsageError(
            f"Nothing was changed: no task of the first {len(raws)} has '{missing[0]}'. Their keys are {names}."
        )


def format_init(done: Mapping[str, Any]) -> str:
    """What init did, as sentences and a line per change."""
    rule = done["min_annotations_per_task"]
    changes = [(row["name"], row["before"], row["after"]) for row in done["changes"]]
    questions = done.get("questions") or [{"control": done["control"], "classes": done["classes"]}]
    names = [row["control"] for row in questions]
    before = done.get("questions_before", [done["control_before"]] if done["control_before"] else [])
    if before and sorted(before) != sorted(names):
        what = "controls" if len(before) > 1 or len(names) > 1 else "control"
        changes.insert(0, (what, listed(before), listed(names)))
    changes += [("min_annotations_per_task", rule["before"], rule["after"])] * (rule["before"] != rule["after"])
    fields = {moment: listed(names) or "what the form shows" for moment, names in done["fields"].items()}
    lines = [f"  {name:<26}{format_value(before)} before, now {format_value(after)}" for name, before, after in changes]
    if fields["before"] != fields["after"]:
        lines.append(f"  {'fields':<26}{fields['before']} before, now {fields['after']}")
    if done["tabs"]:
        lines.append(f"  {'tabs':<26}added {listed([format_value(title) for title in done['tabs']])}")
    if done["connected"]:
        lines.append(f"  {'ML backend':<26}connected {done['backend']}")
    if done["authenticated"]:
        lines.append(f"  {'ML backend':<26}Label Studio sends the user name and password that are set now")
    head = (
        f"Project {done['project']} ({done['title']}) {'was already' if done['already'] else 'is'} set up: "
        f"{describe([(row['control'], row['classes']) for row in questions])}."
    )
    if done.get("included"):
        lines.append(f"  {'counted again':<26}{listed(done['included'])}")
    if "machines" in done:
        lines.append(f"  {'machines':<26}{listed(done['machines']) or 'none'}")
    if done.get("excluded"):
        lines.append(f"  {'left out':<26}{listed(done['excluded'])}")
    if lines:
        head += " Changed:"
    elif done["already"]:
        head += " Nothing was changed."
    if rule["after"] > 1:
        lines.append(f"Every labelled task is to have at least {count(rule['after'], 'label')}.")
    for name in (name for name in before if name not in names):
        replaced = f" The next training replaces its model by one of '{names[0]}'." if name == before[0] else ""
        lines.append(f"Labels of '{name}' no longer count.{replaced}")
    lines += done["notes"]
    lines += [
        f"The project has a tab '{title}' that init did not make, with another order or other filters. To get ours, "
        f"rename it and run connector init --project {done['project']} again."
        for title in done["tabs_in_the_way"]
    ]
    undo = f"To restore the project as it was: connector undo --project {done['project']}"
    return "\n".join([head, *lines, undo, f"Next: connector sync --project {done['project']}"])


def _remember(
    project: dict[str, Any],
    gateway: LabelStudio,
    state: ProjectState,
    questions: Questions,
    asked_at: datetime | None,
    confirm: Callable[[str], bool],
    reporter: Reporter,
) -> list[str]:
    """Asks what has to be confirmed, then records the project's settings and every task's overlap as they are.

    Returns what a person agreed to, in sentences.
    """
    versions = gateway.model_versions(project["id"])
    ours = our_versions(versions)
    left_behind = "windows" if ours else "our tabs" if has_our_tab(gateway.tabs(project["id"])) else ""
    matters = _to_confirm(project, versions, left_behind)
    _confirm_all(matters, confirm)
    with reporter.stage("remember", "Recording every task as it is") as stage:
        state.put(full_read=None)  # an init that was killed a week ago may have read a part
        read_all(project, gateway, state, questions, asked_at, stage.count)
    tasks = state.tasks()
    without = LeftOut.of(tasks.values()).without_text
    if tasks and len(without) == len(tasks):
        present = data_keys(gateway.tasks_by_id(project["id"], list(tasks)[:SAMPLE]))
        raise UsageError(
            f"Nothing was changed: no task of project {project['id']} has a text under {questions.shown_keys}, which "
            f"{'--fields names' if questions.fields else 'the labelling config shows'}: {with_causes(without)}. "
            f"{no_text_at_all(questions, present, project['id'])}"
        )
    state.store_originals(tasks.values())
    lists = {"tabs": gateway.tabs, "backends": gateway.backends, "webhooks": gateway.webhooks}
    found: dict[str, Any] = {name: [item["id"] for item in read(project["id"])] for name, read in lists.items()}
    found |= {"versions": sorted(versions.keys() - ours), "taken_over": bool(left_behind)}
    if asked_at is not None:
        found["recorded_at"] = asked_at.isoformat()
    # Last: with it the record is complete, whatever becomes of this init.
    names = (*REQUIRED_SETTINGS, "model_version", "overlap_cohort_percentage", "skip_queue")
    state.renew_lock()
    state.put(
        original_settings={name: project[name] for name in names},
        created_at=project.get("created_at"),
        found=found,
        control=questions.to_json(),  # under which the mirror was read
        label_config=project["label_config"],
    )
    return [matter.told for matter in matters if matter.told]


class _Matter(NamedTuple):
    """What a person has to agree to. `refusal`: what to do else. `told`: what init says of it after a yes."""

    question: str
    refusal: str
    told: str = ""


def _confirm_all(matters: Sequence[_Matter], confirm: Callable[[str], bool]) -> None:
    """Asks one after another. Raises UsageError after a no, and names all that is left, because --yes agrees to all."""
    for place, matter in enumerate(matters):
        if not confirm(matter.question):
            refusals = " ".join(left.refusal for left in matters[place:])
            raise UsageError(f"Nothing was changed: {refusals[0].lower()}{refusals[1:]}")


def _to_confirm(project: Mapping[str, Any], versions: Mapping[str, int], left_behind: str) -> list[_Matter]:
    """What init asks about. `left_behind`: what another state database left in the project. "": nothing."""
    name, found = f"Project {project['id']}", []
    if left_behind:
        unknown = f"{left_behind} that this state database (CONNECTOR_STATE) does not know"
        found.append(
            _Matter(
                f"{name} has {unknown}. Another connector runs it, or its state database is lost. Only that database "
                "knows the project's original settings, so undo will not restore them. Take the project over all the "
                "same?",
                f"{name} has {unknown}. Use the state database that init was run with. If it is lost, give --yes to "
                "take the project over as it is.",
                "The project was taken over from another state database. Only that one knows its settings from before.",
            )
        )
    published = {
        PUBLISHED_CONSENSUS: "syncs publish consensus labels",
        ACCEPTED_LABELS: "connector finish publishes accepted labels",
    }
    for version, use in published.items():
        if not (number := versions.get(version, 0)):
            continue
        foreign = f"{count(number, 'prediction')} of the model version '{version}'"
        found.append(
            _Matter(
                f"{name} has {foreign}, under which {use}. A sync deletes them. Set the project up all the same?",
                f"{name} has {foreign}, which a sync deletes. To keep them, give them another model version. Else give "
                "--yes.",
                f"The next sync deletes {foreign}.",
            )
        )
    if (rule := project["maximum_annotations"]) > 1:
        found.append(
            _Matter(
                f"{name} asks for {rule} annotations per task (maximum_annotations). Our queue needs that rule off, "
                "because Label Studio serves tasks at random otherwise. It decides per task whether to ask another "
                "annotator. To keep a number for every task, use --min-annotations-per-task. All annotations are kept. "
                "Set maximum_annotations to 1?",
                f"{name} has maximum_annotations = {rule}. Give --yes to end that rule, or --yes "
                f"--min-annotations-per-task {rule} to keep it within our queue.",
            )
        )
    return found


def _connect(
    project_id: int, gateway: LabelStudio, url: str, credentials: Credentials, state: ProjectState
) -> tuple[bool, bool]:
    """Connects the ML backend unless it is connected, and records its address for undo first.

    Returns whether it did so, and whether a backend that init connected before got the present credentials. On
    connecting, Label Studio makes the backend's title the project's model version if it has none, and would then show
    the model's answers in every form: that is undone.
    """
    before = gateway.get_project(project_id)["model_version"]
    connected = [backend for backend in gateway.backends(project_id) if backend["url"].rstrip("/") == url]
    found = state.record().found or {}
    ours = found.get("connected", [])
    authentication = credentials.for_label_studio
    try:
        if not connected:
            state.put(found={**found, "connected": [*ours, url]})
            gateway.connect_backend(project_id, url, BACKEND_TITLE, **authentication)
        elif url in ours and authentication:
            for backend in connected:
                gateway.update_backend(backend["id"], project_id, backend["url"], **authentication)
    except TryAgainLater:
        raise
    except ConnectorError as error:
        raise _refused(url, str(error)) from error
    refusals = [reason for reason in map(_failure, connected) if REFUSED_BY_BACKEND in reason]
    if refusals and not authentication:
        raise _refused(url, refusals[0])
    if credentials.basic is not None and (not connected or url in ours):
        _authenticate_webhook(project_id, gateway, url, credentials.basic)
    if gateway.get_project(project_id)["model_version"] != before:
        gateway.update_project(project_id, model_version=before)
    return not connected, bool(connected and url in ours and authentication)


def _failure(backend: Mapping[str, Any]) -> str:
    """Why Label Studio does not reach the ML backend, as it says. "": it does."""
    return str(backend.get("error_message") or "") if backend.get("state") == "ER" else ""


def _authenticate_webhook(project_id: int, gateway: LabelStudio, url: str, header: str) -> None:
    """Adds the credentials to the webhook that Label Studio makes for a backend, which has none by itself."""
    for webhook in gateway.webhooks(project_id):
        if webhook["url"] == f"{url}/webhook":
            gateway.update_webhook(webhook, {**webhook["headers"], "Authorization": header})


def _refused(url: str, reason: str) -> UsageError:
    if REFUSED_BY_BACKEND in reason:
        return UsageError(
            f"The ML backend at {url} refuses Label Studio, which can send a user name and a password, but no token. "
            "Set ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD to those that the ML backend was started with."
        )
    return UsageError(
        f"Label Studio could not connect the ML backend at {url}. Label Studio itself must reach that address. For a "
        "private address, start Label Studio with ML_BLOCK_LOCAL_IP=false and SSRF_PROTECTION_ENABLED=false. Its "
        f"answer: {reason}"
    )
