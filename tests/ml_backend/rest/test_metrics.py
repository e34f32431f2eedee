"""GET /metrics and GET /versions of a server process, as Prometheus and Label Studio ask."""

import re
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families

from ml_backend.rest.metrics import Metrics

Samples = dict[tuple[str, tuple[tuple[str, str], ...]], float]


def samples(text: str) -> Samples:
    """{(name, labels): value} of Prometheus' text format."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def look(server: Any) -> Samples:
    answer = requests.get(f"{server.url}/metrics", timeout=10)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    return samples(answer.text)


def requests_of(found: Samples, **labels: str) -> float:
    return found.get(("ml_backend_requests_total", tuple(sorted(labels.items()))), 0)


# Of the session, like its server: see test_app.py.
@pytest.fixture(scope="session")
def trained(server: Any, make_sentences: Callable[..., tuple[list[str], list[int]]]) -> Any:
    """A project with two model versions."""
    client = server.client("measured")
    texts, labels = make_sentences(20)
    client.send(range(20), texts)
    client.versions = [client.train(range(20), labels, seed=seed)["model_version"] for seed in (0, 1)]
    return client


def test_requests_are_counted_and_timed_by_route(server: Any) -> None:
    before = look(server)
    assert requests.post(f"{server.url}/setup", json={"project": "nobody"}, timeout=10).status_code == 200
    assert requests.post(f"{server.url}/setup", json={"project": []}, timeout=10).status_code == 422
    assert server.client("nobody").get("jobs/1").status_code == 404
    after = look(server)
    for labels in (
        {"method": "POST", "route": "/setup", "status": "200"},
        {"method": "POST", "route": "/setup", "status": "422"},
        {"method": "GET", "route": "/api/projects/{project}/jobs/{job}", "status": "404"},
        {"method": "GET", "route": "/metrics", "status": "200"},
    ):
        assert requests_of(after, **labels) == requests_of(before, **labels) + 1
    count = ("ml_backend_request_seconds_count", (("method", "POST"), ("route", "/setup")))
    assert after[count] == before.get(count, 0) + 2
    assert after["ml_backend_request_seconds_sum", count[1]] > 0
    assert after["process_resident_memory_bytes", ()] > 1e8, "this process, with PyTorch in it"


def test_paths_and_methods_that_there_are_not_make_no_new_series(server: Any) -> None:
    session = requests.Session()
    for number in range(3):
        session.get(f"{server.url}/nowhere/{number}", timeout=10)
        session.request(f"STRANGE{number}", f"{server.url}/health", timeout=10)
        session.get(f"{server.url}/api/projects/nobody-{number}/model", timeout=10)
    found = look(server)
    labels = {name: {dict(key[1]).get(name) for key in found} for name in ("method", "route", "project")}
    assert labels["method"] <= {None, "GET", "POST", "PUT", "DELETE", "other"}
    assert requests_of(found, method="GET", route="none", status="404") >= 3
    assert requests_of(found, method="other", route="/health", status="405") >= 3
    assert not any(re.search(r"\d", route) for route in labels["route"] if route)
    assert not any(project.startswith("nobody") for project in labels["project"] if project)


def test_jobs_and_models_are_told_by_project(server: Any, trained: Any) -> None:
    found = look(server)
    assert found["ml_backend_jobs", (("project", "measured"), ("state", "done"))] == 2
    versions = [
        dict(key[1])["version"] for key in found if key[:1] == ("ml_backend_model_info",) and "measured" in str(key)
    ]
    assert versions == [trained.versions[1]]


def test_each_application_has_numbers_of_its_own() -> None:
    overview = {"7": SimpleNamespace(model_version=None, jobs={"failed": 1})}
    one, other = Metrics(lambda: overview), Metrics(dict)  # type: ignore[arg-type, return-value]
    one.count("GET", "/health", 200, 0.1)
    assert ("ml_backend_jobs", (("project", "7"), ("state", "failed"))) in samples(one.text().decode())
    assert not any(key[0].startswith("ml_backend_model_info") for key in samples(one.text().decode()))
    assert not any(key[0].startswith("ml_backend_requests") for key in samples(other.text().decode()))


def test_versions_are_listed_as_label_studio_asks(server: Any, trained: Any) -> None:
    def versions(**query: str) -> Any:
        return requests.get(f"{server.url}/versions", params=query, timeout=10).json()["versions"]

    newest_first = trained.versions[::-1]
    assert versions(project="measured") == newest_first
    assert versions(project="measured.1700000000") == newest_first
    assert [one for one in versions() if one in newest_first] == newest_first
    for project in ("nobody", "", "../../etc", "\x00", "a" * 10_000):
        assert versions(project=project) == []
