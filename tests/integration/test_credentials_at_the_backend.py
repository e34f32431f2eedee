"""An ML backend that wants credentials: Label Studio and the connector bring them, each its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from support.command_runner import Commands
from support.label_studio_server import Annotators
from support.project_driver import StartProject, texts

from connector.demo import servers

if TYPE_CHECKING:
    from support.label_studio_server import LabelStudio

USERNAME, PASSWORD, TOKEN = "label-studio", "p\u00e4ss:word", "token-of-the-connector"
TOKEN_ALONE = {"ML_BACKEND_TOKEN": TOKEN}
ALL = {**TOKEN_ALONE, "ML_BACKEND_USERNAME": USERNAME, "ML_BACKEND_PASSWORD": PASSWORD}


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a backend that wants a user name or a token."""
    directory = tmp_path_factory.mktemp("guarded")
    yield servers.start_ml_backend(directory, environment=ALL).url
    servers.stop(directory, servers.ML_BACKEND)


def answered(url: str, route: str) -> dict[str, float]:
    """{status: how many requests of this route were answered so}; those that were refused have the route "none"."""
    text = requests.get(f"{url}/metrics", headers={"Authorization": f"Bearer {TOKEN}"}, timeout=10).text
    return {
        sample.labels["status"]: sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == "ml_backend_requests_total" and sample.labels["route"] == route
    }


def test_everybody_brings_what_the_backend_wants(
    start: StartProject,
    label_studio: LabelStudio,
    people: Annotators,
    guarded: str,
    commands: Commands,
) -> None:
    loop = start(texts(16), adopted=False)
    loop.backend = guarded

    refused = commands.fail(loop, "init", "--connect-backend", **TOKEN_ALONE)
    assert refused.code == 2
    assert "Set ML_BACKEND_USERNAME and ML_BACKEND_PASSWORD to those" in refused.err
    assert loop.call("GET", "/api/ml/", params={"project": loop.id}) == []

    before = answered(guarded, "none").get("401", 0)
    passed = "  ML backend                Label Studio sends the user name and password that are set now"
    for again in (False, True):
        done = commands.run(loop, "init", "--connect-backend", **ALL)
        assert (done.code, passed in done.out, "Nothing was changed" in done.out) == (0, again, False)
        (connected,) = loop.call("GET", "/api/ml/", params={"project": loop.id})
        assert (connected["state"], connected["basic_auth_user"]) == ("CO", USERNAME)

    # Annotating sends events through the webhook, "Start Training" and predictions come from Label Studio's client.
    person = people(1)[0]
    for index, task in enumerate(loop.tasks[:12]):
        loop.label(person, task, "Impolite" if index % 2 else "Polite")
    done = commands.run(loop, "sync", "--train", "always", **TOKEN_ALONE)
    assert done.code == 0, done.err
    loop.call("POST", f"/api/ml/{connected['id']}/train", json={})
    some = {"selectedItems": {"all": False, "included": loop.tasks[12:]}, "project": loop.id}
    query = {"id": "retrieve_tasks_predictions", "project": loop.id}
    loop.call("POST", "/api/dm/actions", params=query, json=some)
    assert len([row for row in loop.predictions() if row["result"]]) == 4
    assert loop.call("GET", f"/api/ml/{connected['id']}/versions")["versions"]
    assert answered(guarded, "/webhook").get("200", 0) >= 13
    assert answered(guarded, "none").get("401", 0) == before, "nobody was refused"
    # The password is where Label Studio keeps it, not in what everybody reads of it.
    assert PASSWORD not in str(loop.call("GET", "/api/ml/", params={"project": loop.id}))

    training = ("--train", "always")  # without one a sync with nothing new asks no backend
    for name, more in (("sync", training), ("doctor", ())):
        wrong = commands.fail(loop, name, *more, ML_BACKEND_TOKEN="another-token")
        assert wrong.code == 2
        assert "refuses ML_BACKEND_TOKEN: set what it was started with" in wrong.said
        assert "another-token" not in wrong.said
    without = commands.fail(loop, "sync", *training)
    assert (without.code, "requires credentials: set ML_BACKEND_TOKEN" in without.err) == (2, True)

    assert commands.run(loop, "undo").code == 0
    assert loop.call("GET", "/api/webhooks/", params={"project": loop.id}) == []
