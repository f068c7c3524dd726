"""Verdicts about many photographs: files and folders one by one, or a whole manifest on the cluster."""

from __future__ import annotations

import csv
import io
import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import Field
from tqdm import tqdm

from hallmark.config import Config
from hallmark.data.listing import IMAGE_SUFFIXES, read_bytes
from hallmark.data.table import read_box
from hallmark.errors import DataError, HallmarkError, ServiceError
from hallmark.evaluation.expert import Expert
from hallmark.evaluation.protocol import Describe
from hallmark.evaluation.verdict_file import Answered, VerdictFile, read_rows, write_parquet
from hallmark.gallery.describe import Located
from hallmark.types import Verdict, VerdictLabel
from hallmark.verdict.decide import DecisionConfig

CSV_FILE, PARQUET_FILE = "verdicts.csv", "verdicts.parquet"
_HOPELESS = (0, 401, 403, 429)
_WINDOW = 4
"""Photographs under way for each worker, so that a slow one holds up few others."""


class VerifyBatchConfig(Config):
    """Which photographs are examined on the cluster, with what."""

    photographs: str = Field(
        description="a manifest.parquet, or a .csv or .parquet with the column uri and perhaps box, or a .txt with one "
        "URI a line; whatever else a table says of them is not used"
    )
    bundle: str = Field(description="folder of the bundle, calibrated")
    gallery: str | None = Field(
        None, description="the gallery, a folder ending in .lance; null: none, for a bundle that classifies"
    )
    gallery_version: int | None = Field(None, ge=1, description="null: the latest")
    product: str | None = Field(None, description="only it is asked about; null: all")
    out: str = Field(description="folder for verdicts.csv and verdicts.parquet; a run that was cut off is gone on with")
    decision: DecisionConfig = DecisionConfig()
    num_workers: int = Field(1, ge=1, description="actors that describe photographs")
    use_gpu: bool = Field(False, description="one GPU an actor")


def find_photographs(places: Sequence[Path]) -> list[Path]:
    """The photographs that files and folders name, each once: those of a folder by their ending, in order of name.

    Raises:
        DataError: a place is not there, or a folder holds no photograph.
    """
    found: dict[Path, None] = {}
    for place in places:
        if place.is_dir():
            inside = sorted(path for path in place.rglob("*") if _is_photograph(path, place))
            if not inside:
                raise DataError(
                    f"{place}: found no photograph in it; wanted files ending in {', '.join(IMAGE_SUFFIXES)}"
                )
            found |= dict.fromkeys(inside)
        elif place.exists():
            found[place] = None
        else:
            raise DataError(f"{place}: found nothing there; wanted a photograph or a folder of them")
    return list(found)


def _is_photograph(path: Path, folder: Path) -> bool:
    is_hidden = any(step.startswith(".") for step in path.relative_to(folder).parts)
    return not is_hidden and path.suffix.lower() in IMAGE_SUFFIXES and path.is_file()


def verify(photographs: Iterable[Path], examine: Callable[[Path], Verdict], jobs: int) -> Iterator[Answered]:
    """Verdicts in the order given; a photograph that cannot be examined comes with its error, and the rest go on.

    Args:
        photographs: files.
        examine: gives a verdict, from several threads at once.
        jobs: photographs under way at once.

    Raises:
        ServiceError: the service is gone or lets nobody in, so that no other photograph would fare better.
    """
    pool, pending = ThreadPoolExecutor(jobs), deque[Future[Answered]]()
    queue = iter(photographs)
    try:
        for path in itertools.islice(queue, _WINDOW * jobs):
            pending.append(pool.submit(_answered, path, examine))
        while pending:
            answered = pending.popleft().result()
            for path in itertools.islice(queue, 1):
                pending.append(pool.submit(_answered, path, examine))
            yield answered
    finally:
        # After Ctrl-C nothing new is begun.
        pool.shutdown(wait=True, cancel_futures=True)


def _answered(path: Path, examine: Callable[[Path], Verdict]) -> Answered:
    try:
        return Answered(str(path), examine(path))
    except ServiceError as error:
        if error.status in _HOPELESS:
            raise
        return Answered(str(path), None, str(error))
    except HallmarkError as error:
        return Answered(str(path), None, str(error))


def verify_files(
    photographs: Sequence[Path],
    examine: Callable[[Path], Verdict],
    jobs: int,
    table: Path | None = None,
    show: Callable[[Answered], None] = lambda answered: None,
) -> list[VerdictLabel | None]:
    """Examine photographs with a progress bar on a terminal.

    Args:
        photographs: as `find_photographs` gives them.
        examine: as for `verify`.
        jobs: photographs under way at once.
        table: a CSV to write, or to go on with; photographs whose verdict it holds are not asked again.
        show: told each answer as it comes.

    Returns:
        By photograph the verdict; None where it could not be examined.
    """
    with VerdictFile(table) if table else nullcontext() as file:
        told = {path: file and file.label(str(path)) for path in photographs}
        left = [path for path, label in told.items() if label is None]
        bar = {"total": len(told), "initial": len(told) - len(left), "desc": "examining", "unit": "photo"}
        # None: no bar where nobody watches.
        answers = tqdm(verify(left, examine, jobs), ascii=True, mininterval=0.5, disable=None, **bar)
        for path, answered in zip(left, answers, strict=True):
            if file:
                file.add(answered)
            show(answered)
            told[path] = answered.verdict and answered.verdict.verdict
    return list(told.values())


def exit_status(verdicts: Iterable[VerdictLabel | None]) -> int:
    """0: every photograph is genuine; 1: at least one is not, or nobody knows; 2: none of these, but one failed."""
    told = Counter(verdicts)
    if any(count for label, count in told.items() if label not in (None, VerdictLabel.GENUINE)):
        return 1
    return 2 if told[None] else 0


def summary(verdicts: Iterable[VerdictLabel | None]) -> str:
    """How many photographs have which verdict, in words."""
    told = Counter(verdicts)
    parts = [f"{told[label]} {label}" for label in VerdictLabel if told[label]]
    parts += [f"{told[None]} could not be examined"] if told[None] else []
    total = sum(told.values())
    return f"{total} photograph{'s' * (total != 1)}: {', '.join(parts) or 'nothing to tell'}"


def verify_batch(config: VerifyBatchConfig, describe: Describe) -> list[VerdictLabel | None]:
    """Examine a manifest's photographs, described on the cluster, into verdicts.csv and verdicts.parquet.

    Args:
        config: what and where.
        describe: describes photographs in order.

    Returns:
        The verdicts in the files.
    """
    expert = Expert.open(config.bundle, config.gallery, config.gallery_version, config.decision)
    photographs = read_located(config.photographs)
    out = Path(config.out)
    with VerdictFile(out / CSV_FILE) as file:
        left = [photograph for photograph in photographs if file.label(photograph.uri) is None]
        for photograph, outcome in zip(left, describe(expert.bundle, left) if left else (), strict=True):
            if outcome.described is None:
                file.add(Answered(photograph.uri, None, outcome.error))
                continue
            _, verdict = expert.judge(outcome.described, outcome.timings_ms, config.product)
            file.add(Answered(photograph.uri, verdict))
    rows = read_rows(out / CSV_FILE)
    write_parquet(out / PARQUET_FILE, rows)
    return [VerdictLabel(row["verdict"]) if row["verdict"] else None for row in rows]


def read_located(source: str) -> list[Located]:
    """The photographs that a manifest, a table or a list of URIs names, each once.

    Raises:
        DataError: the source cannot be read, or names none.
    """
    content = read_bytes(source)
    suffix = Path(source).suffix.lower()
    if suffix == ".txt":
        found = {line.strip(): None for line in _text(content, source).splitlines() if line.strip()}
    elif suffix in (".csv", ".parquet"):
        found = {uri: box for uri, box in (_csv if suffix == ".csv" else _parquet)(content, source) if uri}
    else:
        raise DataError(f"{source}: found a file ending in {suffix or 'nothing'}; wanted .parquet, .csv or .txt")
    if not found:
        raise DataError(f"{source}: names no photograph; wanted at least one URI")
    return [Located(uri, read_box(box, f"{source}, {uri}, column box")) for uri, box in found.items()]


def _csv(content: bytes, source: str) -> list[tuple[str, object]]:
    try:
        rows = list(csv.DictReader(io.StringIO(_text(content, source), newline=""), strict=True))
    except csv.Error as error:
        raise DataError(f"{source}: is not valid CSV ({error})") from None
    if rows and "uri" not in rows[0]:
        raise DataError(f"{source}: column uri is missing; found {', '.join(map(str, rows[0]))}")
    return [((row["uri"] or "").strip(), row.get("box")) for row in rows]


def _parquet(content: bytes, source: str) -> list[tuple[str, object]]:
    try:
        table = pq.read_table(pa.BufferReader(content))
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"{source}: is not a readable Parquet file ({' '.join(str(error).split())[:200]})") from None
    if "uri" not in table.column_names:
        raise DataError(f"{source}: column uri is missing; found {', '.join(table.column_names)}")
    names = [name for name in ("uri", "box") if name in table.column_names]
    return [(row["uri"], row.get("box")) for row in table.select(names).to_pylist()]


def _text(content: bytes, source: str) -> str:
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise DataError(f"{source}: found text that is not UTF-8 (byte {error.start}); save it as UTF-8") from None
