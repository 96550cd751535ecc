from __future__ import annotations

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.server.api.conftest import GENERATE_REQUEST, JobDriver
from tests.server.conftest import app_client
from tests.tiny import controls
from tests.tiny.checkpoint_files import write_vae

from safelight.database import blobs, read_transaction
from safelight.errors import BelowMinimumError
from safelight.generation.request import GenerationRequest
from safelight.jobs.job import JobKind, Submission
from safelight.jobs.payloads import load_request
from safelight.jobs.queue_service import QueueService
from safelight.server.app import create_app
from safelight.server.security.keys import KeyStore

NOBODYS = "0" * 27


def text(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode()


def test_a_generation_is_queued(client: TestClient, service: QueueService) -> None:
    answer = client.post("/v1/jobs", json=GENERATE_REQUEST | {"seed": 7, "timeout": 60, "priority": 5})
    assert answer.status_code == 202
    job = answer.json()
    assert answer.headers["Location"] == f"/v1/jobs/{job['id']}"
    assert client.get(answer.headers["Location"]).json() == job
    kept = service.store.get(job["id"])
    assert (kept.kind, kept.priority, kept.timeout, kept.owner) == (JobKind.GENERATE, 5, 60, "local")
    assert kept.request == {"prompt": "a lighthouse", "width": 64, "height": 64, "steps": 1, "seed": 7}
    assert kept.request_id == answer.headers["X-Request-ID"]


def test_pictures_as_base64_data_uris_and_multipart(
    client: TestClient, service: QueueService, photographs: list[Path]
) -> None:
    cat, data = photographs[1], photographs[1].read_bytes()
    uri = f"data:image/jpeg;base64,{text(cat)}"
    fields = json.dumps(GENERATE_REQUEST | {"strength": 0.5})
    answers = [
        client.post("/v1/jobs", json=GENERATE_REQUEST | {"init_image": text(cat), "strength": 0.5}),
        client.post("/v1/jobs", json=GENERATE_REQUEST | {"init_image": uri, "strength": 0.5}),
        client.post("/v1/jobs", data={"request": fields}, files={"init_image": ("cat.jpg", data)}),
        client.post("/v1/jobs", files={"init_image": data, "request": fields.encode()}),
    ]
    requests = [service.store.get(answer.json()["id"]).request for answer in answers]
    for request in requests:
        request.pop("seed")
        assert request == requests[0]
    with read_transaction(service.engine) as connection:
        assert blobs.get(connection, requests[0]["init_image"]["blob"]) == data


def test_pictures_of_controls_travel_with_the_job(
    client: TestClient, service: QueueService, photographs: list[Path], tiny: Callable[[str], Path]
) -> None:
    name = controls.controlnet(tiny("sd1"), service.settings.home / "controlnet" / "tiny_canny").name
    cat = photographs[1]
    control = {"model": name, "image": text(cat), "mask": text(cat), "weight": 0.5}
    answer = client.post("/v1/jobs", json=GENERATE_REQUEST | {"control": [control]})
    assert answer.status_code == 202, answer.text
    (kept,) = service.store.get(answer.json()["id"]).request["control"]
    assert (kept["model"], kept["weight"], set(kept["image"])) == (name, 0.5, {"blob"})
    with read_transaction(service.engine) as connection:
        loaded = load_request(connection, "generate", service.store.get(answer.json()["id"]).request)
    assert isinstance(loaded, GenerationRequest)
    assert loaded.control[0].image == cat.read_bytes()
    for wrong, code, field in (
        ({"model": "nope"}, "control.missing", "control.0.model"),
        ({"kind": "nope"}, "request.choice", "control.0.kind"),
        ({"model": name, "image": "no picture"}, "request.picture", "control[0].image"),
        ({"model": name, "start": 0.9, "end": 0.1}, "request.conflict", "control.0.start"),
        ({"model": name, "image": None}, "request.picture_needed", "control.0.image"),
    ):
        given = {"image": text(cat)} | wrong
        refused = client.post("/v1/jobs", json=GENERATE_REQUEST | {"control": [given]}).json()
        assert (refused["error"]["code"], refused["error"]["field"]) == (code, field)


def test_references_travel_with_the_job(
    client: TestClient, service: QueueService, photographs: list[Path], tiny: Callable[[str], Path]
) -> None:
    (service.settings.home / "checkpoints").mkdir(exist_ok=True)
    (service.settings.home / "checkpoints" / "kontext").symlink_to(tiny("flux-kontext"))
    cat, asked = photographs[1], GENERATE_REQUEST | {"checkpoint": "kontext"}
    fields = asked | {"references": [{"image": text(cat)}]}
    part = ("references[0].image", cat.read_bytes())
    answers = [
        client.post("/v1/jobs", json=fields),
        client.post("/v1/jobs", data={"request": json.dumps(asked)}, files=[part]),
        client.post("/v1/jobs", data={"request": json.dumps(asked | {"references": [{}]})}, files=[part]),
    ]
    for answer in answers:
        assert answer.status_code == 202, answer.text
        with read_transaction(service.engine) as connection:
            loaded = load_request(connection, "generate", service.store.get(answer.json()["id"]).request)
        assert isinstance(loaded, GenerationRequest)
        assert [each.image for each in loaded.references] == [cat.read_bytes()]
    for checkpoint, references, code, field in (
        ("kontext", [{}], "request.missing", "references.0.image"),
        ("kontext", [{"image": text(cat)}] * 2, "request.unsupported", "references"),
        ("starter", [{"image": text(cat)}], "request.unsupported", "references"),
        ("kontext", [{"image": "no picture"}], "request.picture", "references[0].image"),
    ):
        body = asked | {"checkpoint": checkpoint, "references": references}
        refused = client.post("/v1/jobs", json=body).json()
        assert (refused["error"]["code"], refused["error"]["field"]) == (code, field)
    for body, name in ((asked, "references[1].image"), (fields, "references[0].image")):
        parts = [(name, cat.read_bytes())]
        refused = client.post("/v1/jobs", data={"request": json.dumps(body)}, files=parts).json()
        assert refused["error"]["code"] == "request.invalid"
    models = {model["id"]: model for model in client.get("/v1/models").json()["data"]}
    assert models["starter"]["references"] is None
    assert models["kontext"]["references"] == {
        "required": False,
        "maximum": 1,
        "modes": ["text-to-image", "inpainting"],
        "image_guidance": False,
    }


def test_upscaling_and_scans(client: TestClient, service: QueueService, photographs: list[Path]) -> None:
    picture = text(photographs[1])
    enlarged = client.post(
        "/v1/jobs", json={"kind": "upscale", "image": picture, "by": 3, "upscaler": "bicubic"}
    )
    scan = client.post("/v1/jobs", json={"kind": "scan", "images": [picture, picture]})
    parts = [("images", path.read_bytes()) for path in photographs]
    form = client.post("/v1/jobs", data={"request": '{"kind": "scan"}'}, files=parts)
    kept = [service.store.get(answer.json()["id"]) for answer in (enlarged, scan, form)]
    assert [job.kind for job in kept] == ["upscale", "scan", "scan"]
    assert (kept[0].request["by"], kept[0].request["upscaler"]) == (3, "bicubic")
    assert [len(job.request["images"]) for job in kept[1:]] == [2, 5]


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        ({}, 422, "request.missing"),
        ({"kind": "dance"}, 422, "request.choice"),
        ({"kind": "generate"}, 422, "request.missing"),
        (GENERATE_REQUEST | {"stepz": 3}, 422, "request.unknown_field"),
        (GENERATE_REQUEST | {"steps": 0}, 422, "request.below_minimum"),
        (GENERATE_REQUEST | {"strength": 0.5}, 422, "request.picture_needed"),
        (GENERATE_REQUEST | {"priority": 101}, 422, "request.above_maximum"),
        (GENERATE_REQUEST | {"timeout": -1}, 422, "request.below_minimum"),
        (GENERATE_REQUEST | {"init_image": "not base64!"}, 422, "request.picture"),
        (
            GENERATE_REQUEST | {"init_image": base64.b64encode(b"hello there").decode()},
            415,
            "image.not_recognised",
        ),
        (GENERATE_REQUEST | {"init_image": "/etc/passwd"}, 422, "request.picture"),
        (GENERATE_REQUEST | {"checkpoint": "../../../etc/passwd"}, 404, "checkpoint.missing"),
        (GENERATE_REQUEST | {"checkpoint": "/etc/passwd"}, 404, "checkpoint.missing"),
        (GENERATE_REQUEST | {"checkpoint": "owner/name"}, 404, "checkpoint.missing"),
        (GENERATE_REQUEST | {"checkpoint": ""}, 404, "checkpoint.missing"),
        (GENERATE_REQUEST | {"prompt": "a <net:ink:1> cat"}, 422, "prompt.unsupported"),
        (GENERATE_REQUEST | {"adapters": ["ink:0.8"]}, 404, "adapter.missing"),
        (GENERATE_REQUEST | {"adapters": ["/etc/passwd"]}, 404, "adapter.missing"),
        (GENERATE_REQUEST | {"adapters": ["ink:loud"]}, 422, "request.invalid"),
        (GENERATE_REQUEST | {"negative_prompt": "ROCK AND ROLL"}, 422, "prompt.unsupported"),
        (GENERATE_REQUEST | {"hires": {"upscaler": "/tmp/x.safetensors"}}, 404, "upscaler.unknown"),
        ({"kind": "scan", "images": []}, 422, "request.too_short"),
    ],
)
def test_invalid_requests_are_refused(
    client: TestClient, service: QueueService, body: dict[str, Any], status: int, code: str
) -> None:
    answer = client.post("/v1/jobs", json=body)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert service.store.find() == []


@pytest.mark.parametrize(
    ("fields", "code", "field", "context"),
    [
        ({"steps": 0}, "request.below_minimum", "steps", {"minimum": 1}),
        ({"steps": 1001}, "request.above_maximum", "steps", {"maximum": 1000}),
        ({"steps": 2.5}, "request.type", "steps", {"expected": "integer"}),
        ({"seed": "abc"}, "request.type", "seed", {"expected": "integer"}),
        ({"guidance_scale": "much"}, "request.type", "guidance_scale", {"expected": "number"}),
        ({"hires": {"scale": 1}}, "request.below_minimum", "hires.scale", {"above": 1.0}),
        ({"hires": {"scale": 9}}, "request.above_maximum", "hires.scale", {"maximum": 8.0}),
        ({"hires": 2}, "request.type", "hires", {"expected": "object"}),
        (
            {"inpaint": {"fill": "red"}},
            "request.choice",
            "inpaint.fill",
            {"choices": ["original", "blur", "noise"]},
        ),
        ({"guidance_method": 3}, "request.choice", "guidance_method", {"choices": ["cfg", "cfg-zero"]}),
        ({"stepz": 3}, "request.unknown_field", "stepz", None),
        ({"prompt": "x" * 10_001}, "request.too_long", "prompt", {"maximum": 10_000}),
        ({"strength": 0.5}, "request.picture_needed", "strength", None),
        (
            {"guidance_start": 0.5, "guidance_end": 0.2},
            "request.conflict",
            "guidance_start",
            {"other": "guidance_end"},
        ),
        ({"seed": 2**63 - 1, "count": 2}, "request.above_maximum", "seed", {"maximum": 2**63 - 2}),
        ({"width": 129}, "request.not_multiple", "width", {"multiple": 8, "nearest": [128, 136]}),
        ({"sampler": "nosuch"}, "sampler.unknown", "sampler", {"name": "nosuch"}),
        ({"schedule": "nosuch"}, "sampler.unknown", "schedule", {"name": "nosuch"}),
        ({"styles": ["nosuch"]}, "prompt.style", "styles", {"name": "nosuch"}),
        ({"checkpoint": "nosuch"}, "checkpoint.missing", "checkpoint", {"name": "nosuch"}),
        (
            {"negative_prompt": "<lora:a:1>"},
            "prompt.unsupported",
            "negative_prompt",
            {"part": "<lora:a:1>", "start": 0},
        ),
        ({"init_image": "no picture"}, "request.picture", "init_image", None),
        ({"init_image": 3}, "request.type", "init_image", {"expected": "string"}),
    ],
)
def test_a_refusal_names_the_field_and_its_range(
    client: TestClient, fields: dict[str, Any], code: str, field: str, context: dict[str, Any] | None
) -> None:
    error = client.post("/v1/jobs", json=GENERATE_REQUEST | fields).json()["error"]
    assert (error["code"], error["field"], error.get("context")) == (code, field, context)


def test_all_wrong_fields_are_named(client: TestClient) -> None:
    body = GENERATE_REQUEST | {"steps": 0, "count": 0, "hires": {"strength": 2}}
    error = client.post("/v1/jobs", json=body).json()["error"]
    assert [(each["field"], each["code"], each["context"]) for each in error["problems"]] == [
        ("count", "request.below_minimum", {"minimum": 1}),
        ("steps", "request.below_minimum", {"minimum": 1}),
        ("hires.strength", "request.above_maximum", {"maximum": 1.0}),
    ]
    assert (error["field"], error["message"]) == (
        "count",
        "count: Input should be greater than or equal to 1.",
    )
    form = client.post("/v1/jobs", files={"init_image": b"x", "request": json.dumps(body).encode()})
    assert form.json()["error"]["problems"] == error["problems"]


def test_a_failed_job_names_the_field(client: TestClient, bench: JobDriver) -> None:
    failed = bench.fail(BelowMinimumError("too few", field="steps", context={"minimum": 2}))
    error = client.get(f"/v1/jobs/{failed.id}").json()["error"]
    assert (error["field"], error["context"]) == ("steps", {"minimum": 2})


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"data": {"request": "no JSON"}, "files": {"image": b"x"}}, 422),
        ({"data": {"request": "[]"}, "files": {"image": b"x"}}, 422),
        ({"data": {"request": "[" * 1000}, "files": {"image": b"x"}}, 422),
        ({"data": {"prompt": "x"}, "files": {"image": b"x"}}, 422),
        ({"files": [("image", b"x"), ("image", b"y")]}, 422),
        ({"files": {"image": b"no picture"}, "data": {"request": '{"kind": "upscale"}'}}, 415),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data; boundary=y"}}, 400),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, 422),
        ({"content": b"\xff\xd8\xff", "headers": {"Content-Type": "image/jpeg"}}, 415),
        ({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
        ({"content": b"{"}, 415),
        ({"content": b"{", "headers": {"Content-Type": "application/json"}}, 422),
    ],
)
def test_malformed_bodies_are_refused(
    client: TestClient, service: QueueService, form: dict[str, Any], status: int
) -> None:
    answer = client.post("/v1/jobs", **form)
    assert answer.status_code == status, answer.text
    assert answer.json()["error"]["code"]
    assert service.store.find() == []


def test_an_idempotency_key_gives_one_job(client: TestClient, service: QueueService) -> None:
    headers = {"Idempotency-Key": "once"}
    first, second = (client.post("/v1/jobs", json=GENERATE_REQUEST, headers=headers).json() for _ in range(2))
    assert first["id"] == second["id"]
    assert len(service.store.find()) == 1
    other = client.post("/v1/jobs", json=GENERATE_REQUEST | {"steps": 2}, headers=headers)
    assert (other.status_code, other.json()["error"]["code"]) == (409, "job.idempotency")


def test_only_administrators_may_set_a_priority(people: Callable[[str], TestClient]) -> None:
    refused = people("anna").post("/v1/jobs", json=GENERATE_REQUEST | {"priority": 1})
    assert (refused.status_code, refused.json()["error"]["code"]) == (403, "job.priority")
    assert people("anna").post("/v1/jobs", json=GENERATE_REQUEST | {"priority": -1}).status_code == 202
    assert people("chief").post("/v1/jobs", json=GENERATE_REQUEST | {"priority": 1}).status_code == 202


def test_jobs_are_listed_page_by_page(client: TestClient, bench: JobDriver) -> None:
    made = [bench.submit().id for _ in range(5)]
    pages, before = [], None
    while True:
        page = client.get("/v1/jobs", params={"limit": 2} | ({"before": before} if before else {})).json()
        pages.append([job["id"] for job in page["jobs"]])
        if (before := page["next"]) is None:
            break
    assert pages == [made[4:2:-1], made[2:0:-1], made[:1]]


def test_jobs_are_listed_by_state_and_kind(client: TestClient, bench: JobDriver) -> None:
    done, scan, waiting = bench.finish(), bench.start(kind=JobKind.SCAN), bench.submit()

    def listed(**query: Any) -> list[str]:
        return [job["id"] for job in client.get("/v1/jobs", params=query).json()["jobs"]]

    assert listed() == [waiting.id, scan.id, done.id]
    assert listed(state="succeeded") == [done.id]
    assert listed(state=["succeeded", "queued"]) == [waiting.id, done.id]
    assert listed(kind="scan") == [scan.id]
    for wrong in ({"state": "odd"}, {"kind": "odd"}, {"limit": 0}, {"limit": 201}, {"before": "odd"}):
        assert client.get("/v1/jobs", params=wrong).status_code == 422


def test_jobs_of_other_owners_are_not_found(people: Callable[[str], TestClient], bench: JobDriver) -> None:
    job = bench.start("anna")
    paths = [f"/v1/jobs/{job.id}{rest}" for rest in ("", "/events", "/result", "/preview")]
    for path in paths:
        answer = people("berta").get(path)
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "job.missing"), path
    for rest in ("/finish", "/skip"):
        assert people("berta").post(f"/v1/jobs/{job.id}{rest}").status_code == 404
    assert people("berta").delete(f"/v1/jobs/{job.id}").status_code == 404
    assert people("berta").get("/v1/jobs").json()["jobs"] == []
    for name in ("anna", "chief"):
        assert people(name).get(paths[0]).json()["state"] == "running"
        assert [each["id"] for each in people(name).get("/v1/jobs").json()["jobs"]] == [job.id]


@pytest.mark.parametrize("job_id", [NOBODYS, "x", "..", "%00", "0" * 5000, "../../etc/passwd"])
def test_forged_ids(client: TestClient, job_id: str) -> None:
    for method, rest in (
        ("GET", ""),
        ("DELETE", ""),
        ("POST", "/finish"),
        ("GET", "/result"),
        ("GET", "/events"),
    ):
        assert client.request(method, f"/v1/jobs/{job_id}{rest}").status_code in (404, 405, 422)


def test_signals(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    running = bench.start()
    for method, rest, signal in (
        ("POST", "/skip", "skip"),
        ("POST", "/finish", "finish"),
        ("DELETE", "", "cancel"),
    ):
        answer = client.request(method, f"/v1/jobs/{running.id}{rest}")
        assert (answer.status_code, answer.json()["state"]) == (202, "running")
        assert service.store.signals([running.id]) == {running.id: signal}
    waiting = bench.submit()
    assert client.delete(f"/v1/jobs/{waiting.id}").json()["state"] == "cancelled"
    again = client.delete(f"/v1/jobs/{waiting.id}")
    assert (again.status_code, again.json()["error"]["code"]) == (409, "job.over")


def test_a_scan_has_no_pictures_to_skip(client: TestClient, service: QueueService) -> None:
    scan = service.store.submit(Submission(kind=JobKind.SCAN, request={"images": []}))
    answer = client.post(f"/v1/jobs/{scan.id}/skip")
    assert (answer.status_code, answer.json()["error"]["code"]) == (409, "job.skip")


HALF = "\ud800"
"""An unpaired surrogate: no encoding can represent it."""


@pytest.mark.parametrize(
    "body",
    [
        *[
            GENERATE_REQUEST | {name: HALF}
            for name in (
                "prompt",
                "negative_prompt",
                "checkpoint",
                "sampler",
                "schedule",
                "init_image",
                "mask",
            )
        ],
        GENERATE_REQUEST | {"styles": ["a", HALF]},
        GENERATE_REQUEST | {"hires": {"sampler": HALF}},
        GENERATE_REQUEST | {"hires": {"upscaler": HALF}},
        GENERATE_REQUEST | {HALF: 1},
        {"kind": HALF},
        {"kind": "upscale", "image": HALF},
        {"kind": "upscale", "image": "x", "upscaler": HALF},
        {"kind": "scan", "images": [HALF]},
    ],
)
@pytest.mark.parametrize("guarded", [True, False], ids=["guarded", "models only"])
def test_unpaired_surrogates_are_refused(
    client: TestClient,
    service: QueueService,
    body: dict[str, Any],
    guarded: bool,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """By the middleware that checks every body, and by the models too."""
    if not guarded:
        for module in (
            "safelight.server.middleware.body_limits",
            "safelight.server.core.request_bodies.multipart",
        ):
            monkeypatch.setattr(f"{module}.json_error", lambda _: None)
    text = json.dumps(body)
    answers = [
        client.post("/v1/jobs", content=text, headers={"Content-Type": "application/json"}),
        client.post("/v1/jobs", data={"request": text}, files={"picture": b"x"}),
    ]
    assert [answer.status_code for answer in answers] == [422, 422], [answer.text for answer in answers]
    assert service.store.find() == []
    assert client.get("/v1/jobs").status_code == 200


@pytest.mark.parametrize(
    "request_part",
    [
        ("request", ("r.json", b'{"kind": "upscale", "image": "x"}')),
        ("request", ("r.json", b'{"kind": "scan", "images": "x"}')),
        ("request", ("r.json", b"[" * 100_000)),
        ("request", ("r.json", b'{"kind": "upscale", "upscaler": "' + b"x" * 1024 * 1024 + b'"}')),
    ],
    ids=["a picture twice", "pictures twice", "deep", "large"],
)
def test_the_json_part_of_a_form_is_bounded(client: TestClient, request_part: tuple[str, Any]) -> None:
    answer = client.post("/v1/jobs", files=[request_part, ("image", b"x"), ("images", b"x")])
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "request.invalid"), answer.text
    expected = ("part and in", "nested deeper", "larger than")
    assert any(words in answer.text for words in expected), answer.text


def test_a_job_that_cannot_be_queued_is_refunded(open_service: Callable[..., QueueService]) -> None:
    service = open_service(queue_capacity=1, pictures_per_minute=10)
    key = KeyStore(service.engine).add("anna", pictures_per_day=2)
    with app_client(create_app(service, service.settings), Authorization=f"Bearer {key}") as client:
        assert client.post("/v1/jobs", json=GENERATE_REQUEST).status_code == 202
        for _ in range(3):
            full = client.post("/v1/jobs", json=GENERATE_REQUEST)
            assert (full.status_code, full.json()["error"]["code"]) == (503, "queue.full")
        assert '"pictures";r=9' in full.headers["RateLimit"]
        service.store.claim("bench")
        assert client.post("/v1/jobs", json=GENERATE_REQUEST).status_code == 202


def test_an_owner_with_too_much_waiting_gets_the_limit_in_the_error(
    open_service: Callable[..., QueueService],
) -> None:
    service = open_service(waiting_per_owner=2)
    keys = {name: KeyStore(service.engine).add(name) for name in ("anna", "berta")}
    with app_client(create_app(service, service.settings)) as client:

        def ask(name: str) -> Any:
            return client.post(
                "/v1/jobs", json=GENERATE_REQUEST, headers={"Authorization": f"Bearer {keys[name]}"}
            )

        assert [ask("anna").status_code for _ in range(2)] == [202, 202]
        refused = ask("anna")
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "limit.queue")
        assert "2 of your jobs wait already" in refused.json()["error"]["message"]
        assert int(refused.headers["Retry-After"]) > 0
        assert ask("berta").status_code == 202


def test_lists_leave_out_large_fields(client: TestClient, bench: JobDriver, service: QueueService) -> None:
    """A scan of thousands of images has megabytes of names and verdicts, and a page has two hundred jobs."""
    request = {"images": [{"blob": "0" * 64}] * 500}
    scan = service.store.submit(Submission(kind=JobKind.SCAN, request=request))
    running = service.store.claim("bench")
    assert running is not None
    service.store.succeed(running, {"verdicts": [{"index": 0, "decision": "allow"}] * 500}, 1.0)
    answer = client.get("/v1/jobs")
    (listed,) = answer.json()["jobs"]
    assert (listed["request"], listed["result"]) == ({"images": 500}, None)
    assert len(answer.content) < 2000
    whole = client.get(f"/v1/jobs/{scan.id}").json()
    assert (len(whole["request"]["images"]), len(whole["result"]["verdicts"])) == (500, 500)
    assert len(client.get(f"/v1/jobs/{scan.id}/result").json()["verdicts"]) == 500


def test_a_list_of_an_unknown_kind_is_refused(standing: TestClient) -> None:
    answer = standing.get("/v1/jobs", params={"kind": "dream"})
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["code"], error["message"]) == ("job.kind", "There is no job kind 'dream'.")
    assert "upscale" in answer.json()["error"]["hint"]


def test_an_autoencoder_is_named_as_it_is_listed_never_by_a_path(
    client: TestClient, service: QueueService, server_home: Path
) -> None:
    path = write_vae(server_home / "checkpoints" / "other.safetensors")
    job = client.post("/v1/jobs", json=GENERATE_REQUEST | {"vae": "other"}).json()
    assert service.store.get(job["id"]).request["vae"] == "other"
    for name in (str(path), "another"):
        answer = client.post("/v1/jobs", json=GENERATE_REQUEST | {"vae": name})
        assert (answer.status_code, answer.json()["error"]["code"]) == (404, "checkpoint.part_missing")
