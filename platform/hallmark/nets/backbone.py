"""A timm backbone by name, read as a class token, patch tokens and an attention map."""

from __future__ import annotations

import difflib
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import timm
import torch
from pydantic import Field
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn
from torch.nn import functional as F

from hallmark.config import Config
from hallmark.errors import ConfigError, WeightsError
from hallmark.nets.adapters import LoRAConfig, adapt_attention

STRIDES = (4, 8, 16, 32)
"""Of the stages C2 to C5, in px of the network input."""

_logger = logging.getLogger(__name__)


class BackboneConfig(Config):
    """Which backbone, where its weights come from, and how much of it is trained."""

    name: str = Field(description="a timm model name: a vision transformer, or a network with feature maps")
    pretrained: bool | str = Field(
        True, description="true: timm's hub by name; false: random weights; otherwise the path of a .safetensors file"
    )
    stage: int | None = Field(
        None, ge=0, description="convolutional backbones: index of the feature map read as tokens; null = the last"
    )
    group_norm: bool = Field(
        False, description="convolutional backbones: GroupNorm in place of BatchNorm, so that no image sees its batch"
    )
    trainable_blocks: int | None = Field(
        None,
        ge=0,
        description="null = everything is trained; 0 = nothing, the final norm neither; n (transformers only) = the "
        "last n blocks and the final norm",
    )
    lora: LoRAConfig | None = Field(
        None,
        description="transformers: train low-rank adapters in every block and nothing else; trainable_blocks is null "
        "or 0 then",
    )


@dataclass(frozen=True)
class Tokens:
    """What a backbone says of a batch of images."""

    class_token: Tensor
    """(B, C)."""
    patch_tokens: Tensor
    """(B, N, C), row by row over the grid."""
    attention: Tensor
    """(B, N), not negative: how much the class token attends to each patch; a row sums to at most 1."""
    grid: tuple[int, int]
    """Rows and columns of the patch grid; N = rows · columns."""


def build_backbone(config: BackboneConfig, weights: bool = True) -> nn.Module:
    """The backbone as a module `images (B, 3, H, W) -> Tokens`, with `channels` as attribute.

    Args:
        weights: load the pretrained weights that the config asks for; False where a bundle's weights follow anyway.

    Raises:
        ConfigError: timm has no such model, it offers neither a class token nor feature maps, or it cannot be trained
            in the part that the config asks for.
        WeightsError: the weights cannot be loaded.
    """
    pretrained = _checked(config, weights)
    if _is_transformer(config.name):
        return TransformerBackbone(config, pretrained)
    return ConvolutionalBackbone(config, pretrained)


def build_feature_map(config: BackboneConfig, weights: bool = True) -> FeatureMap:
    """The backbone as a module `images (B, 3, H, W) -> (B, C, h, w)`, with `channels` as attribute.

    Args:
        weights: as for `build_backbone`.

    Raises:
        ConfigError: timm has no such model, it has no feature maps, or it cannot be trained in the part that the config
            asks for.
        WeightsError: the weights cannot be loaded.
    """
    _check_feature_map(config)
    return FeatureMap(config, _checked(config, weights))


def build_feature_stages(config: BackboneConfig, weights: bool = True) -> FeatureStages:
    """The backbone as a module `images (B, 3, H, W) -> (C2, C3, C4, C5)`, with `channels` as attribute.

    Args:
        weights: as for `build_backbone`.

    Raises:
        ConfigError: as for `build_feature_map`, or it lacks a map of stride 4, 8, 16 or 32, or `stage` is given.
        WeightsError: the weights cannot be loaded.
    """
    if config.stage is not None:
        raise ConfigError(f"backbone.stage: found {config.stage}; wanted null where all stages are read")
    _check_feature_map(config)
    return FeatureStages(config, _checked(config, weights))


def _check_feature_map(config: BackboneConfig) -> None:
    if config.lora is not None or config.trainable_blocks:
        raise ConfigError(
            "backbone: found lora or trainable_blocks; wanted lora: null, and trainable_blocks: null (everything is "
            "trained) or 0 (nothing is) where a feature map is read"
        )


def _checked(config: BackboneConfig, weights: bool) -> bool | str:
    """What `pretrained` comes to, once the config is known to be possible."""
    if not timm.is_model(config.name):
        close = difflib.get_close_matches(config.name.split(".")[0], timm.list_models(), n=4)
        raise ConfigError(
            f"backbone.name: found {config.name!r}; wanted a timm model" + (f", such as {close}" if close else "")
        )
    pretrained = config.pretrained if weights else False
    _check_adaptation(config, _is_transformer(config.name))
    if weights and not pretrained and (config.lora is not None or config.trainable_blocks == 0):
        _logger.warning(
            "backbone: pretrained is false, and trainable_blocks 0 or lora leaves the random weights as they are; "
            "wanted pretrained weights, or trainable_blocks: null and lora: null to train from scratch"
        )
    return pretrained


class TransformerBackbone(nn.Module):
    """A vision transformer whose last block's attention is captured; patch size and prefix count are read from it."""

    def __init__(self, config: BackboneConfig, pretrained: bool | str):
        super().__init__()
        # Any image size: position embeddings are interpolated to the grid at hand.
        self.model = _create(config.name, pretrained, num_classes=0, dynamic_img_size=True)
        self.channels = self.model.num_features
        # Registers are prefix tokens too: only cls_token tells whether the first of them is a class token.
        if self.model.cls_token is None or not hasattr(getattr(self.model.blocks[-1], "attn", None), "qkv"):
            raise ConfigError(
                f"backbone.name: {config.name!r} has no class token or no joint qkv projection; "
                "wanted a plain vision transformer (vit_*, deit_*) or a convolutional network"
            )
        self._last_attention_input: Tensor | None = None
        self.model.blocks[-1].attn.register_forward_pre_hook(self._remember)
        _freeze_all_but_last(self.model, config.trainable_blocks if config.lora is None else 0)
        if config.lora is not None:
            adapt_attention(self.model.blocks, config.lora)

    def _remember(self, _module: nn.Module, args: tuple[Tensor, ...]) -> None:
        self._last_attention_input = args[0]

    def forward(self, images: Tensor) -> Tokens:
        height, width = images.shape[-2:]
        patch = self.model.patch_embed.patch_size
        if height % patch[0] or width % patch[1]:
            raise ConfigError(
                f"preprocessing.side_px: found {height} x {width} px; wanted multiples of the patch, {patch[0]}"
            )
        tokens = self.model.forward_features(images)
        prefix, grid = self.model.num_prefix_tokens, (height // patch[0], width // patch[1])
        attention = class_attention(self.model.blocks[-1].attn, self._last_attention_input, prefix)
        self._last_attention_input = None
        return Tokens(tokens[:, 0], tokens[:, prefix:], attention, grid)


def class_attention(attn: nn.Module, tokens: Tensor, num_prefix: int) -> Tensor:
    """The class token's row of a timm attention layer, mean over heads, prefix columns dropped.

    Fused attention hides its weights, so queries and keys are computed once more from the layer's input. Gradients
    flow.

    Args:
        attn: the layer, with `qkv`, `q_norm`, `k_norm`, `num_heads` and `scale`.
        tokens: (B, P + N, C), the layer's input.
        num_prefix: P, the class and register tokens.

    Returns:
        (B, N); a row sums to one less the share that the prefix tokens take.
    """
    batch, length, _ = tokens.shape
    queries, keys, _ = attn.qkv(tokens).reshape(batch, length, 3, attn.num_heads, -1).permute(2, 0, 3, 1, 4).unbind(0)
    query, keys = attn.q_norm(queries)[:, :, :1], attn.k_norm(keys)
    weights = (query * attn.scale @ keys.transpose(-2, -1)).float().softmax(dim=-1)
    return weights.mean(dim=1)[:, 0, num_prefix:]


class _FeatureMaps(nn.Module):
    """Feature maps of a network, channels first."""

    def __init__(self, config: BackboneConfig, pretrained: bool | str):
        super().__init__()
        indices = None if config.stage is None else (config.stage,)
        options: dict[str, object] = {} if indices is None else {"out_indices": indices}
        if _is_transformer(config.name):
            options["dynamic_img_size"] = True
        try:
            self.model = _create(config.name, pretrained, features_only=True, **options)
        except (RuntimeError, IndexError, AssertionError, AttributeError) as error:
            raise ConfigError(
                f"backbone: {config.name!r} gives no feature map {config.stage if indices else ''} ({error}); "
                "wanted a network with feature maps and a stage that it has"
            ) from None
        if config.group_norm:
            _batch_to_group_norm(self.model)
        self._name, self._channels = config.name, self.model.feature_info.channels()
        self._frozen = config.trainable_blocks == 0
        if self._frozen:
            self.requires_grad_(False)

    def train(self, mode: bool = True) -> Self:
        """As ever, but for a frozen network, whose BatchNorm statistics must not follow the batches either."""
        return super().train(mode and not self._frozen)

    def _maps(self, images: Tensor) -> list[Tensor]:
        """(B, 3, H, W) -> (B, C, h, w) of every stage that was asked for.

        Raises:
            ConfigError: the network takes no images of that size.
        """
        try:
            maps = self.model(images)
        except AssertionError as error:  # how timm refuses a size
            height, width = images.shape[-2:]
            raise ConfigError(
                f"preprocessing.side_px: found {height} x {width} px, which {self._name!r} does not take ({error})"
            ) from None
        # Some timm families put channels last.
        return [
            features if features.shape[1] == channels else features.permute(0, 3, 1, 2)
            for features, channels in zip(maps, self._channels, strict=True)
        ]


class FeatureMap(_FeatureMaps):
    """One feature map of a network."""

    def __init__(self, config: BackboneConfig, pretrained: bool | str):
        super().__init__(config, pretrained)
        self.channels = self._channels[-1]

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, C, h, w).

        Raises:
            ConfigError: the network takes no images of that size.
        """
        return self._maps(images)[-1]


class FeatureStages(_FeatureMaps):
    """The last feature map of each stride 4, 8, 16 and 32: C2 to C5 (MGFEN, section 3.3)."""

    def __init__(self, config: BackboneConfig, pretrained: bool | str):
        super().__init__(config, pretrained)
        found = {stride: place for place, stride in enumerate(self.model.feature_info.reduction())}
        if missing := [stride for stride in STRIDES if stride not in found]:
            raise ConfigError(
                f"backbone.name: {config.name!r} has feature maps of strides {sorted(found)} and none of "
                f"{', '.join(map(str, missing))}; wanted a network with all of {', '.join(map(str, STRIDES))}"
            )
        self._places = [found[stride] for stride in STRIDES]
        self.channels = tuple(self._channels[place] for place in self._places)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, H, W) -> C2, C3, C4, C5, each (B, C_i, h_i, w_i), h_i = H / stride rounded up or down.

        Raises:
            ConfigError: the network takes no images of that size.
        """
        maps = self._maps(images)
        return tuple(maps[place] for place in self._places)


class ConvolutionalBackbone(FeatureMap):
    """One feature map of a network as patch tokens, their mean as class token.

    The attention is that of the mean token over the patch tokens with identity projections: softmax(t·F / sqrt(C)).
    """

    def __init__(self, config: BackboneConfig, pretrained: bool | str):
        super().__init__(config, pretrained)
        self.norm = nn.LayerNorm(self.channels)
        self.norm.requires_grad_(not self._frozen)

    def forward(self, images: Tensor) -> Tokens:
        features = super().forward(images)
        patch_tokens = self.norm(features.flatten(2).transpose(1, 2))
        class_token = patch_tokens.mean(dim=1)
        logits = torch.einsum("bc,bnc->bn", class_token, patch_tokens) / self.channels**0.5
        return Tokens(class_token, patch_tokens, logits.float().softmax(dim=-1), tuple(features.shape[-2:]))


def _is_transformer(name: str) -> bool:
    return timm.models.model_entrypoint(name).__module__.rsplit(".", 1)[-1] in {"vision_transformer", "deit"}


def _create(name: str, pretrained: bool | str, **options: object) -> nn.Module:
    if isinstance(pretrained, str):
        path = Path(pretrained)
        if path.suffix != ".safetensors" or not path.is_file():
            raise WeightsError(f"backbone.pretrained: found {pretrained!r}; wanted an existing .safetensors file")
        options["pretrained_cfg_overlay"] = {"file": str(path)}
    try:
        model = timm.create_model(name, pretrained=bool(pretrained), **options)
    except (OSError, RuntimeError, ValueError, SafetensorError) as error:
        if str(error).startswith("Invalid pretrained tag"):
            known = timm.list_pretrained(f"{name.split('.')[0]}.*") or [name.split(".")[0]]
            raise ConfigError(f"backbone.name: found {name!r}; wanted one of {', '.join(known)}") from None
        if not pretrained or "out_indices" in str(error):
            raise
        raise WeightsError(
            f"backbone {name!r}: its weights could not be loaded ({str(error).splitlines()[0]}). One of three things "
            "mends it: give the machine access to the model hub (or a filled hub cache); set backbone.pretrained to "
            "the path of a .safetensors file; or set backbone.pretrained to false to train from scratch"
        ) from None
    if isinstance(pretrained, str):
        _check_taken(model, name, pretrained)
    return model


def _check_taken(model: nn.Module, name: str, path: str) -> None:
    """Refuse a file of another network: timm passes over what fits nowhere and leaves the random weights."""
    with safe_open(path, "pt") as file:
        stored = {_first_numbers(file.get_tensor(key)) for key in file.keys()}  # noqa: SIM118, it is no mapping
    taken = [_first_numbers(parameter) in stored for parameter in model.parameters() if parameter.ndim >= 2]
    if 2 * sum(taken) < len(taken):
        raise WeightsError(
            f"backbone.pretrained: {path} holds {sum(taken)} of the {len(taken)} weight matrices of {name!r}; wanted "
            "the weights of that network, named as timm names them"
        )


def _first_numbers(tensor: Tensor) -> tuple[float, ...]:
    return tuple(tensor.detach().flatten()[:8].float().tolist())


def _check_adaptation(config: BackboneConfig, transformer: bool) -> None:
    if config.lora is not None and not transformer:
        raise ConfigError(
            f"backbone.lora: found adapters for {config.name!r}, which has no attention to adapt; wanted lora: null, "
            "or a vision transformer (vit_*, deit_*)"
        )
    if config.lora is not None and config.trainable_blocks:
        raise ConfigError(
            f"backbone.trainable_blocks: found {config.trainable_blocks} beside lora, which freezes every block; "
            "wanted null or 0, or lora: null"
        )
    if config.trainable_blocks and not transformer:
        raise ConfigError(
            f"backbone.trainable_blocks: found {config.trainable_blocks} for {config.name!r}, which has no transformer "
            "blocks; wanted null (everything is trained) or 0 (nothing is)"
        )


def _freeze_all_but_last(model: nn.Module, num_blocks: int | None) -> None:
    """Freeze from the patches on, so that no gradient is recorded before the first block that is trained."""
    if num_blocks is None:
        return
    if num_blocks > len(model.blocks):
        raise ConfigError(f"backbone.trainable_blocks: found {num_blocks}; wanted at most {len(model.blocks)}")
    model.requires_grad_(False)
    if num_blocks:
        model.blocks[-num_blocks:].requires_grad_(True)
        model.norm.requires_grad_(True)


def _batch_to_group_norm(module: nn.Module) -> None:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            groups = next(size for size in (8, 4, 2, 1) if child.num_features % size == 0)
            setattr(module, name, _GroupNormAct(groups, child))
        else:
            _batch_to_group_norm(child)


class _GroupNormAct(nn.GroupNorm):
    """GroupNorm followed by whatever drop and activation the replaced layer carried."""

    def __init__(self, groups: int, replaced: nn.BatchNorm2d):
        super().__init__(groups, replaced.num_features)
        self.drop = getattr(replaced, "drop", nn.Identity())
        self.act = getattr(replaced, "act", nn.Identity())

    def forward(self, features: Tensor) -> Tensor:
        return self.act(self.drop(F.group_norm(features, self.num_groups, self.weight, self.bias, self.eps)))
