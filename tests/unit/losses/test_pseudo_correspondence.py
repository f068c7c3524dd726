"""L_PC against plain loops: which tokens correspond, and what they cost."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from hallmark.losses.pseudo_correspondence import (
    PseudoCorrespondenceConfig,
    pair_tokens,
    pseudo_correspondence_loss,
    select_mutual,
    select_repo,
)

Match = tuple[int, int, float]
"""Token, its partner, confidence."""


def draw(seed: int, tokens: int = 9, clusters: int = 3, noise: float = 0.4) -> dict[str, torch.Tensor]:
    """Four photographs of the same tokens under noise, in another order each."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    order = torch.stack([torch.randperm(tokens, generator=generator) for _ in range(4)])
    base, scores = normal(tokens, 6), 2 * normal(clusters, tokens)
    return {
        "local": F.normalize(normal(4, tokens, 4), dim=2),
        "patch_tokens": base[order] + noise * normal(4, tokens, 6),
        "assignment": (scores[:, order].transpose(0, 1) + noise * normal(4, clusters, tokens)).softmax(dim=1) * 0.9,
        "cues": torch.rand(4, tokens, generator=generator) < 0.8,
        "anchors": torch.tensor([0, 1, 2, 3]),
        "partners": torch.tensor([1, 2, 3, 0]),
    }


def pairs_of(drawn: dict[str, torch.Tensor]) -> Any:
    return pair_tokens(*(drawn[name] for name in ("patch_tokens", "assignment", "cues", "anchors", "partners")))


def plain_cosines(first: torch.Tensor, second: torch.Tensor) -> list[list[float]]:
    return [
        [float(x @ y) / (math.hypot(*x.tolist()) * math.hypot(*y.tolist())) for y in second.double()]
        for x in first.double()
    ]


def column(assignment: torch.Tensor, token: int) -> list[float]:
    return assignment[:, token].tolist()


def plain_mutual(drawn: dict[str, torch.Tensor], x: int, y: int, config: PseudoCorrespondenceConfig) -> list[Match]:
    cosines = plain_cosines(drawn["patch_tokens"][x], drawn["patch_tokens"][y])
    num_tokens, shares = len(cosines), [drawn["assignment"][image] for image in (x, y)]
    cluster = [[column(part, n).index(max(column(part, n))) for n in range(num_tokens)] for part in shares]

    def candidate(i: int, j: int) -> bool:
        return bool(drawn["cues"][x][i]) and bool(drawn["cues"][y][j]) and cluster[0][i] == cluster[1][j]

    found = []
    for i in range(num_tokens):
        ranked = sorted((j for j in range(num_tokens) if candidate(i, j)), key=lambda j: -cosines[i][j])
        if not ranked:
            continue
        j = ranked[0]
        if max((n for n in range(num_tokens) if candidate(n, j)), key=lambda n: cosines[n][j]) != i:
            continue
        ratio = config.distance_ratio
        if len(ranked) > 1 and not 1 - cosines[i][j] < ratio * (1 - cosines[i][ranked[1]]):
            continue
        k = cluster[0][i]
        found.append((i, j, max(0.0, cosines[i][j]) * float(shares[0][k, i]) * float(shares[1][k, j])))
    found.sort(key=lambda match: -cosines[match[0]][match[1]])
    return sorted(found[: len(found) - math.floor(len(found) * config.quantile)])


def plain_repo(drawn: dict[str, torch.Tensor], x: int, y: int) -> list[Match]:
    cosines = plain_cosines(drawn["patch_tokens"][x], drawn["patch_tokens"][y])
    found = []
    for i in range(len(cosines)):
        shares = column(drawn["assignment"][x], i)
        k = shares.index(max(shares))
        inside = [j for j in range(len(cosines)) if float(drawn["assignment"][y][k, j]) > 0.1]
        ranked = sorted(inside, key=lambda j: -cosines[i][j])
        if not bool(drawn["cues"][x][i]) or len(ranked) < 2:
            continue
        best, second = cosines[i][ranked[0]], cosines[i][ranked[1]]
        if best > 0.8 and best > 2 * second:
            found.append((i, ranked[0], best))
    return sorted(sorted(found, key=lambda match: -match[2])[:5])


def plain_loss(drawn: dict[str, torch.Tensor], config: PseudoCorrespondenceConfig) -> tuple[float, list[int]]:
    weighted = total = 0.0
    counts = []
    for x, y in zip(drawn["anchors"].tolist(), drawn["partners"].tolist(), strict=True):
        mutual = config.selection == "mutual"
        matches = plain_mutual(drawn, x, y, config) if mutual else plain_repo(drawn, x, y)
        counts.append(len(matches))
        for i, j, confidence in matches:
            similarity = (drawn["local"][y] @ drawn["local"][x][i]).tolist()
            spread = math.log(sum(math.exp(value / config.temperature) for value in similarity))
            contrast = spread - similarity[j] / config.temperature
            weighted += confidence * (1 - similarity[j] + config.contrast * contrast)
            total += confidence if mutual else 1
    return weighted / total if total else 0.0, counts


@pytest.mark.parametrize("selection", ["mutual", "repo"])
@pytest.mark.parametrize("contrast", [0.0, 1.0])
@given(st.integers(0, 9999), st.sampled_from([0.1, 0.6]), st.integers(1, 12))
@settings(max_examples=12, deadline=None)
def test_equals_plain_loops(selection: str, contrast: float, seed: int, noise: float, tokens: int) -> None:
    drawn = draw(seed, tokens, noise=noise)
    config = PseudoCorrespondenceConfig(selection=selection, contrast=contrast)
    loss, accepted = pseudo_correspondence_loss(
        drawn["local"], pairs_of(drawn), drawn["anchors"], drawn["partners"], config
    )
    wanted, counts = plain_loss(drawn, config)
    assert accepted.tolist() == counts
    assert float(loss) == pytest.approx(wanted, abs=1e-9)


def test_the_twins_are_not_compared_on_nothing() -> None:
    config = PseudoCorrespondenceConfig()
    assert min(plain_loss(draw(0, tokens=12), config)[1]) >= 3
    repo = config.model_copy(update={"selection": "repo"})
    assert sum(plain_loss(draw(4, tokens=12, noise=0.1), repo)[1]) > 0


def lone() -> dict[str, torch.Tensor]:
    """Two photographs of one cue each."""
    drawn = {name: part[:2] for name, part in draw(0, tokens=4, noise=0.05).items()}
    same = drawn["patch_tokens"][0, 1]
    drawn["patch_tokens"][1, 2] = same
    drawn["assignment"][0, :, 1] = drawn["assignment"][1, :, 2] = torch.tensor([0.9, 0.0, 0.0])
    drawn["assignment"][1, 0, [0, 1, 3]] = 0.0
    cues = torch.zeros(2, 4, dtype=torch.bool)
    cues[0, 1] = cues[1, 2] = True
    return drawn | {"cues": cues, "anchors": torch.tensor([0]), "partners": torch.tensor([1])}


def test_a_lone_candidate_is_accepted_but_not_by_repo() -> None:
    pairs = pairs_of(lone())
    found = select_mutual(pairs, PseudoCorrespondenceConfig())
    assert found.accepted.nonzero().tolist() == [[0, 1]]
    assert found.partner[0, 1] == 2
    assert float(found.confidence[0, 1]) == pytest.approx(0.81)
    assert not select_repo(pairs).accepted.any()


@pytest.mark.parametrize("selection", ["mutual", "repo"])
def test_photographs_without_texture_have_no_correspondence(selection: str) -> None:
    drawn = draw(0) | {"cues": torch.ones(4, 9, dtype=torch.bool), "patch_tokens": torch.ones(4, 9, 6)}
    drawn["assignment"] = torch.full((4, 3, 9), 0.3, dtype=torch.float64)
    local = drawn["local"].requires_grad_()
    config = PseudoCorrespondenceConfig(selection=selection)
    loss, accepted = pseudo_correspondence_loss(local, pairs_of(drawn), drawn["anchors"], drawn["partners"], config)
    loss.backward()
    assert accepted.tolist() == [0, 0, 0, 0]
    assert loss.item() == 0.0
    assert torch.equal(local.grad, torch.zeros_like(local))


def test_no_pair_gives_zero_with_a_gradient() -> None:
    drawn, none = draw(0), torch.zeros(0, dtype=torch.int64)
    local = drawn["local"].requires_grad_()
    pairs = pairs_of(drawn | {"anchors": none, "partners": none})
    loss, accepted = pseudo_correspondence_loss(local, pairs, none, none, PseudoCorrespondenceConfig())
    loss.backward()
    assert (float(loss), accepted.numel()) == (0.0, 0)
    assert torch.equal(local.grad, torch.zeros_like(local))


def test_matches_are_those_that_noise_hides() -> None:
    """What limits there are is relative, so they hold too where all tokens have a cosine of 0.99."""
    drawn = draw(3, tokens=12, noise=0.1) | {"cues": torch.ones(4, 12, dtype=torch.bool)}
    drawn["patch_tokens"] = drawn["patch_tokens"] + 30
    found = select_mutual(pairs_of(drawn), PseudoCorrespondenceConfig())
    assert float(found.accepted.sum(dim=1).double().median()) >= 3
    assert (found.accepted.sum(dim=1) < 12).all()


@pytest.mark.parametrize("contrast", [0.0, 1.0])
def test_gradient_is_that_of_the_formula(contrast: float) -> None:
    drawn, config = draw(1), PseudoCorrespondenceConfig(contrast=contrast, temperature=0.5)
    for name in ("patch_tokens", "assignment"):
        drawn[name].requires_grad_()
    local, pairs = drawn["local"].requires_grad_(), pairs_of(drawn)
    assert not pairs.first.requires_grad
    assert torch.autograd.gradcheck(
        lambda x: pseudo_correspondence_loss(x, pairs, drawn["anchors"], drawn["partners"], config)[0], (local,)
    )


def test_contrast_keeps_descriptors_apart() -> None:
    """Pulling alone is content when all descriptors are alike; with the contrast that costs."""
    drawn = draw(2)
    alike = torch.zeros_like(drawn["local"])
    alike[..., 0] = 1.0
    costs = [
        float(
            pseudo_correspondence_loss(
                alike, pairs_of(drawn), drawn["anchors"], drawn["partners"], PseudoCorrespondenceConfig(contrast=weight)
            )[0]
        )
        for weight in (0.0, 1.0)
    ]
    assert costs == pytest.approx([0.0, math.log(9)])
