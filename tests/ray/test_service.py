"""The served graph over HTTP, and its deployment."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Event, Thread
from typing import Any

import httpx
import pyarrow.parquet as pq
import pytest
import yaml

from hallmark.evaluation.protocol import examine_files
from hallmark.evaluation.recomputation import recompute
from hallmark.serving.auth import Detail, Scope, add_key
from hallmark.serving.certificate import check_certificate, make_key
from hallmark.serving.schema import ItemAnswer
from hallmark.training.bundle import open_bundle, write_calibration
from hallmark.types import Verdict
from hallmark.verdict.calibration import calibration_of
from hallmark.verdict.items import fuse

pytestmark = pytest.mark.ray
_PATIENCE_S = 60.0
_OWN = {"request_id", "timings_ms"}
"""What differs between two verdicts about one photograph."""


@dataclass(frozen=True)
class Keys:
    """The key file, and tokens of what they may do."""

    file: Path
    reader: str
    enroller: str
    curator: str
    admin: str
    slow: str
    kiosk: str


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    file = tmp_path_factory.mktemp("keys") / "keys.json"
    return Keys(
        file,
        reader=add_key(file, "reader", [Scope.VERIFY]),
        enroller=add_key(file, "enroller", [Scope.ENROL]),
        curator=add_key(file, "curator", [Scope.VERIFY, Scope.ENROL]),
        admin=add_key(file, "admin", [Scope.ADMIN]),
        slow=add_key(file, "slow", [Scope.VERIFY], rate_per_minute=2),
        kiosk=add_key(file, "kiosk", [Scope.VERIFY], Detail.LABEL),
    )


@pytest.fixture(scope="module")
def gallery(run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy, which these tests may change."""
    return Path(shutil.copytree(run.gallery, tmp_path_factory.mktemp("gallery") / "gallery.lance"))


@pytest.fixture(scope="module")
def write_config(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., str]:
    """`write_config(name="local", **live)` writes that file with small replicas, two Retrievers and a `user_config`."""
    folder = tmp_path_factory.mktemp("config")

    def write(name: str = "local", **live: Any) -> str:
        settings = yaml.safe_load((root / "serve_configs" / f"{name}.yaml").read_text())
        for deployment in settings["applications"][0]["deployments"]:
            # While it is exchanged each stage is there twice, beside the canary's.
            deployment["ray_actor_options"] = {"num_cpus": 0.25}
            if deployment["name"] == "Retriever":
                deployment["num_replicas"] = 2
            if deployment["name"].startswith(("Retriever", "Verifier")):
                deployment["user_config"] = live
        file = folder / "serve.yaml"
        file.write_text(yaml.safe_dump(settings))
        return str(file)

    return write


@pytest.fixture(scope="module")
def settings(run, keys, gallery, tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], list[str]]:
    """Overrides of the deploy job, by port."""
    folder = tmp_path_factory.mktemp("service")
    make_key(folder / "certificate-key.pem")
    named = {"bundle": run.bundle, "gallery": gallery, "keys": keys.file, "audit": folder / "audit"}
    named["certificate_key"] = folder / "certificate-key.pem"
    return lambda port: [*[f"args.{name}={place}" for name, place in named.items()], f"http_options.port={port}"]


@pytest.fixture(scope="module")
def service(job, settings, write_config) -> Iterator[httpx.Client]:
    config = write_config()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        refused = job("deploy", *settings(port), config=config)
    assert refused.returncode == 2
    assert str(port) in refused.stderr
    assert "http_options.port" in refused.stderr
    ended = job("deploy", *settings(port), config=config)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def tested(run) -> list[Path]:
    """Photographs that are not enrolled."""
    rows = pq.read_table(run.manifest).to_pylist()
    return [Path(row["uri"]) for row in rows if row["role"] == "test"]


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def _files(*paths: Path) -> list[tuple[str, tuple[str, bytes]]]:
    return [("photograph", (path.name, path.read_bytes())) for path in paths]


def _await(told: Callable[[], Any], wanted: Any, times: int = 1) -> None:
    """Until something has been told so many times in a row: replicas answer in turn."""
    deadline, seen = time.monotonic() + _PATIENCE_S, []
    while time.monotonic() < deadline:
        seen = [*seen, told()][-times:]
        if seen == [wanted] * times:
            return
        time.sleep(0.1)
    raise AssertionError(f"last told {seen}; wanted {wanted}")


def _pids(cluster, stage: str) -> list[int]:
    token = Path(cluster.environment["RAY_AUTH_TOKEN_PATH"]).read_text().strip()
    answer = httpx.get(f"{cluster.dashboard_url}/api/serve/applications/", headers=_bearer(token), timeout=30)
    replicas = answer.json()["applications"]["hallmark"]["deployments"][stage]["replicas"]
    return sorted(replica["pid"] for replica in replicas if replica["state"] == "RUNNING")


def test_it_says_that_it_is_ready(service):
    assert service.get("/healthz").json()["status"] == "ok"
    ready = service.get("/readyz").json()
    assert ready["status"] == "ready"
    assert ready["gallery_version"] == 1
    assert ready["num_references"] > 0


def test_verdicts_are_those_of_evaluation(service, run, gallery, keys, tested):
    paths = tested[:4]
    for path, alone in zip(paths, examine_files(run.bundle, gallery, paths), strict=True):
        answer = service.post("/v1/verdicts", files=_files(path), headers=_bearer(keys.reader))
        assert answer.status_code == 200, answer.text
        served = Verdict.model_validate(answer.json())
        assert served.model_dump(exclude=_OWN) == alone.model_dump(exclude=_OWN)
        assert served.request_id == answer.headers["x-request-id"]
        assert {"decode", "describe", "retrieve", "verify", "total"} <= set(served.timings_ms)


def test_a_box_is_examined_as_it_is_without_a_server(service, run, gallery, keys, tested):
    (alone,) = examine_files(run.bundle, gallery, tested[:1], (10.0, 10.0, 90.0, 80.0))
    ask = {"files": _files(tested[0]), "headers": _bearer(keys.reader)}
    served = Verdict.model_validate(service.post("/v1/verdicts", data={"box": "10,10,90,80"}, **ask).json())
    assert served.model_dump(exclude=_OWN) == alone.model_dump(exclude=_OWN)
    for box in ("900,900,990,990", "80,10,10,90", "none"):
        refused = service.post("/v1/verdicts", data={"box": box}, **ask)
        assert refused.status_code == 422, refused.text
        assert "box" in refused.json()["detail"]


def test_several_photographs_are_one_item(service, run, gallery, keys, tested):
    answer = service.post("/v1/verdicts", files=_files(*tested[:3]), headers=_bearer(keys.reader))
    assert answer.status_code == 200, answer.text
    told = ItemAnswer.model_validate(answer.json())
    alone = examine_files(run.bundle, gallery, tested[:3])
    for one, wanted in zip(told.photographs, alone, strict=True):
        assert (one.verdict, one.product, one.image_id) == (wanted.verdict, wanted.product, wanted.image_id)
        # They may have been described in one batch, which rounds otherwise.
        assert one.scores.decision == pytest.approx(wanted.scores.decision, abs=0.05)
    calibration = calibration_of(open_bundle(run.bundle))
    assert told.item == fuse([Verdict.model_validate(one.model_dump()) for one in told.photographs], calibration)


def test_one_product_alone_can_be_asked(service, keys, tested):
    products = service.get("/v1/products", headers=_bearer(keys.reader)).json()["products"]
    for name in {entry["product"] for entry in products}:
        told = service.post(
            "/v1/verdicts", files=_files(tested[0]), data={"product": name}, headers=_bearer(keys.reader)
        )
        assert {reference["product"] for reference in told.json()["references"]} == {name}
    told = service.post(
        "/v1/verdicts", files=_files(tested[0]), data={"product": "no such"}, headers=_bearer(keys.reader)
    )
    assert told.json()["references"] == []
    assert told.json()["verdict"] in ("not_in_gallery", "inconclusive")


def test_evidence_can_be_drawn_and_certified(service, run, gallery, keys, tested):
    ask = {"files": _files(tested[0]), "headers": _bearer(keys.reader)}
    drawn = service.post("/v1/verdicts", params={"overlays": "true"}, **ask).json()
    assert set(drawn["overlays"]) == {"residual", "matches", "attention"}
    answer = service.post("/v1/certificates", **ask)
    assert answer.status_code == 200, answer.text
    certificate = check_certificate(answer.content)
    assert certificate.verdicts[0].image_id == drawn["image_id"]
    assert recompute(certificate, run.bundle, gallery, tested[:1]).largest == 0
    ask["headers"] = {**_bearer(keys.reader), "Accept": "text/html"}
    assert "<html" in service.post("/v1/certificates", **ask).text


def test_a_kiosk_sees_the_verdict_alone(service, keys, tested):
    whole, seen = (
        service.post("/v1/verdicts", files=_files(tested[0]), headers=_bearer(token)).json()
        for token in (keys.reader, keys.kiosk)
    )
    assert (seen["verdict"], seen["image_id"]) == (whole["verdict"], whole["image_id"])
    assert (seen["scores"], seen["references"], seen["cue_pairs"]) == (None, [], [])


def test_enrolled_references_reach_every_replica_and_are_gone_when_retired(service, keys, tested):
    headers = {**_bearer(keys.curator), "Idempotency-Key": "first"}
    before = service.get("/readyz").json()
    fields = {"product": "a new product", "authenticity": "genuine", "item_id": "one"}
    enrol = {"files": [*_files(*tested[:2]), ("photograph", ("torn.jpg", b"torn"))], "data": fields, "headers": headers}
    answer = service.post("/v1/references", **enrol)
    assert answer.status_code == 201, answer.text
    told = answer.json()
    assert [(one["file"], one["created"]) for one in told["references"]] == [(path.name, True) for path in tested[:2]]
    assert [(one["file"], one["problem"]["status"]) for one in told["refused"]] == [("torn.jpg", 415)]
    assert told["gallery_version"] == before["gallery_version"] + 1

    # The same request gets the same answer, and adds nothing.
    assert service.post("/v1/references", **enrol).json() == told
    reused = service.post("/v1/references", **(enrol | {"data": fields | {"part": "tag"}}))
    assert (reused.status_code, reused.json()["reason"]) == (422, "idempotency_key_reused")

    reference_id = told["references"][0]["reference_id"]
    thumbnail = service.get(f"/v1/references/{reference_id}/thumbnail", headers=_bearer(keys.reader))
    assert thumbnail.content.startswith(b"\xff\xd8\xff")
    listed = service.get("/v1/references", params={"product": "a new product"}, headers=_bearer(keys.reader)).json()
    assert {one["reference_id"] for one in listed["references"]} == {one["reference_id"] for one in told["references"]}
    products = service.get("/v1/products", headers=_bearer(keys.reader)).json()["products"]
    assert {"product": "a new product", "part": "whole", "genuine": 2, "counterfeit": 0} in products

    def version() -> int:
        return service.get("/readyz").json()["gallery_version"]

    _await(version, told["gallery_version"], times=12)
    asked = service.post("/v1/verdicts", files=_files(tested[0]), headers=_bearer(keys.reader)).json()
    assert asked["references"][0]["image_id"] == told["references"][0]["image_id"]
    assert asked["gallery_version"] == told["gallery_version"]

    retired = service.delete(f"/v1/references/{reference_id}", headers=_bearer(keys.curator))
    assert retired.json() == {"gallery_version": told["gallery_version"] + 1, "reference_id": reference_id}
    again = service.delete(f"/v1/references/{reference_id}", headers=_bearer(keys.curator))
    assert again.status_code == 404

    def picture() -> int:
        return service.get(f"/v1/references/{reference_id}/thumbnail", headers=_bearer(keys.reader)).status_code

    _await(picture, 404, times=12)

    place = f"/v1/gallery/versions/{before['gallery_version']}/rollback"
    assert service.post(place, headers=_bearer(keys.curator)).status_code == 403
    restored = service.post(place, headers=_bearer(keys.admin)).json()
    assert restored == {"gallery_version": told["gallery_version"] + 2, "restored": before["gallery_version"]}
    _await(version, restored["gallery_version"], times=12)
    assert service.get("/readyz").json()["num_references"] == before["num_references"]
    versions = service.get("/v1/gallery/versions", headers=_bearer(keys.reader)).json()
    assert versions["current"] == restored["gallery_version"]
    assert [one["change"] for one in versions["versions"][:3]] == ["rolled_back", "retired", "enrolled"]
    unknown = service.post("/v1/gallery/versions/999/rollback", headers=_bearer(keys.admin))
    assert unknown.status_code == 404


def test_a_keys_rate_holds(service, keys, tested):
    told = [service.post("/v1/verdicts", files=_files(tested[0]), headers=_bearer(keys.slow)) for _ in range(3)]
    assert [answer.status_code for answer in told] == [200, 200, 429]
    assert 1 <= int(told[-1].headers["retry-after"]) <= 60


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
    headers = _bearer({"reader": keys.reader, "enroller": keys.enroller}.get(token, token)) if token else {}
    answer = service.post("/v1/verdicts", files={"photograph": content}, headers=headers)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


def test_the_page_and_the_figures_are_there(service):
    page = service.get("/")
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert 'hallmark_requests_total{method="POST",place="/v1/verdicts",status="200"}' in service.get("/metrics").text


def test_the_documentation_needs_no_other_host(service):
    page = service.get("/docs").text
    assert "http://" not in page
    assert "https://" not in page
    assert "/v1/verdicts" in service.get("/openapi.json").json()["paths"]


def test_thresholds_and_version_change_without_a_restart(
    service, job, settings, write_config, run, gallery, keys, tested, cluster
):
    stages = ("Gateway", "Retriever", "Verifier", "Enroller")
    before = {stage: _pids(cluster, stage) for stage in stages}
    assert len(before["Retriever"]) == 2
    latest = service.get("/readyz").json()["gallery_version"]

    def ask() -> tuple[int, str]:
        answer = service.post("/v1/verdicts", files=_files(tested[0]), headers=_bearer(keys.reader)).json()
        return answer["gallery_version"], answer["verdict"]

    usual = ask()
    strict = {"gallery_version": 1, "decision": {"threshold_global": 1.0}}
    for live, wanted in ((strict, (1, "not_in_gallery")), ({}, (latest, usual[1]))):
        ended = job("deploy", *settings(service.base_url.port), config=write_config(**live))
        assert ended.returncode == 0, ended.stdout + ended.stderr
        _await(ask, wanted, times=8)
    assert {stage: _pids(cluster, stage) for stage in stages} == before


def test_a_replica_that_is_killed_costs_no_verdict(service, run, gallery, keys, tested, cluster):
    (alone,) = examine_files(run.bundle, gallery, tested[:1])
    for stage in ("Retriever", "Verifier"):
        killed = _pids(cluster, stage)[0]
        os.kill(killed, signal.SIGKILL)
        for _ in range(6):
            answer = service.post("/v1/verdicts", files=_files(tested[0]), headers=_bearer(keys.reader))
            assert answer.status_code == 200, answer.text
            assert Verdict.model_validate(answer.json()).model_dump(exclude=_OWN) == alone.model_dump(exclude=_OWN)


def test_a_missing_gallery_is_refused_before_anything_restarts(job, service, settings, tmp_path):
    ended = job("deploy", *settings(service.base_url.port), f"args.gallery={tmp_path}/none.lance")
    assert ended.returncode == 2
    assert "none.lance" in ended.stderr
    assert service.get("/readyz").status_code == 200


def test_a_new_bundle_and_a_canary_are_taken_up_under_load(
    job, service, settings, write_config, run, gallery, keys, tested, tmp_path
):
    """Every replica is exchanged; not one request fails, and each verdict is that of the bundle it names."""
    second = tmp_path / "next"
    shutil.copytree(run.bundle, second)
    calibration = json.loads((second / "calibration.json").read_text())
    write_calibration(second, calibration | {"objective": "the same thresholds, fitted again"})
    wanted = {}
    for place in (run.bundle, second):
        told = examine_files(place, gallery, tested[:2])
        wanted[open_bundle(place).bundle_id] = [one.verdict for one in told]
    seen, failed, ended = Counter(), [], Event()

    def load(place: int) -> None:
        with httpx.Client(base_url=service.base_url, timeout=120) as client:
            while not ended.is_set():
                answer = client.post("/v1/verdicts", files=_files(tested[place]), headers=_bearer(keys.reader))
                told = answer.json()
                if answer.status_code != 200 or told["verdict"] != wanted[told["bundle_id"]][place]:
                    failed.append(answer.text)
                else:
                    seen[told["bundle_id"]] += 1

    loads = [Thread(target=load, args=(place,)) for place in range(2)]
    for thread in loads:
        thread.start()
    try:
        canary = [f"args.canary.bundle={run.bundle}", f"args.canary.gallery={gallery}", "args.canary.share=0.5"]
        overrides = [*settings(service.base_url.port), *canary, f"args.bundle={second}"]
        deployed = job("deploy", *overrides, config=write_config("canary"))
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        seen.clear()
        _await(lambda: len(seen) == 2 and min(seen.values()) >= 5, True)
    finally:
        ended.set()
        for thread in loads:
            thread.join()
    assert failed == []
    assert [bundle["name"] for bundle in service.get("/readyz").json()["bundles"]] == ["default", "canary"]
    asked = {"files": _files(tested[0]), "data": {"bundle": "canary"}, "headers": _bearer(keys.reader)}
    assert service.post("/v1/verdicts", **asked).json()["bundle_id"] == open_bundle(run.bundle).bundle_id
