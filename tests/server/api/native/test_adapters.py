from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageColor
from starlette.testclient import TestClient
from tests.gallery.conftest import new_entry
from tests.generation.recall.test_recall import A1111
from tests.server.api.adapter_files import METADATA, write_adapters
from tests.server.conftest import app_client

from safelight.jobs.queue_service import QueueService
from safelight.models.digests import file_digest
from safelight.moderation.policy import Decision
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore
from safelight.server.security.principal import Role

INK = "TG9SQS9zdHlsZXMvaW5r"
"""The id of the LoRA styles/ink."""


@contextmanager
def keyed_client(service: QueueService) -> Iterator[tuple[TestClient, dict[str, str]]]:
    """A client with an administrator's key, and the header of a user's."""
    keys = KeyStore(service.engine)
    user, admin = keys.add("ulla"), keys.add("admin", Role.ADMIN)
    with app_client(create_app(service, service.settings), **{"X-API-Key": admin}) as client:
        yield client, {"X-API-Key": user}


def test_adapters_are_listed_with_what_their_files_say(client: TestClient, server_home: Path) -> None:
    (packaged,) = client.get("/v1/adapters").json()["adapters"]
    assert (packaged["name"], packaged["rank"]) == ("starter-few-steps", 16)
    write_adapters(server_home)
    path = server_home / "loras" / "styles" / "ink.safetensors"
    digest = file_digest(path, server_home / "cache")
    (server_home / "loras" / "broken.safetensors").write_bytes(b"nothing")
    found = {each["name"]: each for each in client.get("/v1/adapters").json()["adapters"]}
    assert found["ink"] == {
        "id": "TG9SQS9zdHlsZXMvaW5r",
        "name": "ink",
        "place": "styles/ink",
        "alias": "ink_v2",
        "kind": "LoRA",
        "family": "sd1",
        "fits": True,
        "types": ["LoRA"],
        "rank": 4,
        "trigger_words": [],
        "size": path.stat().st_size,
        "modified": found["ink"]["modified"],
        "digest": digest,
        "preview": None,
        "preview_set": False,
        "favourite": False,
        "pictures": 0,
    }
    assert datetime.fromisoformat(found["ink"]["modified"]).timestamp() == pytest.approx(path.stat().st_mtime)
    assert (found["mossy"]["fits"], found["glassy"]["fits"]) == (True, False)
    assert {
        name: (each["kind"], each["family"], each["rank"])
        for name, each in found.items()
        if name not in ("ink", packaged["name"])
    } == {
        "mossy": ("embedding", "sd1", 3),
        "glassy": ("embedding", "sdxl", 2),
    }


def test_details_have_what_the_trainer_wrote(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    ids = {each["name"]: each["id"] for each in client.get("/v1/adapters").json()["adapters"]}
    found = client.get(f"/v1/adapters/{ids['ink']}").json()
    assert found["metadata"] == METADATA
    assert found["training_tags"] == [{"tag": "ink drawing", "count": 3}]
    assert (found["hash"], found["key_style"], found["layers"]) == ("ab" * 6, "kohya", 1)
    assert found["file"] == str(server_home / "loras" / "styles" / "ink.safetensors")
    for wrong in ("TG9SQS9ub25l", "Li4vLi4vc2VjcmV0", "AAAAAAAAAAA", "TG9SQS____8"):
        refused = client.get(f"/v1/adapters/{wrong}")
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "adapter.missing")


def test_places_of_files_are_for_administrators(
    open_service: Callable[..., QueueService], server_home: Path
) -> None:
    write_adapters(server_home)
    with keyed_client(open_service()) as (client, user):
        found = client.get(f"/v1/adapters/{INK}", headers=user).json()
        assert found["file"] == "styles/ink.safetensors"


def test_favourites_are_the_users_own(open_service: Callable[..., QueueService], server_home: Path) -> None:
    write_adapters(server_home)
    with keyed_client(open_service()) as (client, user):

        def favourites(**headers: str) -> list[str]:
            found = client.get("/v1/adapters", headers=headers).json()["adapters"]
            return [each["name"] for each in found if each["favourite"]]

        for _ in range(2):
            assert client.put(f"/v1/adapters/{INK}/favourite", headers=user).status_code == 204
        assert favourites(**user) == ["ink"]
        assert favourites() == []
        assert client.delete(f"/v1/adapters/{INK}/favourite", headers=user).status_code == 204
        assert favourites(**user) == []
        assert client.put("/v1/adapters/TG9SQS9ub25l/favourite").status_code == 404


def test_previews_beside_files_are_shown_small(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    assert client.get(f"/v1/adapters/{INK}/preview").json()["error"]["code"] == "adapter.no_preview"
    folder = server_home / "loras" / "styles"
    versions = set()
    for suffix, colour in ((".webp", "red"), (".jpg", "green"), (".preview.jpg", "blue"), (".png", "yellow")):
        Image.new("RGB", (400, 200), colour).save(folder / f"ink{suffix}")
        listed = next(each for each in client.get("/v1/adapters").json()["adapters"] if each["id"] == INK)
        assert not listed["preview_set"]
        versions.add(listed["preview"])
        answer = client.get(listed["preview"], params={"side": 100})
        shown = Image.open(BytesIO(answer.content))
        assert (shown.format, shown.size) == ("WEBP", (100, 50))
        expected = np.array(ImageColor.getrgb(colour), float)
        assert np.abs(np.asarray(shown, float).mean((0, 1)) - expected).max() < 8
    assert len(versions) == 4, "each has an address of its own, since browsers keep them"
    again = client.get(
        listed["preview"], params={"side": 100}, headers={"If-None-Match": answer.headers["ETag"]}
    )
    assert again.status_code == 304
    (folder / "ink.png").write_bytes(b"no picture")
    assert client.get(f"/v1/adapters/{INK}/preview").status_code == 415
    (folder / "ink.png").unlink()
    (folder / "ink.png").mkdir()
    assert client.get(f"/v1/adapters/{INK}/preview").status_code == 200, "the next one"


def test_a_preview_passes_the_policy(
    open_service: Callable[..., QueueService], server_home: Path, tmp_path: Path
) -> None:
    write_adapters(server_home)
    Image.new("RGB", (64, 64), "red").save(server_home / "loras" / "styles" / "ink.png")
    policy = tmp_path / "nothing-goes.toml"
    policy.write_text(
        'name = "nothing-goes"\nversion = "1"\nsafe = ["sfw"]\n[unsafe]\nnsfw = { review = 0.0, block = 1.0 }\n'
    )
    for service, status in ((open_service(), 200), (open_service(policy=str(policy)), 403)):
        with app_client(create_app(service, service.settings)) as client:
            assert client.get(f"/v1/adapters/{INK}/preview").status_code == status


def test_a_picture_of_the_gallery_becomes_a_preview(
    open_service: Callable[..., QueueService], server_home: Path
) -> None:
    write_adapters(server_home)
    service = open_service()
    folder = server_home / "loras" / "styles"
    Image.new("RGB", (40, 40), "red").save(folder / "ink.jpg")
    entry, review, hidden = (
        service.gallery.add(new_entry(number, decision=decision, owner="ulla", adapters=("cd" * 32,)))
        for number, decision in enumerate((Decision.ALLOW, Decision.REVIEW, Decision.BLOCK))
    )
    with keyed_client(service) as (client, user):
        address = f"/v1/adapters/{INK}/preview"
        assert client.put(address, json={"entry": entry.id}, headers=user).status_code == 403
        for blocked in (review, hidden):
            refused = client.put(address, json={"entry": blocked.id})
            assert (refused.status_code, refused.json()["error"]["code"]) == (403, "blocked")
        assert client.put(address, json={"entry": "0" * 22}).status_code == 404
        changed = client.put(address, json={"entry": entry.id}).json()
        assert changed["preview_set"]
        assert (folder / "ink.preview.png").exists()
        shown = Image.open(BytesIO(client.get(changed["preview"], headers=user).content))
        assert shown.size == (32, 16)
        assert client.delete(address, headers=user).status_code == 403
        removed = client.delete(address).json()
        assert (removed["preview_set"], removed["preview"] is not None) == (False, True), "the one beside it"
        assert client.delete(address).json()["error"]["code"] == "adapter.no_preview"


def test_uses_are_counted_for_their_owners(
    open_service: Callable[..., QueueService], server_home: Path
) -> None:
    write_adapters(server_home)
    digest = file_digest(server_home / "loras" / "styles" / "ink.safetensors", server_home / "cache")
    service = open_service()
    made = [
        service.gallery.add(new_entry(number, owner=owner, adapters=(digest, digest, "ab" * 32)))
        for number, owner in enumerate(("ulla", "ulla", "admin"))
    ]
    with keyed_client(service) as (client, user):

        def uses(**headers: str) -> int:
            found = client.get("/v1/adapters", headers=headers).json()["adapters"]
            return next(int(each["pictures"]) for each in found if each["id"] == INK)

        assert (uses(**user), uses()) == (2, 3)
        service.gallery.delete(made[0].id)
        assert (uses(**user), uses()) == (1, 2)


def test_recall_finds_adapters_by_name_and_by_hash(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    for digits, name in (("0123456789ab", "ink"), ("abababababab", "fruit")):
        text = A1111.replace("0123456789ab", digits).replace("fruit", name)
        text = text.replace("Version: v1.10.1", 'TI hashes: "mossy: 123456789abc, gone: 123456789abc"')
        found = client.post("/v1/recall", json={"text": text}).json()
        assert found["fields"]["prompt"] == "a (red:1.2) apple, <lora:ink:0.8>"
        unfilled = {each["name"]: each["value"] for each in found["unfilled"]}
        assert unfilled["textual inversion"] == "gone"
        assert ("adapter's hash" in unfilled) == (name == "ink")


def test_a_job_may_name_what_is_listed(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)
    body = {"kind": "generate", "prompt": "a cat"}
    for name in ("ink", "styles/ink", "ink_v2:0.5"):
        assert client.post("/v1/jobs", json=body | {"adapters": [name]}).status_code == 202
    path = str(server_home / "loras" / "styles" / "ink.safetensors")
    for name in (path, "oil"):
        refused = client.post("/v1/jobs", json=body | {"adapters": [{"name": name}]})
        assert (refused.status_code, refused.json()["error"]["code"]) == (404, "adapter.missing")
        assert str(server_home) not in refused.json()["error"]["hint"]


def test_the_vectors_of_textual_inversions_are_counted(client: TestClient, server_home: Path) -> None:
    write_adapters(server_home)

    def tokens(prompt: str) -> int:
        found = client.post("/v1/prompts/explain", json={"prompt": prompt, "negative_prompt": ""}).json()
        return int(found["prompt"]["tokens"])

    assert tokens("a mossy cat") == tokens("a cat") + 3
    assert tokens("a glassy cat") == tokens("a \\glassy cat"), "it is for another family"
    assert tokens("a cat <lora:ink:1>") == tokens("a cat")
    missing = client.post(
        "/v1/prompts/explain", json={"prompt": "embedding:gone", "negative_prompt": ""}
    ).json()
    assert missing["prompt"]["error"]["code"] == "adapter.missing"
