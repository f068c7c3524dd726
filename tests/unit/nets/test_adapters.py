"""Low-rank adapters: they start as nothing, and are all that is trained."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from hallmark.config import validate
from hallmark.errors import ConfigError
from hallmark.nets.adapters import LoRAConfig, LoRALinear, adapt_attention, adapter_parameters
from hallmark.nets.backbone import BackboneConfig, build_backbone


def build(**lora: object) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(name="test_vit", pretrained=False, lora=LoRAConfig(**lora)))


def disturb(network: nn.Module) -> None:
    for parameter in adapter_parameters(network):
        nn.init.normal_(parameter, std=0.5)


@pytest.mark.parametrize(("rank", "alpha", "bias"), [(1, 1.0, True), (3, 16.0, False), (8, 4.0, True)])
def test_an_adapted_projection_is_that_of_the_summed_matrices(rank: int, alpha: float, bias: bool) -> None:
    torch.manual_seed(0)
    base = nn.Linear(6, 5, bias=bias)
    adapted = LoRALinear(base, LoRAConfig(rank=rank, alpha=alpha))
    features = torch.randn(2, 4, 6)
    assert torch.equal(adapted(features), base(features))
    disturb(adapted)
    weight = base.weight.clone()
    for row in range(5):
        for column in range(6):
            product = sum(float(adapted.up[row, k].detach() * adapted.down[k, column].detach()) for k in range(rank))
            weight.data[row, column] += alpha / rank * product
    torch.testing.assert_close(adapted(features), nn.functional.linear(features, weight, base.bias))


def test_no_rows_give_no_rows() -> None:
    assert LoRALinear(nn.Linear(6, 5), LoRAConfig())(torch.empty(0, 6)).shape == (0, 5)


def test_gradients_are_those_of_the_formula() -> None:
    torch.manual_seed(0)
    adapted = LoRALinear(nn.Linear(4, 3), LoRAConfig(rank=2)).double()
    disturb(adapted)
    features = torch.randn(5, 4, dtype=torch.float64, requires_grad=True)

    def of(x: torch.Tensor, down: torch.Tensor, up: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(adapted, {"down": down, "up": up}, (x,))

    assert torch.autograd.gradcheck(of, (features, adapted.down, adapted.up))


def test_the_first_gradient_is_that_of_the_zeros_alone() -> None:
    torch.manual_seed(0)
    adapted = LoRALinear(nn.Linear(4, 3), LoRAConfig(rank=2))
    adapted(torch.randn(5, 4)).square().sum().backward()
    assert float(adapted.up.grad.abs().sum()) > 0
    assert float(adapted.down.grad.abs().sum()) == 0
    assert adapted.base.weight.grad is None


def test_dropout_is_of_training_alone() -> None:
    torch.manual_seed(0)
    adapted = LoRALinear(nn.Linear(40, 3), LoRAConfig(dropout=0.5))
    disturb(adapted)
    features = torch.randn(2, 40)
    assert not torch.equal(adapted(features), adapted(features))
    adapted.eval()
    assert torch.equal(adapted(features), adapted(features))


def test_a_backbone_starts_unchanged() -> None:
    torch.manual_seed(0)
    plain = build_backbone(BackboneConfig(name="test_vit", pretrained=False)).eval()
    adapted, images = build().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before, after = plain(images), adapted(images)
    assert torch.equal(before.patch_tokens, after.patch_tokens)
    assert torch.equal(before.class_token, after.class_token)
    assert torch.equal(before.attention, after.attention)


def test_the_attention_map_follows_the_adapters() -> None:
    backbone, images = build().eval(), torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        before = backbone(images).attention
        nn.init.normal_(backbone.model.blocks[-1].attn.qkv.up, std=0.5)
        assert not torch.allclose(backbone(images).attention, before, atol=1e-4)


def test_adapters_alone_are_trained_and_all_of_them() -> None:
    backbone = build(rank=2)
    adapters = {id(parameter) for parameter in adapter_parameters(backbone)}
    assert len(adapters) == 4 * len(backbone.model.blocks)
    assert {id(parameter) for parameter in backbone.parameters() if parameter.requires_grad} == adapters
    disturb(backbone)
    tokens = backbone(torch.randn(2, 3, 64, 64))
    (tokens.patch_tokens.square().sum() + tokens.attention.square().sum()).backward()
    for name, parameter in backbone.named_parameters():
        assert (parameter.grad is not None) is (id(parameter) in adapters), name
        assert parameter.grad is None or float(parameter.grad.abs().sum()) > 0, name


def test_weights_come_back_by_name() -> None:
    first, second = build(rank=2), build(rank=2)
    disturb(first)
    second.load_state_dict(first.state_dict())
    images = torch.randn(1, 3, 64, 64)
    assert torch.equal(first(images).patch_tokens, second(images).patch_tokens)


def test_a_network_without_adapters_has_no_parameters_of_theirs() -> None:
    assert list(adapter_parameters(nn.Linear(2, 2))) == []
    adapt_attention(nn.ModuleList(), LoRAConfig())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"name": "test_resnet"}, r"backbone\.lora: found adapters for 'test_resnet'"),
        ({"trainable_blocks": 2}, r"backbone\.trainable_blocks: found 2 beside lora"),
    ],
)
def test_what_cannot_be_adapted_is_refused(changes: dict, message: str) -> None:
    settings = {"name": "test_vit", "pretrained": False, "lora": {"rank": 2}, **changes}
    with pytest.raises(ConfigError, match=message):
        build_backbone(validate(BackboneConfig, settings, "backbone"))


@pytest.mark.parametrize(("key", "value"), [("rank", 0), ("alpha", 0), ("dropout", 1.0)])
def test_settings_out_of_range_are_named(key: str, value: object) -> None:
    with pytest.raises(ConfigError, match=key):
        validate(LoRAConfig, {key: value}, "lora")
