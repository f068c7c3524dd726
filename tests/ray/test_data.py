"""The data stages on a cluster: the same pixels however they are split up, any address, resumed when broken off."""

from __future__ import annotations

import functools
import http.server
import json
import subprocess
import sys
import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark.data.synthetic import DrawConfig, draw_set

pytestmark = pytest.mark.ray

_STREAM = """
import sys
from itertools import islice
import numpy as np
from hallmark.data.backgrounds import BackgroundConfig, BackgroundLibrary, BackgroundReplacement
from hallmark.data.batches import load_photographs, source_columns
from hallmark.data.composite import CompositeConfig
from hallmark.data.decode import DecodeLimits
from hallmark.data.manifest import products, read_manifest
from hallmark.data.pipeline import connected, photograph_stream
from hallmark.data.preprocess import Augmentation, Preprocessing
from hallmark.data.sampling import label
from hallmark.data.scramble import ScrambleConfig
from hallmark.data.tone import ToneConfig
from hallmark.data.transforms import Transforms, photograph_seed

table = read_manifest(sys.argv[1]).slice(0, 24)
labels = label(table, products(table), "source")
columns = source_columns(table, np.arange(24)) | vars(labels) | {
    "seed": np.array([photograph_seed(0, 1, image_id) for image_id in table["image_id"].to_pylist()])
}
transforms = Transforms(
    DecodeLimits(), Preprocessing(side_px=64, fill="random", tone=ToneConfig(gamma=True, ace=True)), Augmentation(),
    ScrambleConfig(degree=5), BackgroundReplacement(BackgroundLibrary(BackgroundConfig()), CompositeConfig()),
)
wanted = load_photographs(columns, transforms)
assert wanted["scrambled"].any() and not wanted["scrambled"].all()
with connected():
    for size in (3, 8):
        stream = photograph_stream(columns, size, transforms)
        parts = list(islice(stream, 2)) + list(stream)
        assert len(parts) == 24 // size, "the stream began again"
        for name, values in wanted.items():
            assert np.array_equal(np.concatenate([part[name] for part in parts]), values), (size, name)
"""


@pytest.fixture(scope="module")
def drawn(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("drawn")
    draw_set(DrawConfig(size="smoke", side_px=96, products=2, shots_per_item=1, difficulty=0.2), folder)
    return folder


@pytest.fixture(scope="module")
def imported(drawn, hallmark, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("imported")
    ended = hallmark("data", "import", drawn / "photographs.csv", "--out", out, "--set", "incomplete=skip")
    assert ended.returncode == 0, ended.stderr
    return out


@pytest.fixture(scope="module")
def hallmark(cluster, tmp_path_factory):
    """`hallmark …` on the session's cluster."""

    def run(*arguments) -> subprocess.CompletedProcess:
        return subprocess.run(
            [str(Path(sys.executable).with_name("hallmark")), *map(str, arguments)],
            cwd=tmp_path_factory.mktemp("cwd"), env=cluster.environment, capture_output=True, text=True, timeout=200,
            check=False,
        )  # fmt: skip

    return run


def test_the_stream_goes_on_and_equals_the_plain_one_in_batches_of_any_size(cluster, imported, root):
    """Every random stage on."""
    ended = subprocess.run(
        [sys.executable, "-c", _STREAM, str(imported / "manifest.parquet")],
        cwd=root, env=cluster.environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip
    assert ended.returncode == 0, ended.stderr


def test_an_import_done_again_changes_nothing(drawn, imported, hallmark):
    before = (imported / "manifest.parquet").read_bytes()
    table = pq.read_table(imported / "manifest.parquet")
    assert table["mask_uri"].null_count < table.num_rows
    ended = hallmark("data", "import", drawn / "photographs.csv", "--out", imported, "--set", "incomplete=skip")
    assert ended.returncode == 0, ended.stderr
    assert (imported / "manifest.parquet").read_bytes() == before


def test_photographs_are_read_from_a_remote_store(drawn, hallmark, tmp_path):
    """A table that lies here, of photographs that lie behind HTTP; one of them is not there."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(drawn))
    handler.log_message = lambda *_: None
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        address = f"http://127.0.0.1:{server.server_address[1]}"
        lines = (drawn / "photographs.csv").read_text().splitlines()
        rows = [line.split(",") for line in lines[1:] if "genuine" in line or "counterfeit" in line][:40]
        kept = [f"{address}/{row[0]},{row[1]},{row[3]}" for row in rows]
        table = tmp_path / "remote.csv"
        table.write_text("\n".join(["uri,product,authenticity", *kept, f"{address}/none.jpg,{rows[0][1]},genuine"]))
        settings = ["--set", "min_items=1", "--set", "incomplete=skip"]
        ended = hallmark("data", "import", table, "--out", tmp_path / "out", *settings)
    finally:
        server.shutdown()
    assert ended.returncode == 0, ended.stderr
    assert pq.read_table(tmp_path / "out" / "manifest.parquet").num_rows > 0
    (fault,) = (
        pq.read_table(tmp_path / "out" / "quarantine.parquet")
        .filter(pa.compute.equal(pa.compute.field("reason"), "unreadable"))
        .to_pylist()
    )
    assert "row 42, column uri" in fault["detail"]


def test_a_manifest_is_checked(imported, hallmark, tmp_path):
    ended = hallmark("data", "check", imported, "--out", tmp_path)
    assert ended.returncode == 0, ended.stderr
    assert "photographs of" in ended.stdout
    audit = json.loads((tmp_path / "audit.json").read_text())
    assert audit["photographs"] == pq.read_table(imported / "manifest.parquet").num_rows
    assert "<img" in (tmp_path / "audit.html").read_text()


def test_a_preparation_that_is_broken_off_goes_on(imported, hallmark, tmp_path):
    """Boxes are given; a first run fails at a place that cannot be written, having done half."""
    table = pq.read_table(imported / "manifest.parquet")
    boxes = pa.array([[4.0, 4.0, 60.0, 40.0]] * table.num_rows, pa.list_(pa.float32()))
    table = table.set_column(table.column_names.index("box"), "box", boxes)
    pq.write_table(table, tmp_path / "manifest.parquet")
    out = tmp_path / "prepared"
    last = table["image_id"].to_pylist()[-1]
    (out / "photographs" / f"{last}.png").mkdir(parents=True)  # a folder where the last photograph should go
    ended = hallmark("data", "prepare", tmp_path, "--out", out)
    assert ended.returncode == 2, ended.stderr
    assert "cannot be written" in ended.stderr
    done = {path.name: path.stat().st_mtime_ns for path in (out / "photographs").glob("*.png") if path.is_file()}
    journalled = {
        json.loads(line)["image_id"]
        for part in (out / "journal").iterdir()
        for line in part.read_text().splitlines()[1:]
    }
    assert journalled
    (out / "photographs" / f"{last}.png").rmdir()
    ended = hallmark("data", "prepare", tmp_path, "--out", out)
    assert ended.returncode == 0, ended.stderr
    assert pq.read_table(out / "manifest.parquet").num_rows == table.num_rows
    untouched = {name for name, written in done.items() if (out / "photographs" / name).stat().st_mtime_ns == written}
    assert {f"{image_id}.png" for image_id in journalled} <= untouched
