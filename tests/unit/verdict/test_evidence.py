"""Evidence: what speaks for and against drawn labels, genuine and not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from hallmark.data.preprocess import to_photograph
from hallmark.types import Authenticity, Member
from hallmark.verdict.evidence import EVIDENCE_FEATURES, weigh
from hallmark.verdict.geometry import project
from hallmark.verdict.matching import match
from hallmark.verdict.template import Template, VerificationConfig, View

GENUINE, COUNTERFEIT = Authenticity.GENUINE, Authenticity.COUNTERFEIT
CONFIG = VerificationConfig()
ALIGNED = ("cue_agreement_z", "surface_agreement", "surface_agreement_z", "surface_margin")


@pytest.fixture(scope="module")
def judged(studio, genuine, counterfeit, template):
    """Evidence for details against the six genuine items and the counterfeit."""
    cache = {}

    def weighed(details, told=template):
        key = (details.image_id, id(told))
        if key not in cache:
            candidates = [member.details for member in (*genuine, *counterfeit)]
            found = studio.retrieved(genuine, counterfeit)
            cache[key] = weigh(studio.described(details), found, candidates, told, 0.5, CONFIG)
        return cache[key]

    return weighed


def hand_made(studio, *kinds: tuple[Authenticity, float]):
    """Candidates of these authenticities and similarities, with random cues."""
    rng = np.random.default_rng(0)
    sides = [[], []]
    for number, (kind, _) in enumerate(kinds):
        details = dataclasses.replace(
            studio.photographed("genuine", 0),
            image_id=str(number),
            local=unit(rng, 6, 8).astype(np.float16),
            positions=rng.random((6, 2)).astype(np.float32),
            weights=np.ones(6, np.float16),
        )
        sides[kind == COUNTERFEIT].append(Member(f"ref-{number}", f"item-{number}", details))
    told = studio.retrieved(*sides)
    similar = [similarity for _, similarity in kinds]
    candidates = tuple(
        dataclasses.replace(candidate, global_similarity=similarity)
        for candidate, similarity in zip(told.candidates, similar, strict=True)
    )
    return dataclasses.replace(told, candidates=candidates), [one.details for side in sides for one in side]


def unit(rng: np.random.Generator, *shape: int) -> np.ndarray:
    vectors = rng.normal(size=shape)
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def test_takes_the_best_of_each_side(studio):
    kinds = [(GENUINE, 0.3), (GENUINE, 0.7), (COUNTERFEIT, 0.9), (COUNTERFEIT, 0.1)]
    found, candidates = hand_made(studio, *kinds)
    query = dataclasses.replace(candidates[0], local=unit(np.random.default_rng(9), 6, 8).astype(np.float16))
    told = weigh(studio.described(query), found, candidates, None, 0.1, CONFIG)
    cues = [(one.local.astype(np.float32), one.weights) for one in candidates]
    scores = match((query.local.astype(np.float32), query.weights), cues, 0.1).score
    assert (told.global_genuine, told.global_counterfeit) == (0.7, 0.9)
    assert told.match_genuine == pytest.approx(max(scores[:2]))
    assert told.match_counterfeit == pytest.approx(max(scores[2:]))
    assert told.matches.score == pytest.approx(scores)
    features = told.features()
    assert set(features) == set(EVIDENCE_FEATURES)
    assert features["global_margin"] == pytest.approx(-0.2)
    assert features["match_margin"] == pytest.approx(max(scores[:2]) - max(scores[2:]))
    assert told.inlier_ratio is told.cue_agreement is told.residual_map is None


@pytest.mark.parametrize("kinds", [[GENUINE], [COUNTERFEIT], [], [GENUINE, COUNTERFEIT]])
def test_a_missing_side_is_none_and_not_zero(studio, kinds):
    found, candidates = hand_made(studio, *[(kind, 0.5) for kind in kinds])
    told = weigh(studio.described(studio.photographed("genuine", 1)), found, [], None, 0.0, CONFIG)
    assert told.match_genuine is told.match_counterfeit is None
    query = hand_made(studio, (GENUINE, 1.0))[1][0]
    told = weigh(studio.described(query), found, candidates, None, 0.0, CONFIG)
    assert (told.match_genuine is None) == (told.global_genuine is None) == (GENUINE not in kinds)
    assert (told.match_counterfeit is None) == (told.global_counterfeit is None) == (COUNTERFEIT not in kinds)
    margins = {name: value for name, value in told.features().items() if name.endswith("_margin")}
    assert all((margins[name] is not None) == (len(kinds) == 2) for name in ("global_margin", "match_margin"))


@pytest.mark.parametrize("seed", [100, 101, 102])
def test_a_genuine_item_is_told_from_an_edited_one(studio, judged, seed):
    one, other = (judged(studio.photographed(kind, seed)) for kind in ("genuine", "counterfeit"))
    assert one.inlier_ratio > 0.6
    for name in ("cue_agreement", "cue_agreement_z", "surface_agreement", "surface_agreement_z", "surface_margin"):
        assert getattr(one, name) > getattr(other, name), name
    assert one.features()["cue_margin"] > other.features()["cue_margin"]
    assert other.surface_agreement_z < 5 * min(one.surface_agreement_z, -1.0)


def test_a_counterfeit_like_an_enrolled_one_is_nearer_to_it(studio, judged, counterfeit):
    """Its very photograph, and others of the same make; those of another make differ from both."""
    copies = [counterfeit[0].details, *(studio.photographed("counterfeit", seed) for seed in (100, 101, 102))]
    assert all(judged(details).surface_margin < -0.5 for details in copies)
    assert all(judged(studio.photographed("genuine", seed)).surface_margin > 0.5 for seed in (100, 101, 102))
    assert all(judged(studio.photographed("genuine", seed)).surface_margin > 0.5 for seed in (0, 3))
    strange = judged(studio.photographed("other counterfeit", 100))
    assert -0.5 < strange.surface_margin < 0.9
    assert strange.surface_agreement_z < 5 * judged(studio.photographed("genuine", 100)).surface_agreement_z


@pytest.mark.parametrize("seed", [100, 101])
def test_the_residual_map_peaks_inside_the_edit(studio, judged, seed):
    found = judged(studio.photographed("counterfeit", seed)).residual_map
    values = np.reshape(found.values, (found.rows, found.columns))
    row, column = np.unravel_index(values.argmax(), values.shape)
    peak = np.array([[(column + 0.5) / found.columns, (row + 0.5) / found.rows]]) * studio.side - 0.5
    x, y = project(peak, np.linalg.inv(studio.warp(seed)))[0]
    x0, y0, x1, y1 = studio.edit
    assert x0 - 6 <= x <= x1 + 6
    assert y0 - 6 <= y <= y1 + 6
    centres = (np.stack(np.meshgrid(*[(np.arange(32) + 0.5) / 32] * 2), axis=-1).reshape(-1, 2)) * studio.side - 0.5
    on_label = project(centres, np.linalg.inv(studio.warp(seed)))
    outside = ((on_label < [x0 - 15, y0 - 15]) | (on_label > [x1 + 15, y1 + 15])).any(axis=1)
    assert values.max() > 20 * np.quantile(values.ravel()[outside], 0.99)


@pytest.mark.parametrize("frame", [[1, 0, 1, 0], [0.5, 0.25, 0.4, 0.1], [1.0, 0.0, 3.0, -1.0]])
def test_the_residual_map_agrees_with_a_loop_over_its_cells(studio, template, frame):
    details = dataclasses.replace(studio.photographed("counterfeit", 100), frame=np.array(frame, np.float32))
    told = weigh(studio.described(details), studio.retrieved([]), [], template, 0.5, CONFIG)
    view = View(details, CONFIG)
    matrix = template.locate(view).matrix
    z = template.cell_norm.z(template.residual_of_cells(view.surface.cells(matrix)))
    wanted = []
    for row in range(32):
        for column in range(32):
            x = ((column + 0.5) / 32 - frame[1]) / frame[0]
            y = ((row + 0.5) / 32 - frame[3]) / frame[2]
            u, v, w = matrix @ [x, y, 1.0]
            across, down = math.floor(u / w * len(z)), math.floor(v / w * len(z))
            inside = 0 <= across < len(z) and 0 <= down < len(z)
            value = z[down, across] if inside else 0.0
            wanted.append(max(0.0, value) if math.isfinite(value) else 0.0)
    found = told.residual_map
    assert (found.rows, found.columns, len(found.values)) == (32, 32, 1024)
    apart = np.abs(np.array(found.values) - wanted) > 1e-3 * (1 + np.array(wanted))
    assert apart.sum() <= 2  # a centre that lies on the border of two cells may fall to either
    assert min(found.values) >= 0


def test_an_enrolled_photograph_agrees_with_itself(studio, genuine, template):
    own, others = genuine[2], [member for member in genuine if member is not genuine[2]]
    nearest = [own, *others]  # retrieval finds it first
    candidates = [member.details for member in nearest]
    told = weigh(studio.described(own.details), studio.retrieved(nearest), candidates, template, 0.5, CONFIG)
    assert told.match_genuine == pytest.approx(1.0, abs=2e-3)
    assert told.inlier_ratio == pytest.approx(1.0, abs=0.02)
    assert told.cue_agreement == pytest.approx(1.0, abs=2e-3)
    assert told.surface_agreement > 0.999
    # Alone with itself nothing is resampled twice.
    alone = Template(genuine[2:3], [], "homography", CONFIG)
    told = weigh(
        studio.described(genuine[2].details),
        studio.retrieved(genuine[2:3]),
        [genuine[2].details],
        alone,
        0.5,
        CONFIG,
    )
    assert told.match_genuine == pytest.approx(1.0, abs=2e-3)
    assert told.inlier_ratio == pytest.approx(1.0, abs=0.02)
    assert (told.cue_agreement, told.surface_agreement) == pytest.approx((1.0, 1.0), abs=2e-3)
    assert max(told.residual_map.values) < 0.01


def test_the_order_of_references_gives_the_same_evidence(studio, genuine, counterfeit):
    makes = [*counterfeit, studio.member("other counterfeit", 51)]
    details = studio.photographed("counterfeit", 100)
    told = []
    for order in ([0, 1, 2, 3], [3, 1, 0, 2]):
        chosen = [genuine[place] for place in order]
        template = Template(chosen, makes if order[0] else makes[::-1], "homography", CONFIG)
        candidates = [member.details for member in (*chosen, *makes)]
        found = studio.retrieved(chosen, makes)
        # Retrieval gives candidates by their similarity, however they were enrolled.
        ranked = sorted(range(4), key=lambda place: candidates[place].image_id)
        found = dataclasses.replace(
            found, candidates=(*(found.candidates[place] for place in ranked), *found.candidates[4:])
        )
        candidates = [*(candidates[place] for place in ranked), *candidates[4:]]
        told.append(weigh(studio.described(details), found, candidates, template, 0.5, CONFIG))
    one, other = told
    assert one.features() == other.features()
    assert one.residual_map == other.residual_map
    assert one.cue_pairs == other.cue_pairs


def test_the_order_of_cues_and_padding_change_nothing_that_counts(studio, template, genuine, counterfeit, judged):
    details = studio.photographed("counterfeit", 100)
    bare = judged(details)
    order = np.random.default_rng(0).permutation(len(details.local))
    shuffled = dataclasses.replace(
        details,
        image_id="shuffled",
        local=details.local[order],
        positions=details.positions[order],
        weights=details.weights[order],
    )
    padded = dataclasses.replace(
        details,
        image_id="padded",
        local=np.vstack([details.local, details.local[:7]]),
        positions=np.vstack([details.positions, np.full((7, 2), 0.5, np.float32)]),
        weights=np.concatenate([details.weights, np.zeros(7, np.float16)]),
    )
    for changed in (shuffled, padded):
        told = judged(changed)
        for name, value in bare.features().items():
            assert told.features()[name] == (None if value is None else pytest.approx(value, rel=1e-4, abs=1e-5)), name


def test_a_blank_photograph_scores_nothing(studio, template, judged):
    for level in (0, 128, 255):
        blank = studio.details(np.full((studio.side, studio.side), level, np.uint8), f"blank{level}")
        assert not blank.weights.any()
        told = judged(blank)
        assert (told.match_genuine, told.match_counterfeit, told.inlier_ratio) == (0.0, 0.0, 0.0)
        assert [getattr(told, name) for name in ("cue_agreement", *ALIGNED)] == [None] * 5
        assert (told.residual_map, told.cue_pairs) == (None, [])


def test_two_blank_photographs_do_not_vouch_for_each_other(studio):
    """The ancestors' code gave them a score."""
    white, grey = (
        studio.details(np.full((studio.side, studio.side), level, np.uint8), f"blank{level}") for level in (250, 120)
    )
    member = Member("ref-blank", "item-blank", white)
    template = Template([member], [], "homography", CONFIG)
    for query in (white, grey):
        told = weigh(studio.described(query), studio.retrieved([member]), [white], template, 0.0, CONFIG)
        assert (told.match_genuine, told.inlier_ratio) == (0.0, 0.0)
        assert told.cue_agreement is told.surface_agreement is told.residual_map is None


def test_few_items_give_plain_agreement_without_a_standard(studio, genuine, counterfeit):
    query = studio.described(studio.photographed("counterfeit", 100))
    for number in (1, 2):
        template = Template(genuine[:number], [], "homography", CONFIG)
        candidates = [member.details for member in genuine[:number]]
        told = weigh(query, studio.retrieved(genuine[:number]), candidates, template, 0.5, CONFIG)
        assert told.cue_agreement_z is told.surface_agreement_z is told.surface_margin is None
        assert told.cue_agreement_counterfeit is told.features()["cue_margin"] is None
        assert 0.5 < told.cue_agreement < 0.99
        assert 0.9 < told.surface_agreement < 1.0
        assert told.residual_map is not None
        values = np.reshape(told.residual_map.values, (32, 32))
        assert values.max() > 0.5  # plain residual: the edit still stands out


def test_produce_is_judged_by_its_cues_alone(studio, genuine, counterfeit):
    template = Template(genuine, counterfeit, "none", CONFIG)
    one, other = (
        weigh(studio.described(studio.photographed(kind, 100)), studio.retrieved([]), [], template, 0.5, CONFIG)
        for kind in ("genuine", "counterfeit")
    )
    for told in (one, other):
        assert told.inlier_ratio is told.residual_map is None
        assert [getattr(told, name) for name in ALIGNED] == [None] * 4
    assert one.cue_agreement > other.cue_agreement
    assert one.features()["cue_margin"] > other.features()["cue_margin"]


def test_a_photograph_that_cannot_be_registered_has_plain_cues_and_no_surface(studio, template, judged):
    image = np.random.default_rng(0).integers(0, 256, (studio.side, studio.side), dtype=np.uint8)
    told = judged(studio.details(image, "noise"))
    assert told.inlier_ratio == 0.0
    assert [getattr(told, name) for name in ALIGNED] == [None] * 4
    assert told.cue_agreement < judged(studio.photographed("genuine", 100)).cue_agreement
    assert told.residual_map is None


def test_without_residuals_matches_and_geometry_remain(studio, genuine, counterfeit):
    config = CONFIG.model_copy(update={"residuals": False})
    template = Template(genuine[:3], counterfeit, "homography", config)
    candidates = [member.details for member in genuine[:3]]
    query = studio.described(studio.photographed("genuine", 100))
    told = weigh(query, studio.retrieved(genuine[:3]), candidates, template, 0.5, config)
    assert told.inlier_ratio > 0.6
    assert told.match_genuine > 0.5
    assert told.cue_agreement is told.surface_agreement is told.residual_map is None


def test_the_inlier_ratio_agrees_with_a_count(studio, template, judged):
    details = studio.photographed("genuine", 101)
    view = View(details, CONFIG)
    found = template.locate(view)
    reference = next(placed for placed in template.genuine if placed.member is found.by)
    partner = match(view.cues, [reference.view.cues], 0.5).partner[0]
    there = 0
    for cue, other in enumerate(partner):
        if other >= 0:
            place = project(details.positions[cue : cue + 1], np.linalg.inv(reference.matrix) @ found.matrix)[0]
            there += math.dist(place, reference.view.details.positions[other]) <= CONFIG.window * details.stride
    total = len(view.surface.keypoints.points) + int((details.weights > 0).sum())
    again = weigh(studio.described(details), studio.retrieved([]), [], template, 0.5, CONFIG)
    assert again.inlier_ratio == pytest.approx((found.keypoints + there) / total)
    assert 0 <= again.inlier_ratio <= 1


def test_cue_pairs_are_the_strongest_matches_with_the_first_reference(studio, genuine, judged):
    details = dataclasses.replace(
        studio.photographed("genuine", 100), frame=np.array([0.5, 0.25, 0.8, 0.1], np.float32), image_id="framed"
    )
    told = judged(details)
    assert len(told.cue_pairs) == 16
    similar = [pair.similarity for pair in told.cue_pairs]
    assert similar == sorted(similar, reverse=True)
    matched = told.matches.similarity[0][told.matches.partner[0] >= 0]
    assert similar == pytest.approx(np.sort(matched)[::-1][:16], abs=1e-6)
    for pair in told.cue_pairs:
        ours = np.linalg.norm(to_photograph(details.positions, details.frame) - pair.query, axis=1)
        theirs = np.linalg.norm(genuine[0].details.positions - np.array(pair.reference), axis=1)
        assert max(ours.min(), theirs.min()) < 1e-5
        assert told.matches.partner[0][ours.argmin()] == theirs.argmin()


def test_damaged_descriptors_are_no_evidence_rather_than_a_score_of_nought(studio, judged):
    details = studio.photographed("genuine", 100)
    broken = dataclasses.replace(details, image_id="broken", local=np.full_like(details.local, np.nan))
    told = judged(broken)
    assert math.isnan(told.match_genuine)
    assert math.isnan(told.match_counterfeit)
    assert told.cue_pairs == []
    assert told.cue_agreement is None
