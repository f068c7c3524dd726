"""FoD end to end: losses, gradients, what an embedding holds, and precision."""

from __future__ import annotations

from importlib import resources

import pytest
import torch
import yaml

from hallmark.config import preset_names, validate
from hallmark.methods import fod
from hallmark.methods.base import alone
from hallmark.methods.fod import FoD, FoDConfig, alarms
from hallmark.nets.cues import CueSelection, kept_mass, num_cues
from hallmark.types import Batch

TERMS = ("multi_similarity", "local_triplet", "alignment", "foreground_contrast", "pseudo_correspondence")


def only(*names: str) -> dict[str, object]:
    """Loss settings in which the other terms are off."""
    return {name: {"weight": 0.0} for name in TERMS if name not in names}


def build(
    name: str = "test_resnet",
    losses: dict[str, object] | None = None,
    changes: dict[str, object] | None = None,
    **local_triplet: object,
) -> FoD:
    settings = {
        "backbone": {"name": name, "pretrained": False, "group_norm": True},
        "aggregation": {"clusters": 2, "cluster_dim": 8, "token_dim": 8, "hidden": 16, "dropout": 0.0},
        "decoder": {"hidden": 16, "local_dim": 8, "centred": True},
        "losses": {"local_triplet": {"mining": "mean", "margin": 0.5, **local_triplet}, **(losses or {})},
        **(changes or {}),
    }
    if name == "test_resnet":
        settings["backbone"]["stage"] = 3
    torch.manual_seed(0)
    return FoD(validate(FoDConfig, settings, "tiny"))


def batch() -> Batch:
    product = torch.tensor([0, 0, 0, 0, 1, 1, 1, 1, -1])
    genuine = torch.tensor([True, True, False, False] * 2 + [False])
    return {
        "images": torch.randn(9, 3, 64, 64, generator=torch.Generator().manual_seed(1)),
        "product": product,
        "genuine": genuine,
        "class_index": torch.where(product < 0, -1, 2 * product + genuine),
        "identity": torch.tensor([0, 0, 1, 1, 2, 2, -1, -1, -1]),
    }


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("mining", ["mean", "hardest"])
def test_loss_reaches_every_part(name: str, mining: str) -> None:
    method = build(name, mining=mining).train()
    losses = method(batch())
    assert set(losses.terms) == set(losses.weights) == set(TERMS)
    wanted = sum(losses.weights[term] * value.item() for term, value in losses.terms.items())
    assert losses.total.item() == pytest.approx(wanted)
    losses.total.backward()
    for part in ("backbone", "aggregation", "decoder"):
        gradients = [parameter.grad for parameter in getattr(method, part).parameters() if parameter.grad is not None]
        assert all(torch.isfinite(gradient).all() for gradient in gradients), part
        assert sum(float(gradient.abs().sum()) for gradient in gradients) > 0, part


@pytest.mark.parametrize("preset", ["default", "paper", "fol_repo"])
def test_named_sets_compute_the_terms_that_they_weigh(preset: str) -> None:
    settings = build().config.model_dump() | {"losses": {"preset": preset}}
    method = FoD(validate(FoDConfig, settings, preset))
    losses = method.train()(batch())
    assert set(losses.terms) == {name for name, weight in method.config.losses.weights.items() if weight > 0}
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


@pytest.mark.parametrize("term", TERMS)
def test_each_term_stands_alone_and_leaves_no_parameter_without_gradient(term: str) -> None:
    """Distributed training waits for every parameter of aggregation and decoder."""
    method = build(losses=only(term) | ({} if term == "local_triplet" else {"local_triplet": {"weight": 0.0}})).train()
    losses = method(batch())
    assert list(losses.terms) == list(losses.weights) == [term]
    assert ("alignment_nats" in losses.diagnostics) is (term == "alignment")
    assert ("accepted_correspondences" in losses.diagnostics) is (term == "pseudo_correspondence")
    losses.total.backward()
    for part in (method.aggregation, method.decoder):
        assert all(p.grad is not None for p in part.parameters())
    moved = [float(p.grad.abs().sum()) for p in method.parameters() if p.grad is not None]
    assert sum(moved) > 0 or losses.terms[term].item() == 0


@pytest.mark.parametrize(("progress", "weight"), [(0.0, 0.0), (0.39, 0.0), (0.4, 3.0), (1.0, 3.0)])
def test_a_term_whose_start_lies_ahead_counts_nothing(progress: float, weight: float) -> None:
    method = build(losses=only("local_triplet", "multi_similarity"), start=0.4, weight=3.0)
    losses = method(batch(), alone, progress)
    assert losses.weights["local_triplet"] == weight
    losses.total.backward()
    moved = sum(float(p.grad.abs().sum()) for p in method.decoder.parameters() if p.grad is not None)
    assert (moved > 0) is (weight > 0)


@pytest.mark.parametrize("losses", [{}, only("multi_similarity", "local_triplet")], ids=["all", "two terms"])
def test_all_that_pairs_is_gathered(losses: dict[str, object]) -> None:
    sizes: list[tuple[int, ...]] = []

    def twice(rows: torch.Tensor) -> torch.Tensor:
        assert rows.dtype in (torch.float32, torch.int64)
        sizes.append(tuple(rows.shape))
        return torch.cat([rows, rows])

    method = build(losses=losses).eval()
    assert method(batch(), twice).total.item() != pytest.approx(method(batch()).total.item(), rel=1e-4)
    # Descriptor, local descriptors, two maps and three labels; for correspondences the assignment and the tokens too.
    assert len(sizes) == (7 if losses else 9)
    assert all(size[0] == 9 for size in sizes)


@pytest.mark.parametrize("by", ["ratio", "mass"])
def test_two_shares_of_a_batch_make_the_loss_of_the_whole(by: str) -> None:
    """Each worker computes the global loss from gathered rows, however many cues the images of its own share have."""
    method = build(changes={"cue_selection": {"by": by}}).eval()
    whole = batch()
    whole = {name: part[:8] for name, part in whole.items()}
    shares = [{name: part[rows] for name, part in whole.items()} for rows in (slice(0, 4), slice(4, 8))]
    asked: list[list[torch.Tensor]] = []
    for share in shares:
        asked.append([])
        method(share, lambda rows, into=asked[-1]: (into.append(rows), torch.cat([rows, rows]))[1])
    rows_of_both = iter([torch.cat(pair) for pair in zip(*asked, strict=True)])
    joined = method(shares[0], lambda _rows: next(rows_of_both))
    alone_found = method(whole)
    for name, term in alone_found.terms.items():
        torch.testing.assert_close(joined.terms[name], term, rtol=1e-4, atol=1e-6)
    for name, value in alone_found.diagnostics.items():
        torch.testing.assert_close(joined.diagnostics[name], value, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("frozen", [False, True])
def test_each_terms_gradient_on_the_features_can_be_asked_for(frozen: bool) -> None:
    method = build().train()
    method.backbone.requires_grad_(not frozen)
    losses = method(batch())
    assert losses.features.shape[:2] == (9, 16)
    assert losses.features.requires_grad
    for name in ("multi_similarity", "alignment", "pseudo_correspondence"):
        (gradient,) = torch.autograd.grad(losses.terms[name], losses.features, retain_graph=True, allow_unused=True)
        assert float(gradient.abs().sum()) > 0, name
    losses.total.backward()
    with torch.no_grad():
        assert method(batch()).features is not None


def random_start(name: str, stage: int | None, losses: dict[str, object] | None = None) -> tuple[FoD, Batch]:
    """A network of random weights under the default set, and a batch of two products' patterns under noise."""
    torch.manual_seed(0)
    settings = {
        "backbone": {"name": name, "pretrained": False, "stage": stage, "group_norm": stage is not None},
        "aggregation": {"clusters": 16, "cluster_dim": 8, "token_dim": 8, "dropout": 0.0},
        "decoder": {"hidden": 64, "local_dim": 32},
        "losses": losses or {},
    }
    method, start, generator = FoD(validate(FoDConfig, settings, "random")), batch(), torch.Generator().manual_seed(2)
    patterns = torch.randn(5, 3, 24, 24, generator=generator)[start["class_index"]]
    patterns = torch.nn.functional.interpolate(patterns, size=(96, 96))
    return method.train(), start | {"images": patterns + 0.5 * torch.randn(9, 3, 96, 96, generator=generator)}


def measured(method: FoD, seen: Batch) -> dict[str, float]:
    return {name: value.item() for name, value in method(seen).diagnostics.items()}


def train(method: FoD, seen: Batch, steps: int) -> None:
    optimiser = torch.optim.AdamW(method.parameters(), lr=1e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        method(seen).total.backward()
        torch.nn.utils.clip_grad_norm_(method.parameters(), 1.0)
        optimiser.step()


RANDOM = [("test_vit", None), ("test_byobnet", 3)]


@pytest.mark.parametrize(("name", "stage"), RANDOM)
def test_no_term_is_dead_before_or_after_training(name: str, stage: int | None) -> None:
    method, seen = random_start(name, stage)
    before = measured(method, seen)
    assert before["alignment_nats"] >= 0.05
    # A transformer's attention is flat before it is trained, and that is said.
    assert not [alarm for alarm in alarms(before) if "the attention map" not in alarm]
    train(method, seen, 10)
    after = measured(method, seen)
    assert alarms(after) == []
    for found in (before, after):
        assert found["accepted_correspondences"] >= 3
        assert found["off_match_cosine"] < 0.5


@pytest.mark.parametrize(("name", "stage"), RANDOM)
def test_alignment_brings_the_maps_together(name: str, stage: int | None) -> None:
    method, seen = random_start(name, stage, only("alignment"))
    before = measured(method, seen)["alignment_nats"]
    train(method, seen, 10)
    assert measured(method, seen)["alignment_nats"] < before / 2


def test_the_ancestors_set_is_nearly_inert_and_says_so() -> None:
    default, repo = (build(losses={"preset": preset})(batch()).diagnostics for preset in ("default", "fol_repo"))
    assert default["accepted_correspondences"] > 1
    assert repo["accepted_correspondences"] == 0
    assert repo["alignment_nats"] < default["alignment_nats"] / 20
    assert repo["confidence_peak"] < default["confidence_peak"]
    assert alarms({name: value.item() for name, value in repo.items()})[0].startswith("dead term: pseudo")


def test_losses_run_in_full_precision_under_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[tuple[torch.dtype, bool]] = []
    method, local_loss = build().train(), fod.local_triplet_loss

    def note(*tensors: torch.Tensor) -> None:
        seen.extend((tensor.dtype, torch.is_autocast_enabled("cpu")) for tensor in tensors)

    def local(descriptors: torch.Tensor, local: torch.Tensor, *rest: object) -> torch.Tensor:
        note(descriptors, local)
        return local_loss(descriptors, local, *rest)

    monkeypatch.setattr(fod, "local_triplet_loss", local)
    method.multi_similarity.register_forward_pre_hook(lambda _module, args: note(args[0]))
    inner: list[torch.dtype] = []
    method.decoder.register_forward_pre_hook(lambda _module, args: inner.append(args[0].dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        losses = method(batch())
        assert torch.is_autocast_enabled("cpu")
        assert method.backbone.model(batch()["images"])[-1].dtype == torch.bfloat16
    assert seen == [(torch.float32, False)] * 3
    assert {term.dtype for term in losses.terms.values()} == {torch.float32}
    losses.total.backward()
    assert all(torch.isfinite(p.grad).all() for p in method.parameters() if p.grad is not None)


SELECTIONS = [{}, {"by": "mass", "mass": 0.5}]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit"])
@pytest.mark.parametrize("local_grid", ["token", "half", "full"])
@pytest.mark.parametrize("selection", SELECTIONS, ids=["ratio", "mass"])
@pytest.mark.parametrize("side_px", [(64, 64), (64, 96)], ids=["square", "wide"])
def test_embedding_is_unit_positioned_and_repeatable(
    name: str, local_grid: str, selection: dict[str, object], side_px: tuple[int, int]
) -> None:
    decoder = {"hidden": 16, "local_dim": 8, "local_grid": local_grid}
    method = build(name, changes={"decoder": decoder, "cue_selection": selection}).eval()
    images = torch.randn(4, 3, *side_px, generator=torch.Generator().manual_seed(3))
    with torch.inference_mode():
        first, second = method.embed(images), method.embed(images)
        single = method.embed(images[2:3])
        grid = method.backbone(images[:1]).grid
    assert first.descriptor.shape == (4, method.aggregation.descriptor_dim)
    torch.testing.assert_close(first.descriptor.norm(dim=1), torch.ones(4))
    slots = first.weights.shape[1]
    assert first.local.shape == (4, slots, 8)
    assert first.positions.shape == (4, slots, 2)
    if not selection:
        assert slots == num_cues(grid[0] * grid[1], 0.425) * {"token": 1, "half": 4, "full": 16}[local_grid]
    kept = first.weights > 0
    assert kept.all() or local_grid != "token" or selection
    torch.testing.assert_close(first.local.norm(dim=2), kept.float())
    assert ((first.positions > 0) & (first.positions < 1)).all()
    assert first.stride == pytest.approx(1 / grid[1])
    for field in ("descriptor", "local", "positions", "weights"):
        assert getattr(first, field).dtype == torch.float32
        assert torch.equal(getattr(first, field), getattr(second, field))
    torch.testing.assert_close(single.descriptor[0], first.descriptor[2], rtol=1e-4, atol=1e-5)
    for field in ("local", "positions", "weights"):
        own, beside = getattr(single, field)[0][single.weights[0] > 0], getattr(first, field)[2][kept[2]]
        torch.testing.assert_close(own, beside, rtol=1e-4, atol=1e-5)


def test_weights_are_the_kept_mass_over_the_largest() -> None:
    method, images = build(changes={"cue_selection": {"ratio": 1.0}}).eval(), batch()["images"]
    with torch.inference_mode():
        weights, tokens = method.embed(images).weights, method.backbone(images)
        aggregated = method.aggregation(tokens.class_token, tokens.patch_tokens, tokens.attention)
    kept = kept_mass(aggregated.assignment)
    torch.testing.assert_close(weights, kept / kept.amax(dim=1, keepdim=True))
    assert torch.equal(weights.amax(dim=1), torch.ones(9))


def test_a_cue_without_mass_still_weighs_something(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fod, "kept_mass", lambda assignment: assignment.sum(dim=1) * (torch.arange(16) == 5))
    weights = build(changes={"cue_selection": {"ratio": 1.0}}).eval().embed(batch()["images"]).weights
    assert float(weights.detach().min()) == pytest.approx(1e-3)
    assert (weights[:, 5] == 1).all()


@pytest.mark.parametrize("which", ["confidence", "attention", "both"])
def test_the_cue_map_decides_what_is_selected(which: str) -> None:
    selection = CueSelection(ratio=0.25)
    method = build(changes={"cue_map": which, "cue_selection": selection.model_dump()}).eval()
    images = batch()["images"]
    with torch.inference_mode():
        embedding, tokens = method.embed(images), method.backbone(images)
        aggregated = method.aggregation(tokens.class_token, tokens.patch_tokens, tokens.attention)
    maps = {"attention": tokens.attention, "confidence": kept_mass(aggregated.assignment)}
    clipped = {name: torch.minimum(part, part.sort(dim=1).values[:, 14:15]) for name, part in maps.items()}
    shares = {name: part / part.sum(dim=1, keepdim=True) for name, part in clipped.items()}
    cue_map = shares["attention"] + shares["confidence"] if which == "both" else shares[which]
    wanted = cue_map.sort(dim=1, descending=True, stable=True).indices[:, :4].sort(dim=1).values
    tokens_found = (embedding.positions * 4 - 0.5).round().long()
    assert torch.equal(tokens_found[..., 1] * 4 + tokens_found[..., 0], wanted)


@pytest.mark.parametrize("name", preset_names("fod"))
def test_presets_are_valid_and_keep_a_reference_small(name: str) -> None:
    settings = yaml.safe_load((resources.files("hallmark") / "presets" / "fod" / f"{name}.yaml").read_text())
    config = validate(FoDConfig, settings["method"], name)
    assert config.losses.preset == ("paper" if name == "paper" else "default")
    if name == "paper":
        assert config.decoder.local_grid == "full"
        return
    side_px, patch_px = settings["preprocessing"]["side_px"], 8 if name == "tiny" else 14
    cues = num_cues((side_px // patch_px) ** 2, config.cue_selection.ratio)
    aggregation = config.aggregation
    global_dim = aggregation.token_dim + aggregation.clusters * aggregation.cluster_dim
    assert 2 * global_dim + cues * (2 * config.decoder.local_dim + 2 * 4) < 64_000
