"""A window whose import's answer is lost on its way from the real Label Studio, and what the next syncs make of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from support.project_driver import ProjectDriver, StartProject, texts

from connector.errors import TryAgainLater
from connector.label_studio.client import LabelStudio as Gateway
from connector.queue.versions import new_version, our_versions, unknown_newer
from connector.retry import Retries


class Lossy(httpx.BaseTransport):
    """Loses the answers to the first imports of windows; `plan` says of each whether the request arrived."""

    def __init__(self, plan: Iterator[bool], *, looks_fail: bool = False) -> None:
        self._plan = plan
        self._looks_fail = looks_fail
        self._lost = False
        self._way = httpx.HTTPTransport()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/import/predictions"):
            arrived = next(self._plan, None)
            self._lost = arrived is not None
            if arrived:
                self._way.handle_request(request).read()
            if self._lost:
                raise httpx.ReadError("cut", request=request)
        if self._lost and self._looks_fail and request.url.path.endswith("/model-versions/"):
            raise httpx.ConnectError("away", request=request)
        return self._way.handle_request(request)

    def close(self) -> None:
        self._way.close()


def lossy(loop: ProjectDriver, *plan: bool, seconds: float = 60.0, **options: Any) -> Gateway:
    gateway = Gateway(
        loop.gateway.url,
        loop.server.token,
        retries=Retries(seconds, sleep=lambda seconds: None),
        transport=Lossy(iter(plan), **options),
    )
    loop.gateways.append(gateway)
    return gateway


def test_a_window_that_arrived_is_served_though_its_answer_was_lost(start: StartProject) -> None:
    loop = start(texts(12))
    assert loop.sync(lossy(loop, True), window=5)["round"] == 1
    loop.assert_published()
    assert len(our_versions(loop.versions())) == 1


def test_a_window_that_did_not_arrive_is_sent_again(start: StartProject) -> None:
    loop = start(texts(12))
    assert loop.sync(lossy(loop, False, False), window=5)["round"] == 1
    loop.assert_published()
    assert len(our_versions(loop.versions())) == 1


def test_a_window_that_nobody_was_told_of_is_never_taken_for_the_published_one(start: StartProject) -> None:
    loop = start(texts(12))
    loop.sync(window=5)
    served = loop.project()["model_version"]
    loop.call("POST", f"/api/tasks/{loop.window[0]}/annotations", json={"result": []})
    with pytest.raises(TryAgainLater, match="does not answer"):
        loop.sync(lossy(loop, True, seconds=0.0, looks_fail=True), window=5)
    (orphan,) = unknown_newer(loop.versions(), served)
    assert loop.versions()[orphan] == loop.versions()[served]  # whole, and newer than what is served
    assert (loop.project()["model_version"], loop.state.record().queue_version) == (served, served)

    done = loop.sync(window=5)
    assert done["round"] == 2
    assert done["queue_version"] > orphan
    assert "model_version" not in done["restored"]
    loop.assert_published()
    assert loop.sync(window=5)["round"] == 2, "the orphan gives no more work"


def test_a_window_that_nobody_was_told_of_has_the_next_sync_publish_though_nothing_changed(start: StartProject) -> None:
    loop = start(texts(12))
    loop.sync(window=5)
    served = loop.project()["model_version"]
    orphan = new_version(loop.versions())
    rows = [{"task": loop.tasks[-1], "result": [], "score": 0.5, "model_version": orphan}]
    loop.call("POST", f"/api/projects/{loop.id}/import/predictions", json=rows)  # arrives after its sync has given up
    assert loop.project()["model_version"] == served
    done = loop.sync(window=5)
    assert (done["round"], done["queue_version"] > orphan, loop.window[0] != loop.tasks[-1]) == (2, True, True)
    loop.assert_published()
    assert loop.sync(window=5)["round"] == 2
