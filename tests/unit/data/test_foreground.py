"""Foreground masks: given ones, the segmenters that need no training, and the guards."""

import cv2
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from hallmark.data.foreground import (
    ForegroundConfig,
    Reference,
    build_segmenter,
    given_mask,
    judged,
    read_mask,
)
from hallmark.data.segmenters import channel_weights, medoid, whole
from hallmark.errors import ConfigError, DataError, WeightsError


def scene(seed: int) -> tuple[np.ndarray, np.ndarray]:
    """An orange, textured ellipse on ground of one of four colours: (120, 150, 3) uint8 and its mask."""
    rng = np.random.default_rng(seed)
    ground = [(90, 120, 90), (60, 60, 110), (150, 150, 150), (200, 190, 170)][seed % 4]

    def textured(colour):
        grain = cv2.GaussianBlur(rng.normal(0, 60, (120, 150)), (0, 0), 1.5)
        return np.array(colour) + grain[..., None]

    mask = np.zeros((120, 150), np.uint8)
    centre = (int(rng.integers(60, 90)), int(rng.integers(50, 70)))
    cv2.ellipse(mask, centre, (40, 30), int(rng.integers(90)), 0, 360, 1, -1)
    image = np.where(mask[..., None] > 0, textured((170, 80, 40)), textured(ground))
    return np.clip(image, 0, 255).astype(np.uint8), mask > 0


def iou(first: np.ndarray, second: np.ndarray) -> float:
    return (first & second).sum() / max(1, (first | second).sum())


def config(**settings) -> ForegroundConfig:
    return ForegroundConfig(**{"backend": "proto", "pretrained": False, "side_px": 128} | settings)


REFERENCES = [Reference(*scene(seed)) for seed in range(3)]


def test_a_given_mask_is_read_above_127():
    image = np.zeros((4, 6, 3), np.uint8)
    mask = np.array([[0, 127, 128, 255, 0, 0]] * 4, np.uint8)
    found = given_mask(image, mask)
    assert np.array_equal(found.probability[0], np.array([0, 0, 1, 1, 0, 0], np.float32))
    assert found.area == pytest.approx(1 / 3)
    assert found.accepted
    assert np.array_equal(given_mask(image, mask > 127).probability, found.probability)


def test_a_mask_stands_before_a_box_and_a_box_before_nothing():
    image = np.zeros((10, 20, 3), np.uint8)
    boxed = given_mask(image, None, (2.2, 3.0, 5.9, 30.0))
    assert boxed.probability.sum() == 4 * 7
    assert given_mask(image, np.ones((10, 20), bool), (0, 0, 1, 1)).area == 1
    for empty in (
        given_mask(image, None),
        given_mask(image, np.zeros((10, 20), bool)),
        given_mask(image, None, (30, 30, 40, 40)),
    ):
        assert not empty.accepted
        assert empty.reason == "no_mask"


def test_a_box_left_of_the_photograph_is_empty():
    assert given_mask(np.zeros((10, 20, 3), np.uint8), None, (-9, -9, -2, -2)).reason == "no_mask"


def test_a_mask_of_another_size_names_both():
    with pytest.raises(DataError, match=r"found 6 x 5 px; wanted 20 x 10 px"):
        given_mask(np.zeros((10, 20, 3), np.uint8), np.zeros((5, 6), np.uint8))


def test_a_mask_file_is_read_and_a_bad_one_named(tmp_path):
    mask = np.random.default_rng(0).integers(0, 256, (20, 30), dtype=np.uint8)
    cv2.imwrite(str(tmp_path / "mask.png"), mask)
    assert np.array_equal(read_mask(str(tmp_path / "mask.png")), mask)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    with pytest.raises(DataError, match=r"bad\.png"):
        read_mask(str(tmp_path / "bad.png"))


def test_the_given_backend_finds_nothing_by_itself():
    found = build_segmenter(ForegroundConfig()).segment(scene(0)[0])
    assert (found.accepted, found.reason) == (False, "no_mask")


@pytest.mark.parametrize(
    ("area", "similarity", "predicted_iou", "reason"),
    [
        (0.5, 0.9, 0.9, "accepted"),
        (0.5, None, None, "accepted"),
        (0.5, 0.4, 0.9, "low_similarity"),
        (0.01, 0.9, 0.9, "too_small"),
        (0.0, 0.9, 0.9, "too_small"),
        (0.96, 0.9, 0.9, "too_large"),
        (1.0, 0.9, 0.9, "too_large"),
        (0.5, 0.9, 0.69, "low_predicted_iou"),
    ],
)
def test_the_guards(area, similarity, predicted_iou, reason):
    probability = np.zeros((10, 10), np.float32)
    probability.flat[: round(area * 100)] = 0.9
    found = judged(probability, ForegroundConfig(), similarity, predicted_iou)
    assert (found.reason, found.accepted) == (reason, reason == "accepted")
    assert found.area == pytest.approx(round(area * 100) / 100)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 4), st.floats(0.05, 1.0))
def test_channel_weights_follow_the_formula_and_not_the_masks_area(seed, times, level):
    rng = np.random.default_rng(seed)
    features, mask = rng.normal(0, 3, (5, 4, 6)), (rng.random((4, 6)) < 0.5).astype(float)
    mask[0, 0] = 1
    got = channel_weights(torch.tensor(features), torch.tensor(mask))
    for channel in range(5):  # plain twin
        cells = [(row, column) for row in range(4) for column in range(6)]
        total = sum(mask[cell] * features[(channel, *cell)] for cell in cells)
        assert float(got[channel]) == pytest.approx(1 / (1 + np.exp(-total / mask.sum())))
    assert ((got > 0) & (got < 1)).all()
    # Neither a fainter mask nor a larger print of the same object changes it.
    larger = channel_weights(
        torch.tensor(features).repeat_interleave(times, 1).repeat_interleave(times, 2),
        torch.tensor(mask * level).repeat_interleave(times, 0).repeat_interleave(times, 1),
    )
    assert torch.allclose(got, larger)


def test_medoid_is_the_row_nearest_to_all():
    rows = torch.tensor([[1.0, 0.0], [0.9, 0.1], [1.0, 0.3], [0.0, 1.0]])
    plain = [sum(float(torch.cosine_similarity(a, b, dim=0)) for b in rows) for a in rows]
    assert medoid(rows) == int(np.argmax(plain)) == 2
    assert medoid(rows[:1]) == 0


@pytest.mark.parametrize("stage", [-2, 1])
def test_a_prototype_finds_the_product_without_trained_weights(stage):
    segmenter = build_segmenter(config(stage=stage), REFERENCES)
    for seed in range(3, 9):
        image, mask = scene(seed)
        found = segmenter.segment(image)
        assert found.accepted
        assert found.probability.shape == mask.shape
        assert found.probability.dtype == np.float32
        assert iou(found.probability > 0.5, mask) > 0.85


def test_a_prototype_takes_the_reference_that_stands_for_the_others():
    image, mask = scene(0)
    odd = Reference(image, ~mask)  # somebody marked the background
    segmenter = build_segmenter(config(), [odd, *REFERENCES])
    image, mask = scene(5)
    assert iou(segmenter.segment(image).probability > 0.5, mask) > 0.85


def test_a_prototype_does_not_accept_a_scene_without_the_product():
    segmenter = build_segmenter(config(min_similarity=0.9), REFERENCES)
    ground = np.clip(np.random.default_rng(0).normal((60, 60, 110), 8, (120, 150, 3)), 0, 255).astype(np.uint8)
    assert segmenter.segment(ground).reason == "low_similarity"


def test_the_principal_component_keeps_the_middle():
    segmenter = build_segmenter(config(backend="pca", stage=1))
    for seed in range(4):
        image, mask = scene(seed)
        found = segmenter.segment(image)
        assert found.similarity is None
        assert iou(found.probability > 0.5, mask) > 0.65


@pytest.mark.parametrize("backend", ["proto", "pca"])
def test_masks_are_the_same_every_time(backend):
    image, _ = scene(4)
    first, second = (build_segmenter(config(backend=backend), REFERENCES).segment(image) for _ in range(2))
    assert np.array_equal(first.probability, second.probability)
    assert first.similarity == second.similarity


@pytest.mark.parametrize("backend", ["proto", "pca"])
@pytest.mark.parametrize("shape", [(120, 150, 3), (16, 16, 3), (17, 90, 3)])
def test_a_plain_photograph_gives_an_answer_and_no_error(backend, shape):
    found = build_segmenter(config(backend=backend), REFERENCES).segment(np.full(shape, 128, np.uint8))
    assert found.probability.shape == shape[:2]
    assert np.isfinite(found.probability).all()


def test_a_transformer_serves_as_well():
    segmenter = build_segmenter(config(features="vit_tiny_patch16_224", stage=-1, min_similarity=0), REFERENCES)
    image, mask = scene(6)
    assert iou(segmenter.segment(image).probability > 0.5, mask) > 0.8


def test_what_is_missing_is_named(tmp_path):
    with pytest.raises(DataError, match="no reference with a foreground mask"):
        build_segmenter(config())
    with pytest.raises(DataError, match="empty mask"):
        build_segmenter(config(), [Reference(scene(0)[0], np.zeros((120, 150), bool))])
    with pytest.raises(ConfigError, match="'resnet_none'"):
        build_segmenter(config(features="resnet_none"), REFERENCES)
    with pytest.raises(ConfigError, match="no feature map 17"):
        build_segmenter(config(stage=17), REFERENCES)
    with pytest.raises(WeightsError, match=r"none\.safetensors"):
        build_segmenter(config(pretrained=str(tmp_path / "none.safetensors")), REFERENCES)
    with pytest.raises(WeightsError, match="sam_weights: found nothing"):
        build_segmenter(config(backend="persam"), REFERENCES)
    with pytest.raises(WeightsError, match=r"no config\.json"):
        build_segmenter(config(backend="persam", sam_weights=str(tmp_path)), REFERENCES)


@pytest.fixture(scope="module")
def sam_folder(tmp_path_factory):
    """A SamModel of a few thousand random weights, saved as its package saves one."""
    transformers = pytest.importorskip("transformers", reason="the extra `sam` is not installed")
    size = {"image_size": 64, "patch_size": 8}
    vision = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "output_channels": 16, "mlp_dim": 32}
    decoder = {
        "hidden_size": 16,
        "num_attention_heads": 2,
        "mlp_dim": 32,
        "num_hidden_layers": 2,
        "iou_head_hidden_dim": 16,
    }
    sam = transformers.SamConfig(
        vision_config=vision | size | {"window_size": 0, "num_pos_feats": 8, "global_attn_indexes": [0]},
        prompt_encoder_config=size | {"hidden_size": 16, "mask_input_channels": 4},
        mask_decoder_config=decoder,
    )
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("sam")
    transformers.SamModel(sam).save_pretrained(folder)
    return str(folder)


def sam_config(folder: str, **settings) -> ForegroundConfig:
    open_guards = {"min_similarity": -1, "min_area": 0, "max_area": 1, "min_predicted_iou": 0}
    return ForegroundConfig(**{"backend": "persam", "sam_weights": folder} | open_guards | settings)


@pytest.mark.parametrize("shape", [(120, 150), (150, 50), (16, 16)])
def test_sam_answers_at_the_photographs_size_and_alike_every_time(sam_folder, shape):
    image = cv2.resize(scene(4)[0], shape[::-1])
    first, second = (build_segmenter(sam_config(sam_folder), REFERENCES).segment(image) for _ in range(2))
    assert first.probability.shape == shape
    assert first.probability.dtype == np.float32
    assert first.probability.min() >= 0
    assert first.probability.max() <= 1
    assert np.array_equal(first.probability, second.probability)
    assert -1 <= first.similarity <= 1
    assert first.predicted_iou == second.predicted_iou


def test_sam_finds_its_own_reference_most_alike(sam_folder):
    segmenter = build_segmenter(sam_config(sam_folder), REFERENCES[:1])
    cosine = torch.cosine_similarity(
        segmenter._encode(REFERENCES[0].image).embeddings[0], segmenter.target[:, None, None], dim=0
    )
    assert segmenter.segment(REFERENCES[0].image).similarity == pytest.approx(float(cosine[:6].max()), abs=1e-5)


def test_sam_is_held_against_the_guards(sam_folder):
    image = scene(4)[0]
    found = build_segmenter(sam_config(sam_folder), REFERENCES).segment(image)
    strict = build_segmenter(sam_config(sam_folder, min_predicted_iou=1.0), REFERENCES).segment(image)
    assert found.predicted_iou < 1
    assert strict.reason == "low_predicted_iou"


def test_sam_decodes_by_its_guidance(sam_folder):
    segmenter = build_segmenter(sam_config(sam_folder), REFERENCES)
    encoded = segmenter._encode(scene(4)[0])
    cosine = torch.linspace(-1, 1, encoded.rows * encoded.columns).reshape(encoded.rows, encoded.columns)
    first, second = (segmenter._decode(encoded, each)[0] for each in (cosine, -cosine))
    assert not torch.equal(first, second)


def test_a_damaged_sam_folder_is_named(sam_folder, tmp_path):
    (tmp_path / "config.json").write_text('{"model_type": "sam"}')
    with pytest.raises(WeightsError, match="cannot be loaded"):
        build_segmenter(sam_config(str(tmp_path)), REFERENCES)


def test_holes_are_filled_and_specks_dropped():
    ring = np.zeros((60, 60), np.uint8)
    cv2.circle(ring, (30, 30), 20, 1, 6)
    full = np.zeros((60, 60), np.uint8)
    cv2.circle(full, (30, 30), 20, 1, 6)
    cv2.circle(full, (30, 30), 20, 1, -1)
    speckled = ring.copy()
    speckled[2:5, 2:5] = 1
    assert np.array_equal(whole(speckled > 0), full > 0)
    assert not whole(np.zeros((5, 5), bool)).any()
    assert whole(np.ones((5, 5), bool)).all()
