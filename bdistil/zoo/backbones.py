"""Networks of torchvision and timm as students: ``torchvision:NAME`` and ``timm:NAME``.

A body is the library's network with random weights and without its classifier: it ends with the
features after pooling. `width` is the library's own width argument in 32nds: at width 32 the
network is as published, at width 8 its layers have a quarter of the channels, rounded as the
library rounds. In 32nds each step changes the largest layer, which has at least 288 channels where
a library rounds to multiples of 8, so that FLOPs grow strictly with the width. Where names of a
library differ in the multiplier alone (``mobilenetv3_small_050``), the width takes its place.

Batch norm becomes group norm with one group, as in the zoo's own students. A body then answers the
same in training and evaluation, for one example as for a batch, has no statistics to save, trains
stacked in cohorts and takes a lone last example. The library's initial weights stay.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from functools import partial
from typing import Any, Literal

from pydantic import PositiveInt
from torch import Tensor, nn

from bdistil.errors import SpecError
from bdistil.optional import require
from bdistil.zoo.libraries import check_listed, timm_package, torchvision_models
from bdistil.zoo.registry import (
    BuildStudent,
    StudentClass,
    described_student,
    register_library,
)
from bdistil.zoo.resnet import group_norm

PUBLISHED = 32  # the width at which a network is as published
LEAST = 8  # places a side after the stem of a ConvNeXt, which are halved three times


class Backbone(nn.Module):
    """A library's network as a student body.

    Args:
        network: from images (B, channels, height, width) to features (B, features).
        features: how many there are.
    """

    def __init__(self, network: nn.Module, features: int) -> None:
        super().__init__()
        self.network = network
        self.features = features

    def forward(self, x: Tensor) -> Tensor:
        """Features (B, features) of images (B, channels, height, width)."""
        features: Tensor = self.network(x)
        return features


@dataclass(frozen=True)
class Family:
    """Networks of one library that are widened in the same way.

    Attributes:
        names: a pattern of names, as of files.
        build: ``(name, input_shape, width, *, <options>) -> Backbone``.
        lr: learning rate that suits them.
    """

    names: str
    build: BuildStudent
    lr: float

    def has(self, name: str) -> bool:
        """Whether a network is one of them."""
        return fnmatchcase(name, self.names)


def torchvision_network(
    argument: str,
    name: str,
    input_shape: tuple[int, ...],
    width: int,
    *,
    stem_stride: Literal[1, 2] = 2,
) -> Backbone:
    """A network of torchvision.

    Args:
        argument: of its builder, by which all channels are multiplied.
        name: in torchvision's list.
        input_shape: (channels, height, width); any number of channels.
        width: in 32nds.
        stem_stride: of the first convolution; 1 spares small images a halving.
    """
    models, share = torchvision_models(), width / PUBLISHED
    if argument == "alpha":
        whole = models.MNASNet(share)
        layers = whole.layers
    else:
        whole = models.get_model(name, weights=None, **{argument: share})
        layers = whole.features
    classifier = next(m for m in whole.classifier.modules() if isinstance(m, nn.Linear))
    _set_stem(layers, input_shape[0], stem_stride)
    network = nn.Sequential(without_batch_norm(layers), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    return Backbone(network, classifier.in_features)


def timm_multiplied(
    module: str,
    function: str,
    name: str,
    input_shape: tuple[int, ...],
    width: int,
    *,
    stem_stride: Literal[1, 2] = 2,
) -> Backbone:
    """A network of timm whose channels have a multiplier.

    timm's public builders fix it, so what they call is called.

    Args:
        module: of ``timm.models``.
        function: in it.
        name: in timm's list.
        input_shape: (channels, height, width).
        width: in 32nds.
        stem_stride: of the first convolution; 1 spares small images a halving.
    """
    build = getattr(require(f"timm.models.{module}", "timm"), function)
    network = build(
        name, channel_multiplier=width / PUBLISHED, num_classes=0, in_chans=input_shape[0]
    )
    _set_stem(network, input_shape[0], stem_stride)
    return Backbone(without_batch_norm(network), network.head_hidden_size)


def timm_vit(
    size: int, name: str, input_shape: tuple[int, ...], width: int, *, patch: PositiveInt = 16
) -> Backbone:
    """A vision transformer of timm; its heads stay as many and become narrower.

    Args:
        size: of its tokens as published: 64 a head, so that each width divides by the heads.
        name: in timm's list.
        input_shape: (channels, height, width).
        width: in 32nds.
        patch: side of a patch, in pixels.

    Raises:
        SpecError: if the image is not made of whole patches.
    """
    channels, *sides = input_shape
    if any(side % patch for side in sides):
        raise SpecError(
            f"student 'timm:{name}' takes images of whole patches of {patch}x{patch} pixels, the "
            f"smallest {patch}x{patch}, not {_by(sides)}; set the option patch to a side that "
            f"divides both (space.options)."
        )
    network = timm_package().create_model(
        name,
        pretrained=False,
        num_classes=0,
        in_chans=channels,
        img_size=tuple(sides),
        patch_size=patch,
        embed_dim=size * width // PUBLISHED,
    )
    for block in network.blocks:  # as plain products, which are counted, stacked and exported
        block.attn.fused_attn = False
    return Backbone(network, network.head_hidden_size)


def timm_convnext(
    first: int, name: str, input_shape: tuple[int, ...], width: int, *, patch: Literal[1, 4] = 4
) -> Backbone:
    """A ConvNeXt of timm.

    Args:
        first: channels of its first stage as published; each further one has twice as many.
        name: in timm's list.
        input_shape: (channels, height, width).
        width: in 32nds.
        patch: side of a patch that the stem makes one place, in pixels.

    Raises:
        SpecError: if nothing would be left of the image before the last stage.
    """
    channels, *sides = input_shape
    least = patch * LEAST
    if min(sides) < least:
        smaller = f" or set its option patch to 1 ({LEAST}x{LEAST} and more)" * (patch > 1)
        raise SpecError(
            f"student 'timm:{name}' takes images of {least}x{least} pixels and more, not "
            f"{_by(sides)}; choose another student{smaller}."
        )
    network = timm_package().create_model(
        name,
        pretrained=False,
        num_classes=0,
        in_chans=channels,
        patch_size=patch,
        dims=tuple(max(1, first * 2**stage * width // PUBLISHED) for stage in range(4)),
    )
    return Backbone(network, network.head_hidden_size)


def without_batch_norm(network: nn.Module) -> nn.Module:
    """The network itself, with group norm in each place of batch norm, and what timm joins to it.

    Its initial weights are those of batch norm: scale one, shift zero.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                norm = group_norm(child.num_features)
                activation = getattr(child, "act", None)  # of timm's BatchNormAct2d
                joined = norm if activation is None else nn.Sequential(norm, activation)
                setattr(parent, name, joined)
    return network


def _set_stem(network: nn.Module, channels: int, stride: int) -> None:
    """Let the first convolution take so many channels, with that stride."""
    stem = next(m for m in network.modules() if isinstance(m, nn.Conv2d))
    stem.stride = (stride, stride)
    if stem.in_channels != channels:  # torchvision has no argument for it
        stem.in_channels = channels
        outputs, _, *kernel = stem.weight.shape
        stem.weight = nn.Parameter(stem.weight.new_empty(outputs, channels, *kernel))
        nn.init.kaiming_normal_(stem.weight, mode="fan_out")  # as torchvision does


def _by(sides: list[int]) -> str:
    return "x".join(map(str, sides))


def _of_torchvision(names: str, argument: str) -> Family:
    return Family(names, partial(torchvision_network, argument), lr=1e-2)


def _of_timm(names: str, module: str, function: str) -> Family:
    return Family(names, partial(timm_multiplied, module, function), lr=1e-2)


FAMILIES: dict[str, tuple[Family, ...]] = {
    "torchvision": (
        _of_torchvision("mobilenet_v2", "width_mult"),
        _of_torchvision("mobilenet_v3_*", "width_mult"),
        _of_torchvision("mnasnet*", "alpha"),
    ),
    "timm": (
        _of_timm("mobilenetv1_???", "efficientnet", "_gen_mobilenet_v1"),
        _of_timm("mobilenetv2_???", "efficientnet", "_gen_mobilenet_v2"),
        _of_timm("mobilenetv3_small_???", "mobilenetv3", "_gen_mobilenet_v3"),
        _of_timm("mobilenetv3_large_???", "mobilenetv3", "_gen_mobilenet_v3"),
        _of_timm("lcnet_???", "mobilenetv3", "_gen_lcnet"),
        _of_timm("mnasnet_???", "efficientnet", "_gen_mnasnet_b1"),
        _of_timm("efficientnet_b0", "efficientnet", "_gen_efficientnet"),
        _of_timm("efficientnet_lite0", "efficientnet", "_gen_efficientnet_lite"),
        *(
            Family(f"vit_{size}_patch16_224", partial(timm_vit, tokens), lr=2e-3)
            for size, tokens in (("tiny", 192), ("small", 384), ("base", 768))
        ),
        *(
            Family(f"convnext_{size}", partial(timm_convnext, first), lr=4e-3)
            for size, first in (("atto", 40), ("femto", 48), ("pico", 64), ("nano", 80))
        ),
    ),
}
"""What has a width, of each library."""

_LISTS: dict[str, Callable[[], list[str]]] = {
    "torchvision": lambda: torchvision_models().list_models(),
    "timm": lambda: timm_package().list_models(),
}


def backbone_class(library: str, network: str) -> StudentClass:
    """The student class of a library's network.

    Raises:
        SpecError: if the library has no such network, or we know of no width of it.
        MissingDependencyError: if the library is not installed.
    """
    known = _LISTS[library]()
    check_listed(network, known, library, "space.student")
    for family in FAMILIES[library]:
        if family.has(network):
            build: Callable[..., Any] = partial(family.build, network)
            return described_student(
                f"{library}:{network}",
                build,
                domains=("image",),
                lr=family.lr,
                growth=1.5,
                description=f"{network} of {library}, without its classifier",
            )
    wide = [name for name in known if any(family.has(name) for family in FAMILIES[library])]
    raise SpecError(
        f"student: {library}'s {network!r} has no width by which students could grow; "
        f"of {library}, choose {', '.join(wide)}."
    )


for _library in FAMILIES:
    register_library(_library, partial(backbone_class, _library))
