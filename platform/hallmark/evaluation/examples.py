"""The photographs that a report shows: which ones, and drawn with what was found on them."""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from hallmark.data.decode import DecodeLimits, decode
from hallmark.errors import DataError, DecodeError
from hallmark.evaluation import photographs, wording
from hallmark.evaluation.canvas import to_jpeg
from hallmark.evaluation.examined import Examined
from hallmark.evaluation.rows import NONE, number
from hallmark.types import VerdictLabel

_MAX_EXAMPLES, _MAX_NOT_RIGHT = 12, 8
"""Examples drawn with their matched cues, and how many of these may be other than right."""

_PICTURE_PX = 560
_LIMITS = DecodeLimits(max_bytes=2**30, max_pixels=150_000_000, min_side_px=1)
"""As wide as they go: the run's own limits were held when the verdict was given."""


@dataclass(frozen=True)
class Example:
    """A photograph to show: encoded bytes of it and of its nearest reference, where there is one."""

    examined: Examined
    photograph: bytes
    reference: bytes | None
    caption: str = ""
    edit_mask: np.ndarray | None = None
    """(H, W) bool over the whole photograph: where a counterfeit was edited; None = not known."""


@dataclass(frozen=True)
class Shown:
    """An example as the page takes it: pictures as (data URI, what a screen reader says)."""

    examined: Examined
    outcome: str
    pictures: list[tuple[str, str]]
    caption: str
    facts: list[tuple[str, str]]


def outcome_of(photograph: Examined) -> str:
    """`right`, `left open` (inconclusive) or `wrong`."""
    if photograph.is_right:
        return "right"
    return "left open" if photograph.verdict.verdict == VerdictLabel.INCONCLUSIVE else "wrong"


def choose(pictures: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """The examples to draw, wrong ones first, and the rest."""
    ranked = {outcome: _mixed(pictures, outcome) for outcome in ("wrong", "left open", "right")}
    others = ranked["wrong"] + ranked["left open"]
    if len(pictures) <= _MAX_EXAMPLES:
        return others + ranked["right"], []
    num_others = min(len(others), max(_MAX_NOT_RIGHT, _MAX_EXAMPLES - len(ranked["right"])))
    num_right = _MAX_EXAMPLES - num_others
    return others[:num_others] + ranked["right"][:num_right], others[num_others:] + ranked["right"][num_right:]


def _mixed(pictures: Sequence[Example], outcome: str) -> list[Example]:
    """The examples of one outcome, truths taking turns."""
    chosen = [example for example in pictures if outcome_of(example.examined) == outcome]
    seen: Counter[str] = Counter()
    turns = []
    for example in chosen:
        turns.append(seen[example.examined.authenticity])
        seen[example.examined.authenticity] += 1
    return [chosen[position] for position in sorted(range(len(chosen)), key=turns.__getitem__)]


def show(example: Example) -> Shown:
    """Draw one example.

    Raises:
        DataError: its photograph or reference cannot be decoded; names it.
    """
    photograph, verdict = example.examined, example.examined.verdict
    query = _decode(example.photograph, photograph.uri)
    reference = None if example.reference is None else _decode(example.reference, f"reference of {photograph.uri}")
    matches = to_jpeg(photographs.draw_matches(query, reference, verdict.cue_pairs))
    compared = "beside its nearest reference" if reference is not None else "without a reference"
    said = f"{photograph.uri} {compared}, {wording.count(len(verdict.cue_pairs), 'matched cue')}"
    pictures = [(_data_uri(matches), said)]
    residual = verdict.residual_map
    if residual is not None and any(residual.values):
        heat = to_jpeg(photographs.draw_residual(query, residual, example.edit_mask))
        outlined = ", with the outline of the true edit" if example.edit_mask is not None else ""
        pictures.append((_data_uri(heat), f"{photograph.uri} beside itself under its residual map{outlined}"))
    return Shown(photograph, outcome_of(photograph), pictures, example.caption, _facts(photograph))


def _facts(photograph: Examined) -> list[tuple[str, str]]:
    verdict, scores = photograph.verdict, photograph.verdict.scores
    nearest = verdict.references[0] if verdict.references else None
    facts = [
        ("p_genuine", number(verdict.p_genuine)),
        ("decision score", number(scores.decision)),
    ]
    if scores.global_similarity is not None:
        said = f"{scores.global_similarity:.3f} (in gallery from {scores.threshold_global:.3f})"
        facts.append(("global similarity", said))
    told = {"inlier ratio": scores.inlier_ratio, "cue agreement, by location": scores.cue_agreement_z}
    facts += [(name, number(score)) for name, score in told.items() if score is not None]
    facts += [
        ("product found", verdict.product or NONE),
        ("true product", photograph.product or NONE),
        ("nearest reference", f"{nearest.reference_id} ({nearest.authenticity})" if nearest else NONE),
    ]
    return facts


def sheet_of(pictures: Sequence[Example]) -> str | None:
    """The pictures as one contact sheet, a data URI; None of none."""
    if not pictures:
        return None
    tiles = []
    for example in pictures:
        photograph = example.examined
        caption = "right" if photograph.is_right else f"truth: {photograph.authenticity}"
        picture = _decode(example.photograph, photograph.uri, _PICTURE_PX // 2)
        tiles.append(photographs.Tile(picture, photograph.verdict.verdict, caption))
    return _data_uri(to_jpeg(photographs.contact_sheet(tiles, columns=min(6, len(tiles)))))


def _decode(data: bytes, uri: str, side: int = _PICTURE_PX) -> np.ndarray:
    """(H, W, 3) uint8 RGB, upright as the verdict saw it, shrunk to at most `side` px."""
    try:
        picture = Image.fromarray(decode(data, _LIMITS))
    except DecodeError as error:
        raise DataError(f"{uri}: cannot be shown in the report: {error}") from None
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return np.asarray(picture)


def _data_uri(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()
