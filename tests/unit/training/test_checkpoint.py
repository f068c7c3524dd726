"""A training that is told to stop, or broken off, goes on from where it stood."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from safetensors.torch import load_file

from hallmark.config import load_config
from hallmark.errors import OutputError
from hallmark.evaluation.protocol import KAGJob
from hallmark.training.bundle import Bundle
from hallmark.training.plain import train_plain
from hallmark.training.run import RunConfig

Make = Callable[..., RunConfig]


@pytest.fixture
def run(manifest: Path, tmp_path: Path) -> Make:
    """Four epochs of a small KAG-MTLN with dropout and augmentation."""

    def make(folder: str, *overrides: str) -> RunConfig:
        small = ["preprocessing.side_px=48", "optimiser.epochs=4", "validate_every=1", "method.dropout=0.5"]
        small += ["scramble.degree=4", f"manifest={manifest}", f"out={tmp_path / folder / 'bundle'}"]
        return load_config(KAGJob, None, ["preset=tiny", *small, *overrides], presets="kag_mtln").run

    return make


def weights(bundle: Bundle) -> dict[str, bytes]:
    return {name: tensor.numpy().tobytes() for name, tensor in load_file(bundle.path / "weights.safetensors").items()}


def until(last: int) -> Callable[[int, dict[str, float]], bool]:
    return lambda epoch, judged: epoch < last and "accuracy" in judged


def test_stopped_and_gone_on_with_it_ends_as_one_that_was_not(run: Make) -> None:
    whole = train_plain(run("whole"), progress=False)
    for last in (1, 3):
        stopped = train_plain(run("parts"), progress=False, goes_on=until(last), resumes=True)
        assert [record["epoch"] for record in stopped.metrics["epochs"]] == list(range(1, last + 1))
    ended = train_plain(run("parts"), progress=False, resumes=True)
    assert ended.metrics == whole.metrics
    assert weights(ended) == weights(whole)


class KilledError(Exception):
    pass


def test_broken_off_it_goes_on_from_its_last_validation(run: Make) -> None:
    def kill(epoch: int, judged: dict[str, float]) -> bool:
        if epoch == 3:
            raise KilledError
        return True

    with pytest.raises(KilledError):
        train_plain(run("broken"), progress=False, goes_on=kill, resumes=True)
    asked: list[int] = []
    ended = train_plain(
        run("broken"), progress=False, goes_on=lambda epoch, judged: not asked.append(epoch), resumes=True
    )
    assert asked == [3], "asked again where it stood; nothing before it is trained again"
    assert weights(ended) == weights(train_plain(run("whole"), progress=False))


def test_a_training_that_has_stopped_for_good_stays_so(run: Make) -> None:
    for _ in range(2):
        ended = train_plain(run("stopped"), progress=False, goes_on=until(2), resumes=True)
        assert len(ended.metrics["epochs"]) == 2


def test_another_configuration_begins_anew(run: Make) -> None:
    train_plain(run("one"), progress=False, goes_on=until(1), resumes=True)
    asked: list[int] = []
    train_plain(
        run("one", "seed=5"), progress=False, goes_on=lambda epoch, judged: not asked.append(epoch), resumes=True
    )
    assert asked == [1, 2, 3]


def test_only_the_last_and_the_best_checkpoint_are_kept(run: Make) -> None:
    made = run("kept")
    train_plain(made, progress=False, resumes=True)
    kept = sorted(path.name for path in (Path(made.out).parent / "checkpoints").glob("*/*"))
    assert "000004" in kept
    assert len(kept) <= 2


def test_a_place_that_cannot_be_written_is_named(run: Make) -> None:
    made = run("full")
    Path(made.out).parent.mkdir(parents=True)
    (Path(made.out).parent / "checkpoints").write_text("")
    with pytest.raises(OutputError, match=r"checkpoints.*cannot be written"):
        train_plain(made, progress=False, resumes=True)
