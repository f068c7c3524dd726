"""Many photographs: found in folders, examined side by side, and a whole list as the job does it."""

from __future__ import annotations

import threading
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from hallmark.errors import DataError, DecodeError, GalleryError, ServiceError
from hallmark.evaluation.batch import (
    VerifyBatchConfig,
    exit_status,
    find_photographs,
    read_located,
    summary,
    verify,
    verify_batch,
    verify_files,
)
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.protocol import examine_file
from hallmark.evaluation.verdict_file import read_rows
from hallmark.gallery.describe import Describer, Located, describe_located
from hallmark.types import VerdictLabel

GENUINE, COUNTERFEIT, INCONCLUSIVE, ABSENT = VerdictLabel


def touch(*files: Path) -> None:
    for file in files:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch()


def test_photographs_of_folders_are_found_each_once(tmp_path):
    inside = [tmp_path / name for name in ("b/2.JPG", "b/1.png", "a.tiff", "b/c/3.webp")]
    hidden = [tmp_path / name for name in (".hidden/x.jpg", "b/._1.png", "notes.txt", "b/x.csv")]
    touch(*inside, *hidden, tmp_path / "alone.bin")
    (tmp_path / "d.jpg").mkdir()
    assert find_photographs([tmp_path]) == sorted(inside)
    # A file that is named is taken, whatever it is called.
    named = [tmp_path / "alone.bin", tmp_path / "b", inside[0]]
    assert find_photographs(named) == [named[0], *sorted(path for path in inside if path.parent != tmp_path)]
    with pytest.raises(DataError, match="gone: found nothing there"):
        find_photographs([tmp_path / "gone"])
    with pytest.raises(DataError, match=r"d\.jpg: found no photograph in it"):
        find_photographs([tmp_path / "d.jpg"])


def test_answers_come_in_order_with_their_errors(make_examined):
    verdict = make_examined().verdict
    first_may_end = threading.Event()

    def examine(path: Path):
        if path.name == "0":
            assert first_may_end.wait(60)
        if path.name == "3":
            raise DecodeError("corrupt", "3: torn")
        if path.name == "5":
            first_may_end.set()
        return verdict.model_copy(update={"image_id": path.name})

    answers = list(verify([Path(str(number)) for number in range(20)], examine, jobs=3))
    assert [answer.photograph for answer in answers] == [str(number) for number in range(20)]
    assert [answer.photograph for answer in answers if answer.verdict is None] == ["3"]
    assert answers[3].error == "3: torn"
    assert all(answer.verdict.image_id == answer.photograph for answer in answers if answer.verdict)


@pytest.mark.parametrize(
    ("status", "goes_on"), [(0, False), (401, False), (403, False), (429, False), (415, True), (500, True)]
)
def test_a_service_that_is_gone_ends_it_and_a_refused_photograph_does_not(make_examined, tmp_path, status, goes_on):
    def examine(path: Path):
        if path.name == "2":
            raise ServiceError(status, "Refused", "because")
        return make_examined().verdict

    paths, table = [Path(str(number)) for number in range(4)], tmp_path / "v.csv"
    if goes_on:
        assert verify_files(paths, examine, 1, table) == [GENUINE, GENUINE, None, GENUINE]
    else:
        with pytest.raises(ServiceError):
            verify_files(paths, examine, 1, table)
        assert [row["photograph"] for row in read_rows(table)] == ["0", "1"]


def test_ctrl_c_keeps_what_is_written_and_the_next_run_goes_on(make_examined, tmp_path):
    asked, table = [], tmp_path / "v.csv"

    def examine(path: Path):
        asked.append(path.name)
        return make_examined(label="counterfeit").verdict

    def interrupt(answered) -> None:
        if answered.photograph == "4":
            raise KeyboardInterrupt

    paths = [Path(str(number)) for number in range(30)]
    with pytest.raises(KeyboardInterrupt):
        verify_files(paths, examine, 1, table, interrupt)
    assert [row["photograph"] for row in read_rows(table)] == list("01234")
    assert len(asked) < 30
    asked.clear()
    assert verify_files(paths, examine, 2, table) == [COUNTERFEIT] * 30
    assert set(asked) == {str(number) for number in range(5, 30)}
    asked.clear()
    assert verify_files(paths[:3], examine, 2, table) == [COUNTERFEIT] * 3
    assert asked == []


@pytest.mark.parametrize(
    ("verdicts", "status"),
    [
        ([], 0),
        ([GENUINE, GENUINE], 0),
        ([GENUINE, COUNTERFEIT], 1),
        ([INCONCLUSIVE], 1),
        ([ABSENT], 1),
        ([GENUINE, None], 2),
        ([COUNTERFEIT, None], 1),
    ],
)
def test_the_exit_status_says_whether_all_is_well(verdicts, status):
    assert exit_status(verdicts) == status


def test_a_summary_counts():
    assert summary([GENUINE, None, GENUINE, ABSENT]) == (
        "4 photographs: 2 genuine, 1 not_in_gallery, 1 could not be examined"
    )
    assert summary([COUNTERFEIT]) == "1 photograph: 1 counterfeit"
    assert summary([]) == "0 photographs: nothing to tell"


def test_threads_give_the_verdicts_that_one_gives(bundle, gallery, photographs):
    expert = Expert.open(bundle.path, gallery.uri)
    paths = find_photographs([photographs])

    def told(jobs: int) -> list[dict]:
        answers = verify(paths, lambda path: examine_file(expert, path), jobs)
        return [answer.verdict.model_dump(exclude={"timings_ms"}) for answer in answers]

    assert told(1) == told(4)


@pytest.fixture
def config(bundle, gallery, photographs, tmp_path):
    """Settings of a run over a list of the photographs and a torn one."""
    (tmp_path / "torn.png").write_bytes(b"torn")
    uris = [*map(str, sorted(photographs.iterdir())), str(tmp_path / "torn.png")]
    (tmp_path / "list.txt").write_text("\n".join(uris))

    def make(**settings) -> VerifyBatchConfig:
        given = {"photographs": str(tmp_path / "list.txt"), "bundle": str(bundle.path), "gallery": gallery.uri}
        return VerifyBatchConfig(**given | {"out": str(tmp_path / "out")} | settings)

    return make


def describing(asked: list[str], fails_at: int = 10**9):
    """Stands in for the cluster; notes what it was asked."""

    def describe(bundle, located):
        describer = Describer(bundle)
        for number, photograph in enumerate(located):
            if number == fails_at:
                raise KeyboardInterrupt
            asked.append(photograph.uri)
            yield from describe_located(describer, [photograph])

    return describe


def test_a_list_becomes_csv_and_parquet(config, photographs, bundle, gallery):
    settings = config()
    verdicts = verify_batch(settings, describing([]))
    rows = pq.read_table(Path(settings.out) / "verdicts.parquet").to_pylist()
    assert len(rows) == len(verdicts) == 11
    assert verdicts[-1] is None
    assert "torn.png" in rows[-1]["error"]
    expert = Expert.open(bundle.path, gallery.uri)
    for row, path in zip(rows, sorted(photographs.iterdir()), strict=False):
        alone = examine_file(expert, path)
        assert (row["photograph"], row["verdict"], row["image_id"]) == (str(path), alone.verdict, alone.image_id)
        assert row["decision"] == pytest.approx(alone.scores.decision, abs=1e-3)
    assert [row["photograph"] for row in read_rows(Path(settings.out) / "verdicts.csv")] == [
        row["photograph"] for row in rows
    ]


def test_a_run_that_was_cut_off_is_gone_on_with(config):
    settings, asked = config(), []
    with pytest.raises(KeyboardInterrupt):
        verify_batch(settings, describing(asked, fails_at=4))
    assert len(asked) == 4
    assert not (Path(settings.out) / "verdicts.parquet").exists()
    again: list[str] = []
    verify_batch(settings, describing(again))
    assert not set(asked) & set(again)
    assert len(again) == 7
    last: list[str] = []
    verify_batch(settings, describing(last))
    assert [Path(uri).name for uri in last] == ["torn.png"]


def test_a_run_without_anything_left_asks_nobody(config, tmp_path, photographs):
    (tmp_path / "one.txt").write_text(str(photographs / "photo-8.png"))
    settings = config(photographs=str(tmp_path / "one.txt"), decision={"threshold_global": 1.0})
    assert verify_batch(settings, describing([])) == [ABSENT]
    assert verify_batch(settings, lambda *_: pytest.fail("nothing is left")) == [ABSENT]


def test_what_is_wrong_is_told_before_anything_is_described(config):
    def nobody(*_):
        raise AssertionError

    with pytest.raises(GalleryError, match="no gallery"):
        verify_batch(config(gallery="none.lance"), nobody)


def test_tables_and_lists_are_read(tmp_path):
    box = [1.0, 2.0, 30.0, 40.0]
    (tmp_path / "a.txt").write_text("\ufeffx.jpg\n\n  s3://bucket/y.jpg \nx.jpg\n", encoding="utf-8")
    (tmp_path / "a.csv").write_text('uri,box,note\nx.jpg,"1,2,30,40",hm\ny.jpg,,\n,,\n')
    rows = [{"uri": "x.jpg", "box": box, "product": "p"}, {"uri": "y.jpg", "box": None, "product": "p"}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    assert read_located(str(tmp_path / "a.txt")) == [Located("x.jpg"), Located("s3://bucket/y.jpg")]
    for name in ("a.csv", "a.parquet"):
        assert read_located(str(tmp_path / name)) == [Located("x.jpg", tuple(box)), Located("y.jpg")]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"name\nx.jpg\n", "column uri is missing; found name"),
        ("a.csv", b"uri\n", "names no photograph"),
        ("a.csv", b"uri,box\nx.jpg,nonsense\n", r"x\.jpg, column box: found 'nonsense'"),
        ("a.csv", b'uri\n"x', "not valid CSV"),
        ("a.txt", b"\xff\xff", "not UTF-8"),
        ("a.txt", b"\n", "names no photograph"),
        ("a.parquet", b"PAR1", "not a readable Parquet file"),
        ("a.json", b"[]", r"ending in \.json"),
        ("plain", b"x.jpg", "ending in nothing"),
    ],
)
def test_lists_that_cannot_be_read_are_told(tmp_path, name, content, said):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=said):
        read_located(str(tmp_path / name))
