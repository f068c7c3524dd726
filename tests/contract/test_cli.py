"""The command line and the jobs: help, exit status, one line for an error."""

from __future__ import annotations

import json
import runpy
import sys
from pathlib import Path

import pytest

from hallmark import cli
from hallmark.errors import ServiceError
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.verdict_file import read_rows
from hallmark.serving.certificate import Issuer
from hallmark.types import Verdict

ROOT = Path(__file__).resolve().parents[2]
JOBS = sorted((ROOT / "jobs").glob("*.py"))


@pytest.fixture
def hallmark(monkeypatch, capsys):
    """Runs one command in this process -> exit status, output, errors."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["hallmark", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return int(ended.value.code or 0), *capsys.readouterr()

    return run


@pytest.mark.parametrize(
    "command",
    [
        "",
        "demo",
        "serve",
        "data",
        "data draw",
        "verify",
        "certificate-key",
        "verify-certificate",
        "recompute",
        "keys",
        "keys add",
        "keys list",
        "keys revoke",
    ],
)
def test_help_of_every_command(hallmark, command):
    status, out, _ = hallmark(*command.split(), "--help")
    assert status == 0
    assert out.startswith("usage: hallmark")


@pytest.mark.parametrize(
    "command", ["", "data", "keys", "nothing", "keys revoke", "verify photo.jpg", "recompute c.json"]
)
def test_an_incomplete_command_is_told(hallmark, command):
    status, _, err = hallmark(*command.split())
    assert status == 2
    assert err.startswith("usage:")


def test_keys_are_made_listed_and_revoked(hallmark):
    status, out, _ = hallmark("keys", "add", "shop", "--scope", "verify", "--scope", "enrol")
    assert status == 0
    token = out.split()[0]
    key_id = token.split("_")[1]
    _, listed, _ = hallmark("keys", "list")
    assert listed.split() == [key_id, "verify,", "enrol", "full", "-", "-", "shop"]
    assert token.split("_", 2)[2] not in listed + Path("keys.json").read_text()
    assert hallmark("keys", "revoke", key_id)[0] == 0
    assert hallmark("keys", "list")[:2] == (0, "")
    status, _, err = hallmark("keys", "revoke", key_id)
    assert (status, err) == (2, f"error: keys.json: has no key {key_id}; `hallmark keys list` shows those there are\n")


def test_a_key_may_see_and_ask_less(hallmark):
    limits = ("--detail", "label", "--rate", "60", "--quota", "1000")
    status, out, _ = hallmark("keys", "add", "public kiosk", *limits)
    assert status == 0
    key_id = out.split("_")[1]
    told = [key_id, "verify", "label", "60/minute", "1000/day", "public", "kiosk"]
    assert hallmark("keys", "list")[1].split() == told
    status, _, err = hallmark("keys", "add", "shop", "--rate", "0")
    assert (status, err[:11]) == (2, "error: key:")
    assert "rate_per_minute" in err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("data draw --out here --set difficulti=1", "did you mean 'difficulty'"),
        ("data draw --out here --config none.yaml", "none.yaml: cannot be read"),
        ("verify torn.json --bundle none --gallery g.lance", "no bundle there"),
        ("verify gone.jpg --url http://127.0.0.1:9", "gone.jpg: found nothing there"),
        ("verify torn.json --url service", "url: found 'service'"),
        ("verify torn.json --url http://127.0.0.1:9 --key-file gone", "gone: cannot be read"),
        ("verify torn.json --bundle none --gallery g.lance --box 1,2,3", "--box: found '1,2,3'"),
        ("verify-certificate gone.json", "gone.json: cannot be read"),
        ("recompute torn.json torn.json --bundle none --gallery g.lance", "torn.json: is no JSON"),
        ("recompute torn.json x.jpg --bundle b --gallery g --public-key zz", "zz: is neither 64 hex digits"),
        ("certificate-key --file torn.json", "torn.json: "),
        ("serve --out nowhere", "holds no finished run"),
        ("demo --out runs --data missing", "missing"),
        ("keys list --file torn.json", "torn.json: is no key file"),
    ],
)
def test_an_error_is_one_line_and_status_2(hallmark, command, said):
    Path("torn.json").write_text("torn")
    status, out, err = hallmark(*command.split())
    assert status == 2
    assert err.startswith("error: ")
    assert said in err
    assert "Traceback" not in out + err


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("verify a --url u --gallery g", "--gallery goes with --bundle"),
        ("verify a --url u --bundle b", "not allowed with"),
        ("verify a --url u --jobs 0", "found '0'; wanted a whole number of at least 1"),
        ("recompute c i --bundle b --gallery g --tolerance nan", "found 'nan'; wanted a number from 0 to 1"),
    ],
)
def test_arguments_that_do_not_go_together_are_told(hallmark, command, said):
    status, _, err = hallmark(*command.split())
    assert status == 2
    assert said in err


def test_folders_are_verified_and_the_table_is_gone_on_with(hallmark, bundle, gallery, photographs):
    Path("more").mkdir()
    Path("more/torn.jpg").write_bytes(b"torn")
    command = ["verify", str(photographs), "more", "--bundle", str(bundle.path), "--gallery", gallery.uri]
    status, out, err = hallmark(*command)
    assert status in (1, 2)
    assert out.count("photo-") == 10
    assert "not examined: more/torn.jpg: found no known format" in err
    assert "11 photographs: " in out
    assert "1 could not be examined" in out
    again = hallmark(*command, "--csv", "v.csv")
    assert again[0] == status
    assert "photo-" not in again[1]
    rows = read_rows(Path("v.csv"))
    assert len(rows) == 11
    assert [row["photograph"] for row in rows if row["error"]] == ["more/torn.jpg"]
    Path("more/torn.jpg").write_bytes((photographs / "photo-0.png").read_bytes())
    assert "examined" not in hallmark(*command, "--csv", "v.csv", "--jobs", "2")[1]
    assert all(row["verdict"] for row in read_rows(Path("v.csv")))


def test_verdicts_are_printed_as_json_lines(hallmark, bundle, gallery, photographs):
    files = [str(photographs / "photo-1.png"), str(photographs / "photo-2.png")]
    _, out, _ = hallmark("verify", *files, "--bundle", str(bundle.path), "--gallery", gallery.uri, "--json")
    told = [json.loads(line) for line in out.splitlines()]
    assert [line["photograph"] for line in told] == files
    assert all(Verdict.model_validate(line["verdict"]).bundle_id == bundle.bundle_id for line in told)
    assert [line["error"] for line in told] == [None, None]


def test_a_service_is_asked_with_the_key_of_a_file_or_the_environment(hallmark, monkeypatch, photographs):
    asked = []

    class Played:
        def __init__(self, url, key):
            asked.append((url, key))

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def key(self):
            pass

        def verdict(self, path, product, boxes):
            asked.append((path.name, product, boxes))
            raise ServiceError(415, "Unusable photograph", "a cat")

    monkeypatch.setattr("hallmark.client.Client", Played)
    monkeypatch.setenv("HALLMARK_KEY", "of-the-environment")
    Path("key").write_text("of-the-file\n")
    file = str(photographs / "photo-1.png")
    status, _, err = hallmark("verify", file, "--url", "http://x", "--product", "bag", "--box", "1,2,3,4")
    assert status == 2
    assert "Unusable photograph: a cat" in err
    hallmark("verify", file, "--url", "http://x", "--key-file", "key")
    assert asked == [
        ("http://x", "of-the-environment"),
        ("photo-1.png", "bag", [(1.0, 2.0, 3.0, 4.0)]),
        ("http://x", "of-the-file"),
        ("photo-1.png", None, None),
    ]


def test_certificates_are_checked_and_recomputed(hallmark, bundle, gallery, photographs):
    status, out, _ = hallmark("certificate-key", "--file", "key.pem")
    assert status == 0
    public_key = out.split()[0]
    assert hallmark("certificate-key", "--file", "key.pem")[1] == out
    file = photographs / "photo-7.png"
    verdict = Expert.open(bundle.path, gallery.uri).examine(file.read_bytes())
    certificate = Issuer(Path("key.pem"), "desk").issue([verdict], None, gallery.content_id)
    Path("c.json").write_text(certificate.model_dump_json())
    assert hallmark("verify-certificate", "c.json", "--public-key", public_key)[0] == 0
    status, out, _ = hallmark("verify-certificate", "c.json")
    assert status == 0
    assert out.startswith("valid: unchanged since desk signed it")
    assert "give --public-key" in out
    artefacts = ["--bundle", str(bundle.path), "--gallery", gallery.uri, "--public-key", public_key]
    assert hallmark("recompute", "c.json", str(file), *artefacts)[:2] == (0, "1 verdict: identical\n")
    other = str(photographs / "photo-6.png")
    assert hallmark("recompute", "c.json", other, *artefacts)[0] == 2
    lied = verdict.model_copy(update={"p_genuine": 0.123})
    lie = Issuer(Path("key.pem"), "desk").issue([lied], None, gallery.content_id)
    Path("lie.json").write_text(lie.model_dump_json())
    status, out, _ = hallmark("recompute", "lie.json", str(file), *artefacts)
    assert status == 1
    assert out.startswith("differs: verdicts.0.p_genuine: certified 0.123, recomputed ")
    Path("c.json").write_text(certificate.model_dump_json().replace('"desk"', '"dusk"'))
    status, out, _ = hallmark("verify-certificate", "c.json")
    assert status == 1
    assert out.startswith("not valid: c.json: signature: does not fit the content")


def test_a_few_photographs_are_drawn(hallmark, root):
    settings = ["--set", "size=smoke", "--set", "side_px=96", "--set", "products=1"]
    config = str(root / "jobs" / "configs" / "draw_demo.yaml")
    status, out, err = hallmark("data", "draw", "--config", config, "--out", "d", *settings, "--set", "photographs=16")
    assert status == 0, err
    assert "drawn: " in out
    assert Path("d/photographs.csv").is_file()


@pytest.mark.parametrize("job", JOBS, ids=lambda job: job.name)
def test_jobs_are_short_and_say_what_they_do(job, monkeypatch, capsys):
    assert len(job.read_text().splitlines()) < 60
    monkeypatch.setattr(sys, "argv", [str(job), "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(job), run_name="__main__")
    assert not ended.value.code
    told = capsys.readouterr().out
    assert "--config" in told
    assert "--set" in told


def test_the_jobs_are_those_of_the_design():
    names = {job.name for job in JOBS}
    assert {"train_fod.py", "ingest.py", "build_gallery.py", "evaluate.py", "deploy.py", "verify_batch.py"} <= names
