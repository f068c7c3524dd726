"""What a trained classifier says of the test photographs, stored beside its bundle."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from pydantic import Field, ValidationError

from hallmark.data.batches import Columns, num_judged_at_once, plain_batches, source_columns, to_images
from hallmark.data.manifest import products, rows_with
from hallmark.data.sampling import label
from hallmark.data.transforms import Transforms, photograph_seed
from hallmark.errors import DataError
from hallmark.evaluation.measures import Figures
from hallmark.evaluation.tables import write_atomically
from hallmark.methods.base import Classifier
from hallmark.training.bundle import Bundle
from hallmark.training.run import RunConfig
from hallmark.types import Authenticity, Role

IN_DOMAIN = (Authenticity.GENUINE, Authenticity.COUNTERFEIT)


class Answer(Figures):
    """What was said of one photograph. Classes: class_index = 2·product + genuine."""

    image_id: str
    item_id: str
    truth: int = Field(ge=0)
    told: int = Field(ge=0, description="the likeliest class")
    log_odds: float = Field(description="of genuine, over all products; higher = more genuine")


class Outcome(Figures):
    """One training and what its bundle says of the test photographs, in the order of the manifest."""

    bundle_id: str
    seed: int
    products: list[str]
    validation: dict[str, float]
    training_photographs: int
    training_items: int
    answers: list[Answer]


@dataclass(frozen=True)
class Answers:
    """What several trainings, S seeds, say of the same N test photographs."""

    names: list[str]
    """Of the 2P classes, by class_index."""
    items: np.ndarray
    """(N,) str."""
    truth: np.ndarray
    """(N,) int64 class_index."""
    told: np.ndarray
    """(S, N) int64 class_index."""
    log_odds: np.ndarray
    """(S, N) float64, of genuine."""

    def of(self, seeds: Sequence[int]) -> Answers:
        """Those of some trainings, by their place."""
        return replace(self, told=self.told[list(seeds)], log_odds=self.log_odds[list(seeds)])

    def about(self, places: np.ndarray) -> Answers:
        """Those about some of the photographs, by their place."""
        return replace(
            self,
            items=self.items[places],
            truth=self.truth[places],
            told=self.told[:, places],
            log_odds=self.log_odds[:, places],
        )

    @property
    def right(self) -> np.ndarray:
        """(S, N) bool: product and authenticity both right."""
        return self.told == self.truth

    @cached_property
    def confusion(self) -> np.ndarray:
        """(2P, 2P) int64 counts over all seeds, truth by answer."""
        return self.confusion_by(np.ones(self.told.shape)).round().astype(np.int64)

    def confusion_by(self, weights: np.ndarray) -> np.ndarray:
        """(2P, 2P) float64: as `confusion`, each answer counting as often as (S, N) weights say."""
        size = len(self.names)
        pairs = (self.truth * size + self.told).ravel()
        return np.bincount(pairs, weights.ravel(), size * size).reshape(size, size)


def answers_of(outcomes: Sequence[Outcome]) -> Answers:
    """Join what several trainings say of the same photographs.

    Raises:
        DataError: they were not asked about the same photographs, or do not know the same products.
    """
    first = outcomes[0]
    asked = [(answer.image_id, answer.truth) for answer in first.answers]
    for other in outcomes[1:]:
        if other.products != first.products or [(one.image_id, one.truth) for one in other.answers] != asked:
            raise DataError(
                f"outcomes of bundles {first.bundle_id} and {other.bundle_id}: found other products or test "
                "photographs; wanted the same (analyse into a new folder)"
            )
    return Answers(
        names=[f"{product} {kind}" for product in first.products for kind in ("counterfeit", "genuine")],
        items=np.array([answer.item_id for answer in first.answers]),
        truth=np.array([answer.truth for answer in first.answers], dtype=np.int64),
        told=np.array([[answer.told for answer in one.answers] for one in outcomes], dtype=np.int64),
        log_odds=np.array([[answer.log_odds for answer in one.answers] for one in outcomes]),
    )


def judge(bundle: Bundle, table: pa.Table, device: torch.device | str = "cpu") -> Outcome:
    """Ask a bundle about the in-domain test photographs of the manifest that it was trained on.

    Raises:
        DataError: there are none, or one cannot be read; names it.
        BundleError, WeightsError: what is wrong with the bundle.
    """
    asked = photographs_to_judge(table, bundle.run.manifest)
    method = bundle.build_method(device)
    with torch.inference_mode():
        images = (to_images(batch, bundle.run.preprocessing, device) for batch in photographs(bundle.run, asked))
        logits = torch.cat([method.classify(batch).logits.cpu() for batch in images]).double()
    truth = label(asked, products(table), "class").class_index
    rows = zip(asked.to_pylist(), truth, logits.argmax(dim=1), log_odds_genuine(logits), strict=True)
    trained = rows_with(table, (Role.TRAIN,), IN_DOMAIN)
    return Outcome(
        bundle_id=bundle.bundle_id,
        seed=bundle.run.seed,
        products=bundle.products,
        validation=bundle.metrics["validation"],
        training_photographs=trained.num_rows,
        training_items=len(set(trained["item_id"].to_pylist())),
        answers=[
            Answer(
                image_id=row["image_id"], item_id=row["item_id"], truth=int(own), told=int(told), log_odds=float(odds)
            )
            for row, own, told, odds in rows
        ],
    )


def log_odds_genuine(logits: torch.Tensor) -> torch.Tensor:
    """(N, 2P) over class_index -> (N,): log odds of genuine, over all products."""
    return logits[:, 1::2].logsumexp(dim=1) - logits[:, ::2].logsumexp(dim=1)


def photographs_to_judge(table: pa.Table, manifest: str) -> pa.Table:
    """The in-domain test photographs of a manifest.

    Raises:
        DataError: there are none; names the manifest.
    """
    asked = rows_with(table, (Role.TEST,), IN_DOMAIN)
    if not asked.num_rows:
        raise DataError(f"{manifest}: no photograph has the role test; wanted some to report on")
    return asked


def photographs(run: RunConfig, table: pa.Table) -> Iterator[Columns]:
    """Photographs as serving shows them to the network, batch by batch, in the order of the table: `image`, and
    `content` where padding can occur; see `load_photographs`.

    Raises:
        DecodeError, DataError: one cannot be read; names it.
    """
    seeds = [photograph_seed(run.seed, 0, image_id) for image_id in table["image_id"].to_pylist()]
    columns = source_columns(table, np.arange(table.num_rows)) | {"seed": np.array(seeds, dtype=np.int64)}
    return plain_batches(
        columns, num_judged_at_once(run.preprocessing.side_px), Transforms(run.limits, run.preprocessing)
    )


def features(method: Classifier, run: RunConfig, table: pa.Table, device: torch.device | str) -> np.ndarray:
    """(N, F) float32: what a classifier's heads read of the photographs of a table."""
    with torch.inference_mode():
        images = (to_images(batch, run.preprocessing, device) for batch in photographs(run, table))
        return torch.cat([method.classify(batch).features.float().cpu() for batch in images]).numpy()


def read_outcome(path: Path) -> Outcome | None:
    """An outcome that was stored before; None where there is none.

    Raises:
        DataError: it cannot be read.
    """
    try:
        return Outcome.model_validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        said = str(error).splitlines()[0]
        raise DataError(f"{path}: is no outcome of this version ({said}); delete it, and it is made again") from None


def write_outcome(path: Path, outcome: Outcome) -> None:
    """Store an outcome, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    write_atomically(path, outcome.model_dump_json(indent=1) + "\n")
