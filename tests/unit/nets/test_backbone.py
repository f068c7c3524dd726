"""Backbones by name: tokens, attention against timm's own, freezing, weights."""

from __future__ import annotations

from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from hallmark.errors import ConfigError, WeightsError
from hallmark.nets.adapters import LoRAConfig
from hallmark.nets.backbone import BackboneConfig, build_backbone, class_attention


def build(name: str, **changes: object) -> nn.Module:
    torch.manual_seed(0)
    return build_backbone(BackboneConfig(**{"name": name, "pretrained": False, **changes})).eval()


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_convnext"])
@pytest.mark.parametrize("size", [(64, 64), (64, 96)])
def test_tokens_lie_row_by_row(name: str, size: tuple[int, int]) -> None:
    backbone = build(name)
    tokens = backbone(torch.randn(2, 3, *size))
    rows, columns = tokens.grid
    assert rows * size[1] == columns * size[0]
    assert tokens.patch_tokens.shape == (2, rows * columns, backbone.channels)
    assert tokens.class_token.shape == (2, backbone.channels)
    assert tokens.attention.shape == (2, rows * columns)
    assert (tokens.attention >= 0).all()
    assert (tokens.attention.sum(dim=1) <= 1 + 1e-5).all()


def unfused(attn: nn.Module, tokens: torch.Tensor, num_prefix: int) -> torch.Tensor:
    """What timm's own softmax lets through to its dropout."""
    seen: list[torch.Tensor] = []
    attn.fused_attn = False
    hook = attn.attn_drop.register_forward_hook(lambda _module, args, _output: seen.append(args[0]))
    attn(tokens)
    hook.remove()
    return seen[0].mean(dim=1)[:, 0, num_prefix:]


@pytest.mark.parametrize("registers", [0, 4])
@pytest.mark.parametrize("qk_norm", [False, True])
def test_attention_is_timms_own(registers: int, qk_norm: bool) -> None:
    torch.manual_seed(0)
    vit = VisionTransformer(
        img_size=32,
        patch_size=8,
        embed_dim=24,
        depth=1,
        num_heads=3,
        num_classes=0,
        reg_tokens=registers,
        qk_norm=qk_norm,
    )
    attn, prefix = vit.blocks[0].attn.eval(), vit.num_prefix_tokens
    assert prefix == 1 + registers
    nn.init.normal_(attn.qkv.weight, std=0.5)
    tokens = torch.randn(2, prefix + 16, 24, requires_grad=True)
    attention = class_attention(attn, tokens, prefix)
    torch.testing.assert_close(attention, unfused(attn, tokens, prefix))
    everything = class_attention(attn, tokens, 0)
    torch.testing.assert_close(everything.sum(dim=1), torch.ones(2))
    torch.testing.assert_close(attention.sum(dim=1), 1 - everything[:, :prefix].sum(dim=1))
    attention[:, 0].sum().backward()
    assert float(tokens.grad.abs().sum()) > 0
    assert float(attn.qkv.weight.grad.abs().sum()) > 0


def test_transformer_hands_out_its_last_blocks_attention() -> None:
    backbone, images, seen = build("test_vit"), torch.randn(2, 3, 64, 64), []
    attn = backbone.model.blocks[-1].attn
    attn.register_forward_pre_hook(lambda _module, args: seen.append(args[0].detach()))
    attention = backbone(images).attention
    assert backbone._last_attention_input is None
    torch.testing.assert_close(attention, unfused(attn, seen[0], backbone.model.num_prefix_tokens))


def test_registers_are_no_patches() -> None:
    backbone = build("vit_small_patch14_reg4_dinov2")
    with torch.inference_mode():
        tokens = backbone(torch.randn(1, 3, 28, 56))
    assert tokens.grid == (2, 4)
    assert tokens.patch_tokens.shape[1] == tokens.attention.shape[1] == 8


@pytest.mark.parametrize("name", ["test_vit2", "test_vit3", "test_vit4"])
def test_no_class_token_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=rf"backbone\.name: '{name}' has no class token"):
        build(name)


def test_size_that_is_no_multiple_of_the_patch() -> None:
    with pytest.raises(ConfigError, match=r"side_px: found 60 x 64 px; wanted multiples of the patch, 16"):
        build("test_vit")(torch.zeros(1, 3, 60, 64))


@pytest.mark.parametrize("group_norm", [True, False])
def test_group_norm_lets_no_image_see_its_batch(group_norm: bool) -> None:
    backbone = build("test_resnet", stage=3, group_norm=group_norm).train()
    assert any(isinstance(module, nn.BatchNorm2d) for module in backbone.modules()) is not group_norm
    images = torch.randn(3, 3, 64, 64)
    alone, together = backbone(images[:1]).patch_tokens, backbone(images).patch_tokens[:1]
    assert torch.allclose(alone, together, atol=1e-4) is group_norm


def test_convolutional_attention_is_that_of_the_mean_token() -> None:
    tokens = build("test_convnext")(torch.randn(2, 3, 64, 64))
    logits = (tokens.patch_tokens * tokens.patch_tokens.mean(dim=1, keepdim=True)).sum(dim=2)
    wanted = (logits / tokens.patch_tokens.shape[2] ** 0.5).softmax(dim=1)
    torch.testing.assert_close(tokens.attention, wanted)
    torch.testing.assert_close(tokens.attention.sum(dim=1), torch.ones(2))


def test_only_the_last_blocks_are_trained() -> None:
    model = build("test_vit", trainable_blocks=1).model
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    last = len(model.blocks) - 1
    assert trained == {name for name, _ in model.named_parameters() if name.startswith((f"blocks.{last}.", "norm."))}
    with pytest.raises(ConfigError, match=r"trainable_blocks: found 99; wanted at most"):
        build("test_vit", trainable_blocks=99)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_nothing_of_a_frozen_backbone_is_trained(name: str) -> None:
    backbone = build(name, trainable_blocks=0).train()
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    before = {key: value.clone() for key, value in backbone.state_dict().items()}
    tokens = backbone(torch.randn(2, 3, 64, 64))
    assert not tokens.patch_tokens.requires_grad
    assert not tokens.attention.requires_grad
    # Nor do the statistics of BatchNorm follow the batches.
    assert all(torch.equal(value, before[key]) for key, value in backbone.state_dict().items())


def test_frozen_blocks_get_no_gradient_and_keep_nothing_for_one() -> None:
    backbone = build("test_vit", trainable_blocks=1).train()
    kept: list[torch.Tensor] = []
    inputs: list[bool] = []
    backbone.model.blocks[-1].register_forward_pre_hook(
        lambda _module, args: inputs.append(args[0].requires_grad or bool(kept))
    )
    with torch.autograd.graph.saved_tensors_hooks(lambda tensor: kept.append(tensor) or tensor, lambda tensor: tensor):
        tokens = backbone(torch.randn(2, 3, 64, 64))
    assert inputs == [False]
    assert kept
    tokens.patch_tokens.square().sum().backward()
    last = len(backbone.model.blocks) - 1
    for key, parameter in backbone.model.named_parameters():
        assert (parameter.grad is not None) is key.startswith((f"blocks.{last}.", "norm.")), key


def test_blocks_of_a_convolutional_network_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"trainable_blocks: found 2 for 'test_resnet', .* wanted null .* or 0"):
        build("test_resnet", trainable_blocks=2)


@pytest.mark.parametrize(
    ("changes", "warned"),
    [
        ({"trainable_blocks": 0}, True),
        ({"lora": LoRAConfig()}, True),
        ({}, False),
        ({"trainable_blocks": 1}, False),
    ],
)
def test_frozen_random_weights_are_warned_of(changes: dict, warned: bool, caplog: pytest.LogCaptureFixture) -> None:
    build("test_vit", **changes)
    assert ("leaves the random weights as they are" in caplog.text) is warned
    caplog.clear()
    build_backbone(BackboneConfig(name="test_vit", **{"pretrained": False, **changes}), weights=False)
    assert not caplog.text  # a bundle's weights follow


@pytest.mark.parametrize(("name", "message"), [("test_vitt", "such as .*test_vit"), ("", "wanted a timm model")])
def test_unknown_name(name: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(name)


def test_stage_that_is_not_there() -> None:
    with pytest.raises(ConfigError, match="gives no feature map 99"):
        build("test_resnet", stage=99)


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_weights_come_back_from_a_file(name: str, tmp_path: Path) -> None:
    torch.manual_seed(5)
    stored = timm.create_model(name).state_dict()
    path = tmp_path / "weights.safetensors"
    save_file({key: value.contiguous() for key, value in stored.items()}, path)
    taken = build(name, pretrained=str(path)).model.state_dict()
    shared = [key for key in taken if key in stored]
    assert len(shared) > 20
    assert all(torch.equal(taken[key], stored[key]) for key in shared)
    blank = build_backbone(BackboneConfig(name=name, pretrained=str(tmp_path / "gone.safetensors")), weights=False)
    assert blank.channels == build(name).channels


@pytest.mark.parametrize("kind", ["missing", "suffix", "folder", "corrupt", "other network"])
def test_wrong_weight_files(kind: str, tmp_path: Path) -> None:
    path = tmp_path / ("weights.pt" if kind == "suffix" else "weights.safetensors")
    if kind == "folder":
        path.mkdir()
    elif kind == "other network":
        state = timm.create_model("test_resnet").state_dict()
        save_file({key: value.contiguous() for key, value in state.items()}, path)
    elif kind != "missing":
        path.write_bytes(b"no weights")
    with pytest.raises(WeightsError, match="weights"):
        build("test_vit", pretrained=str(path))


@pytest.mark.parametrize("name", ["test_vit", "test_resnet"])
def test_unreachable_hub_names_three_remedies(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_args: object, **_options: object) -> nn.Module:
        raise OSError("cannot reach the hub")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(WeightsError, match="cannot reach the hub") as caught:
        build(name, pretrained=True)
    for remedy in ("access to the model hub", "the path of a .safetensors file", "to false"):
        assert remedy in str(caught.value)
