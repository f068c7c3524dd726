"""Templates of drawn labels: references in one frame, what they vary by, what gives a counterfeit away."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.types import Keypoints, Member
from hallmark.verdict.geometry import project
from hallmark.verdict.residual import cue_residual, top_mean
from hallmark.verdict.template import Template, VerificationConfig, View, register

CONFIG = VerificationConfig()


def blank(studio, level: int = 128):
    return studio.details(np.full((studio.side, studio.side), level, np.uint8), f"blank{level}")


def test_references_are_registered_into_one_frame(studio, genuine, template):
    """The same spots of the label come to the same place of the frame."""
    assert [placed.member.reference_id for placed in template.genuine] == [m.reference_id for m in genuine]
    assert sum(np.array_equal(placed.matrix, np.eye(3)) for placed in template.genuine) == 1
    spots = np.array([[60.0, 60], [330, 60], [190, 190], [60, 330], [330, 330]])
    places = [
        project((project(spots, studio.warp(seed)) + 0.5) / studio.side, placed.matrix)
        for seed, placed in enumerate(template.genuine)
    ]
    assert np.ptp(places, axis=0).max() < 0.01
    assert all(placed.cells.seen.mean() > 0.8 for placed in template.genuine)
    assert template.counterfeit[0].matrix is not None


def test_a_query_is_located_in_the_frame(studio, template):
    view = View(studio.photographed("genuine", 100), CONFIG)
    found = template.locate(view)
    spots = np.array([[60.0, 60], [330, 60], [190, 190], [60, 330], [330, 330]])
    wanted = project((project(spots, studio.warp(0)) + 0.5) / studio.side, template.genuine[0].matrix)
    assert project((project(spots, studio.warp(100)) + 0.5) / studio.side, found.matrix) == pytest.approx(
        wanted, abs=0.01
    )
    assert found.inliers == found.keypoints >= 60
    assert found.by in [placed.member for placed in template.genuine]


def test_the_first_reference_that_agrees_enough_settles_the_place(studio, genuine):
    few = CONFIG.model_copy(update={"enough_inliers": 1})
    template = Template(genuine[:3], [], "homography", few)
    view = View(studio.photographed("genuine", 100), few)
    for member in genuine[:3]:
        assert template.locate(view, [member.details.image_id]).by is member
    without = Template(genuine[:3], [], "homography", CONFIG.model_copy(update={"num_geometry": 0}))
    assert without.locate(view) is None


def noise(studio):
    image = np.random.default_rng(0).integers(0, 256, (studio.side, studio.side), dtype=np.uint8)
    return studio.details(image, "noise")


def test_what_shows_nothing_of_the_sort_is_not_located(studio, genuine):
    template = Template(genuine[:2], [], "homography", CONFIG)
    for details in (blank(studio), noise(studio)):
        assert template.locate(View(details, CONFIG)) is None


@pytest.mark.parametrize("kind", ["homography", "affine"])
def test_another_product_agrees_on_little(studio, genuine, kind):
    template = Template(genuine[:2], [], kind, CONFIG)
    same = template.locate(View(studio.photographed("genuine", 100), CONFIG))
    for seed in range(3):
        other = template.locate(View(studio.photographed("genuine", seed, product="b"), CONFIG))
        assert other is None or 5 * other.inliers < same.inliers


def test_registering_there_and_back_is_the_identity(studio):
    one, other = (View(studio.photographed("genuine", seed), CONFIG) for seed in (1, 2))
    there, back = (register(*pair, "homography", CONFIG) for pair in ((one, other), (other, one)))
    corners = np.array([[0.1, 0.1], [0.9, 0.1], [0.9, 0.9], [0.1, 0.9]])
    assert project(project(corners, there.matrix), back.matrix) == pytest.approx(corners, abs=0.01)
    assert there.inliers == pytest.approx(back.inliers, rel=0.2)
    itself = register(one, one, "homography", CONFIG)
    assert itself.matrix / itself.matrix[2, 2] == pytest.approx(np.eye(3), abs=1e-4)


def test_cues_register_where_there_are_no_keypoints(studio):
    none = Keypoints(np.zeros((0, 2), np.float32), np.zeros((0, 128), np.uint8))
    one, other = (dataclasses.replace(studio.photographed("genuine", seed), keypoints=none) for seed in (1, 2))
    found = register(View(one, CONFIG), View(other, CONFIG), "homography", CONFIG)
    assert found is not None
    assert found.keypoints == 0
    assert found.inliers >= 8
    assert register(View(blank(studio), CONFIG), View(other, CONFIG), "homography", CONFIG) is None


def test_blank_photographs_never_register(studio):
    dark, light = View(blank(studio, 20), CONFIG), View(blank(studio, 220), CONFIG)
    assert not dark.textured.any()
    assert register(dark, light, "homography", CONFIG) is None
    assert register(dark, dark, "homography", CONFIG) is None


def test_an_edit_is_found_at_its_place(studio, template):
    """Its cells stand out from everything else on the label, by the standard of genuine items."""
    x0, y0, x1, y1 = np.array(studio.edit) / studio.side
    for seed in (100, 101):
        view = View(studio.photographed("counterfeit", seed), CONFIG)
        matrix = template.locate(view).matrix
        z = template.cell_norm.z(template.residual_of_cells(view.surface.cells(matrix)))
        frame = (project(np.array(studio.edit, float).reshape(2, 2), studio.warp(0)) + 0.5) / studio.side
        low, high = project(frame, template.genuine[0].matrix) * len(z)
        inside = np.zeros(z.shape, bool)
        inside[int(low[1]) : int(high[1]) + 1, int(low[0]) : int(high[0]) + 1] = True
        assert inside[np.unravel_index(np.nanargmax(z), z.shape)]
        assert top_mean(z[inside], 0.1) > 10 * top_mean(z[~inside], 0.02)
    assert (x1 - x0) * (y1 - y0) < 0.06


def test_genuine_items_stay_near_their_norm(studio, template):
    for seed in (100, 101, 102):
        genuine, edited = (View(studio.photographed(kind, seed), CONFIG) for kind in ("genuine", "counterfeit"))
        worst = [
            top_mean(
                template.cell_norm.z(template.residual_of_cells(view.surface.cells(template.locate(view).matrix))), 0.02
            )
            for view in (genuine, edited)
        ]
        assert worst[1] > 5 * worst[0]


def test_an_item_never_vouches_for_itself(studio, genuine):
    """Two shots of one item are alike; the norm is of what others say of each."""
    odd = [studio.member("other counterfeit", seed, item="odd") for seed in (70, 71)]
    template = Template([*genuine[:3], *odd], [], "homography", CONFIG)
    first = next(placed for placed in template.genuine if placed.member.item_id == "odd")
    with_itself = template.residual_of_cells(first.cells)
    without = template.residual_of_cells(first.cells, other_than="odd")
    assert np.nansum(with_itself) == 0.0
    assert np.nanmax(without) > 0.5
    alone = Template(genuine[:3], [], "homography", CONFIG)
    assert np.nanmax(without) == pytest.approx(
        np.nanmax(alone.residual_of_cells(first.view.surface.cells(alone.locate(first.view).matrix))), rel=0.2
    )
    cues = template.residual_of_cues(first.view, first.matrix, template.genuine, other_than="odd")
    assert np.nanmax(cues) > 10 * np.nanmax(template.residual_of_cues(first.view, first.matrix, template.genuine))


def test_norms_are_of_items_and_not_of_photographs(studio, genuine):
    shots = [dataclasses.replace(member, item_id="one") for member in genuine[:4]]
    lone = Template(shots, [], "homography", CONFIG)
    assert (lone.cell_norm, lone.cue_norm) == (None, None)
    assert np.isnan(lone.residual_of_cells(lone.genuine[0].cells, other_than="one")).all()
    few = Template(genuine[:2], [], "homography", CONFIG)
    assert (few.cell_norm, few.cue_norm) == (None, None)
    enough = Template(genuine[:3], [], "homography", CONFIG)
    assert enough.cell_norm is not None
    assert enough.cue_norm.mean.shape == (studio.tokens, studio.tokens)
    two = Template(genuine[:2], [], "homography", CONFIG.model_copy(update={"least_items": 2}))
    assert two.cell_norm is not None


def test_one_reference_is_its_own_frame(genuine):
    template = Template(genuine[:1], [], "homography", CONFIG)
    placed = template.genuine[0]
    assert np.array_equal(placed.matrix, np.eye(3))
    assert np.nansum(template.residual_of_cells(placed.cells)) == 0.0
    assert (template.cell_norm, template.telltales) == (None, [])


def test_without_references_there_is_nothing_to_compare_with(studio, counterfeit):
    template = Template([], counterfeit, "homography", CONFIG)
    assert (template.genuine, template.cell_norm, template.telltales) == ([], None, [])
    assert template.counterfeit[0].matrix is None
    view = View(studio.photographed("genuine", 100), CONFIG)
    assert template.locate(view) is None
    assert np.isnan(template.residual_of_cues(view, None, template.genuine)).all()


def test_references_that_cannot_be_registered_are_kept_for_their_cues(studio, genuine):
    strange = [Member("ref-noise", "item-noise", noise(studio)), Member("ref-blank", "item-blank", blank(studio))]
    template = Template([*genuine[:3], *strange], [], "homography", CONFIG)
    by_name = {placed.member.reference_id: placed for placed in template.genuine}
    for member in strange:
        assert by_name[member.reference_id].matrix is None
        assert by_name[member.reference_id].cells is None
    assert all(by_name[member.reference_id].matrix is not None for member in genuine[:3])
    assert template.cell_norm is not None


def test_a_counterfeit_gives_itself_away_at_its_edit(studio, template):
    (telltale,) = template.telltales
    num = template.counterfeit[0].cells.seen.shape[0]
    frame = (project(np.array(studio.edit, float).reshape(2, 2), studio.warp(0)) + 0.5) / studio.side
    low, high = project(frame, template.genuine[0].matrix) * num
    rows, columns = np.divmod(telltale.places, num)
    inside = (rows >= low[1] - 1) & (rows <= high[1]) & (columns >= low[0] - 1) & (columns <= high[0])
    assert telltale.scale[inside].sum() > 0.9 * telltale.scale.sum()
    assert len(telltale.places) == len(set(telltale.places)) == int(CONFIG.top_share * num * num)


def test_the_order_of_references_makes_no_difference(studio, genuine, counterfeit, template):
    others = [*counterfeit, studio.member("other counterfeit", 51)]
    for order in ([5, 3, 1, 0, 2, 4], [5, 4, 3, 2, 1, 0]):
        turned = Template([genuine[place] for place in order], others[::-1], "homography", CONFIG)
        assert np.array_equal(turned.cell_norm.mean, template.cell_norm.mean, equal_nan=True)
        assert np.array_equal(turned.cue_norm.spread, template.cue_norm.spread, equal_nan=True)
        view = View(studio.photographed("genuine", 100), CONFIG)
        assert np.array_equal(turned.locate(view).matrix, template.locate(view).matrix)


def test_produce_is_compared_without_geometry_or_surface(studio, genuine, counterfeit):
    """Nothing is decoded of it."""
    bare = [
        dataclasses.replace(member, details=dataclasses.replace(member.details, surface=b""))
        for member in (*genuine[:3], *counterfeit)
    ]
    template = Template(bare[:3], bare[3:], "none", CONFIG)
    assert all(placed.matrix is placed.cells is None for placed in (*template.genuine, *template.counterfeit))
    assert (template.cell_norm, template.cue_norm, template.telltales) == (None, None, [])
    details = dataclasses.replace(studio.photographed("genuine", 100), surface=b"")
    view = View(details, CONFIG)
    assert template.locate(view) is None
    residual = template.residual_of_cues(view, None, template.genuine)
    chosen = view.textured
    references = [(placed.view.local[placed.view.textured], None) for placed in template.genuine]
    assert residual[chosen] == pytest.approx(cue_residual(view.local[chosen], None, references, 1.0))
    assert np.isnan(residual[~chosen]).all()


def test_without_residuals_nothing_but_registration_is_made(genuine, counterfeit):
    template = Template(genuine[:3], counterfeit, "homography", CONFIG.model_copy(update={"residuals": False}))
    assert template.counterfeit == template.telltales == []
    assert (template.cell_norm, template.cue_norm) == (None, None)
    assert all(placed.matrix is not None and placed.cells is None for placed in template.genuine)


def test_cues_on_the_grid_agree_with_a_loop(studio, template):
    view = View(studio.photographed("genuine", 103), CONFIG)
    matrix = template.locate(view).matrix
    residual = np.random.default_rng(0).random(len(view.local))
    residual[::5] = np.nan
    wanted = np.full((studio.tokens, studio.tokens), np.nan)
    for place, value in zip(project(view.details.positions, matrix), residual, strict=True):
        column, row = (int(np.floor(part * studio.tokens)) for part in place)
        if 0 <= row < studio.tokens and 0 <= column < studio.tokens and np.isfinite(value):
            wanted[row, column] = np.nanmax([wanted[row, column], value])
    assert np.array_equal(template.on_grid(view, matrix, residual), wanted, equal_nan=True)


def test_parts_have_geometries_of_their_own():
    config = VerificationConfig(geometry={"tag": "affine", "apple": "none"})
    assert [config.kind(part) for part in ("tag", "apple", "whole", None)] == [
        "affine",
        "none",
        "homography",
        "homography",
    ]
    with pytest.raises(ConfigError, match=r"geometry\.tag"):
        validate(VerificationConfig, {"geometry": {"tag": "fundamental"}}, "verification")


@pytest.mark.parametrize("wrong", [{"least_items": 1}, {"num_members": 0}, {"top_share": 0}, {"tolerence": 0.1}])
def test_settings_out_of_range_are_named(wrong):
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        validate(VerificationConfig, wrong, "verification")
