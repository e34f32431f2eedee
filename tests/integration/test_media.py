"""Images of a real Label Studio: uploaded to it, in a storage that it reads, and in one that it signs addresses for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from typing import Any
from urllib.parse import quote

import pytest
from support.label_studio_server import LabelStudio, MakeProject
from support.media_fetching import media_threads
from support.media_server import MediaServer, Reply
from support.pictures import GREEN, nearest, opened, picture
from support.project_driver import personal_access_token

from connector.label_studio.client import LabelStudio as Gateway
from connector.media import Failure, Fetcher, Source

CONFIG = """
<View>
  <Image name="image" value="$image"/>
  <Choices name="kind" toName="image"><Choice value="cat"/><Choice value="dog"/></Choices>
</View>
"""
KEYS = ["a.jpg", "my pictures/ä.jpg", "a+b&c=d%20e.jpg", "a#b.jpg"]
CUT = "a?b.jpg"  # Label Studio asks S3 for "a"

pytestmark = pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")


@pytest.fixture
def bucket() -> Iterator[MediaServer]:
    """A bucket of S3, played by a small server."""
    server = MediaServer()
    for key in (*KEYS, CUT):
        reply = Reply(picture(colour=GREEN), headers={"Content-Type": "image/png"})
        server.replies[f"/bucket/{quote(key)}"] = reply
    yield server
    server.close()


def fetch(label_studio: LabelStudio, sources: Mapping[Any, Source], **options: Any) -> dict[Any, bytes | Failure]:
    token = options.pop("token", label_studio.token)
    with (
        closing(Gateway(label_studio.url, token)) as gateway,
        Fetcher(label_studio.url, gateway.authorization, **options) as fetcher,
    ):
        found = dict(fetcher.fetch(sources))
    assert media_threads() == []
    return found


def colour(found: bytes | Failure) -> str:
    assert isinstance(found, bytes), found
    return nearest(opened(found).convert("RGB").getpixel((2, 2)))


def upload(label_studio: LabelStudio, project: int, name: str) -> Source:
    """The image of the task that Label Studio makes of a file."""
    files = {"file": (name, picture(colour=GREEN), "image/png")}
    label_studio.call("POST", f"/api/projects/{project}/import", files=files)
    query = {"project": project, "fields": "all", "resolve_uri": "false"}
    newest = label_studio.call("GET", "/api/tasks", params=query)
    task = max(newest["tasks"], key=lambda task: task["id"])
    return Source(task["id"], (task["data"]["image"],))


def storage(label_studio: LabelStudio, project: int, bucket: MediaServer, *, presign: bool) -> None:
    body = {"project": project, "bucket": "bucket", "s3_endpoint": bucket.url, "presign": presign}
    body |= {"aws_access_key_id": "a", "aws_secret_access_key": "b", "region_name": "us-east-1", "title": "Images"}
    label_studio.call("POST", "/api/storages/s3", json=body)


def test_uploaded_images_are_read(label_studio: LabelStudio, make_project: MakeProject) -> None:
    project = make_project([], config=CONFIG)
    sources = {name: upload(label_studio, project.id, name) for name in ("a.png", "my picture (1) ä.png")}
    assert all(source.addresses[0].startswith("/data/upload/") for source in sources.values())
    assert {colour(found) for found in fetch(label_studio, sources).values()} == {"green"}


@pytest.mark.parametrize("kind", ["legacy", "personal"])
@pytest.mark.parametrize("presign", [False, True])
def test_images_of_a_storage_are_read(
    label_studio: LabelStudio, make_project: MakeProject, bucket: MediaServer, presign: bool, kind: str
) -> None:
    token = label_studio.token if kind == "legacy" else personal_access_token(label_studio)
    keys = [*KEYS, CUT]
    project = make_project([{"image": f"s3://bucket/{key}"} for key in keys], config=CONFIG)
    storage(label_studio, project.id, bucket, presign=presign)
    sources = {key: Source(task, (f"s3://bucket/{key}",)) for task, key in zip(project.tasks, keys, strict=True)}
    found = fetch(label_studio, sources, hosts=[bucket.url.removeprefix("http://")], token=token)
    cut = found.pop(CUT)
    assert isinstance(cut, Failure)
    assert cut.cause == ("404" if presign else "424")
    assert {key: colour(one) for key, one in found.items()} == dict.fromkeys(KEYS, "green")
    authorizations = [request.headers.get("authorization", "") for request in bucket.requests]
    assert not any(word in one for one in authorizations for word in ("Token", "Bearer"))
    assert all(("X-Amz-Signature" in request.path) == presign for request in bucket.requests)


def test_a_signed_address_in_a_private_network_must_be_allowed(
    label_studio: LabelStudio, make_project: MakeProject, bucket: MediaServer
) -> None:
    project = make_project([{"image": "s3://bucket/a.jpg"}], config=CONFIG)
    storage(label_studio, project.id, bucket, presign=True)
    found = fetch(label_studio, {1: Source(project.tasks[0], ("s3://bucket/a.jpg",))})[1]
    words = "its image redirects to an address on 127.0.0.1, which is at a private address (127.0.0.1)"
    assert found == Failure("private address", words, "s3://bucket/a.jpg")
    assert bucket.requests == []


def test_what_label_studio_refuses_is_counted(label_studio: LabelStudio, make_project: MakeProject) -> None:
    project = make_project([], config=CONFIG)
    uploaded = upload(label_studio, project.id, "a.png")
    addresses = {
        "local files": "/data/local-files/?d=a.png",
        "climbing": "/data/local-files/?d=../../../etc/passwd",
        "no storage": "s3://other/a.png",
        "gone": "/data/upload/1/gone.png",
        "no project": "/tasks/999999999/resolve/?fileuri=czM6Ly9hL2I=",
    }
    found = fetch(label_studio, {name: Source(uploaded.task, (address,)) for name, address in addresses.items()})
    causes = {name: one.cause for name, one in found.items() if isinstance(one, Failure)}
    refused = {"local files": "403", "climbing": "403", "no storage": "404", "gone": "500", "no project": "404"}
    assert causes == refused
    wrong = fetch(label_studio, {1: uploaded}, token="0" * 40)
    assert isinstance(wrong[1], Failure)
    assert wrong[1].cause == "401"
