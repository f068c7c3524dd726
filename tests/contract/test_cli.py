"""The command line and the jobs: help, exit status, one line for an error."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

from hallmark import cli

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
    ["", "demo", "serve", "data", "data draw", "verdict", "keys", "keys add", "keys list", "keys revoke"],
)
def test_help_of_every_command(hallmark, command):
    status, out, _ = hallmark(*command.split(), "--help")
    assert status == 0
    assert out.startswith("usage: hallmark")


@pytest.mark.parametrize("command", ["", "data", "keys", "nothing", "keys revoke", "verdict photo.jpg"])
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
    assert listed.split() == [key_id, "verify,", "enrol", "shop"]
    assert token.split("_", 2)[2] not in listed + Path("keys.json").read_text()
    assert hallmark("keys", "revoke", key_id)[0] == 0
    assert hallmark("keys", "list")[:2] == (0, "")
    status, _, err = hallmark("keys", "revoke", key_id)
    assert (status, err) == (2, f"error: keys.json: has no key {key_id}; `hallmark keys list` shows those there are\n")


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("data draw --out here --set difficulti=1", "did you mean 'difficulty'"),
        ("data draw --out here --config none.yaml", "none.yaml: cannot be read"),
        ("verdict photo.jpg --bundle none --gallery g.lance", "no bundle there"),
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
    assert {"train_fod.py", "ingest.py", "build_gallery.py", "evaluate.py", "deploy.py"} <= names
