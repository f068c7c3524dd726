"""The served graph over HTTP, and its deployment."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import httpx
import pyarrow.parquet as pq
import pytest

from hallmark.evaluation.protocol import examine_files
from hallmark.serving.auth import Scope, add_key
from hallmark.types import Verdict

pytestmark = pytest.mark.ray


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str, str]:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return file, add_key(file, "reader", [Scope.VERIFY]), add_key(file, "enroller", [Scope.ENROL])


@pytest.fixture(scope="module")
def service(job, run, keys) -> Iterator[httpx.Client]:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        refused = job("deploy", *_settings(run, keys[0], port))
    assert refused.returncode == 2
    assert str(port) in refused.stderr
    assert "http_options.port" in refused.stderr
    ended = job("deploy", *_settings(run, keys[0], port))
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


def _settings(run, keys: Path, port: int | None) -> list[str]:
    artefacts = [f"args.bundle={run.bundle}", f"args.gallery={run.gallery}", f"args.keys={keys}"]
    return [*artefacts, f"http_options.port={port}"]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def test_it_says_that_it_is_ready(service, run):
    assert service.get("/healthz").json()["status"] == "ok"
    ready = service.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["gallery_version"] == 1
    assert ready["num_references"] > 0


def test_verdicts_are_those_of_evaluation(service, run, keys):
    rows = pq.read_table(run.manifest).to_pylist()
    paths = [Path(row["uri"]) for row in rows if row["role"] == "test"][:4]
    for path, alone in zip(paths, examine_files(run.bundle, run.gallery, paths), strict=True):
        answer = service.post("/v1/verdicts", files={"photograph": path.read_bytes()}, headers=_bearer(keys[1]))
        assert answer.status_code == 200, answer.text
        served = Verdict.model_validate(answer.json())
        own = {"request_id", "timings_ms"}
        assert served.model_dump(exclude=own) == alone.model_dump(exclude=own)
        assert served.request_id == answer.headers["x-request-id"]
        assert {"decode", "describe", "retrieve", "verify", "total"} <= set(served.timings_ms)


def test_a_box_is_examined_as_it_is_without_a_server(service, run, keys):
    rows = pq.read_table(run.manifest).to_pylist()
    path = Path(next(row["uri"] for row in rows if row["role"] == "test"))
    (alone,) = examine_files(run.bundle, run.gallery, [path], (10.0, 10.0, 90.0, 80.0))
    ask = {"files": {"photograph": path.read_bytes()}, "headers": _bearer(keys[1])}
    served = Verdict.model_validate(service.post("/v1/verdicts", data={"box": "10,10,90,80"}, **ask).json())
    own = {"request_id", "timings_ms"}
    assert served.model_dump(exclude=own) == alone.model_dump(exclude=own)
    for box in ("900,900,990,990", "80,10,10,90", "none"):
        refused = service.post("/v1/verdicts", data={"box": box}, **ask)
        assert refused.status_code == 422, refused.text
        assert "box" in refused.json()["detail"]


@pytest.mark.parametrize(
    ("token", "content", "status"),
    [
        (None, b"x", 401),
        ("hallmark_000000000000_wrong", b"x", 401),
        ("enroller", b"x", 403),
        ("reader", b"not a photograph", 415),
        ("reader", b"\xff\xd8\xff\xe0 a JPEG that ends here", 422),
    ],
)
def test_what_is_refused_is_a_problem_document(service, keys, token, content, status):
    headers = _bearer({"reader": keys[1], "enroller": keys[2]}.get(token, token)) if token else {}
    answer = service.post("/v1/verdicts", files={"photograph": content}, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_the_documentation_needs_no_other_host(service):
    page = service.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert "/v1/verdicts" in service.get("/openapi.json").json()["paths"]


def test_a_missing_gallery_is_refused_before_anything_restarts(job, service, run, keys, tmp_path):
    settings = _settings(run, keys[0], service.base_url.port)
    ended = job("deploy", *settings, f"args.gallery={tmp_path}/none.lance")
    assert ended.returncode == 2
    assert "none.lance" in ended.stderr
    assert service.get("/readyz").status_code == 200
