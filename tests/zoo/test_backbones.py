"""Networks of torchvision and timm as student bodies."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from bdistil.core.cost import flops, parameters
from bdistil.errors import MissingDependencyError, SpecError
from bdistil.testing import STUDENT_CHECKS, check_student_exports
from bdistil.testing.student_contract import stacks
from bdistil.zoo import student_class
from bdistil.zoo.backbones import FAMILIES, without_batch_norm

MOBILENET = "torchvision:mobilenet_v3_small"
OF_TIMM = "timm:mobilenetv3_small_050"
CASES = [
    (MOBILENET, (3, 32, 32)),
    (MOBILENET, (1, 28, 28)),
    ("torchvision:mnasnet0_5(stem_stride=1)", (2, 9, 12)),
    (OF_TIMM, (3, 32, 32)),
    ("timm:vit_tiny_patch16_224(patch=4)", (1, 28, 20)),
    ("timm:convnext_atto", (1, 32, 36)),
]
IDS = [f"{name}-{'x'.join(map(str, shape))}" for name, shape in CASES]


def body_of(name, shape, width=3):
    library = name.partition(":")[0]
    pytest.importorskip(library)
    torch.manual_seed(0)
    return student_class(name).build(shape, width)


@pytest.fixture
def without(monkeypatch):
    """Libraries that cannot be imported from here on."""

    def hide(library):
        monkeypatch.setitem(__import__("sys").modules, library, None)

    return hide


@pytest.mark.parametrize(("name", "shape"), CASES, ids=IDS)
def test_bodies_keep_the_contract(name, shape):
    pytest.importorskip(name.partition(":")[0])
    for check in STUDENT_CHECKS:
        check(name, shape)
    assert stacks(name, shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [CASES[0], *(pytest.param(*case, marks=pytest.mark.nightly) for case in CASES[1:])],
)
def test_exported_programs_answer_alike(name, shape):
    pytest.importorskip(name.partition(":")[0])
    check_student_exports(name, shape)


@pytest.mark.parametrize("library", FAMILIES)
def test_each_width_costs_more_than_the_one_before(library):
    """One of each family; of steps of a 32nd those are narrowest to the library's rounding."""
    pytest.importorskip(library)
    listed = {
        "torchvision": lambda: __import__("torchvision").models.list_models(),
        "timm": lambda: __import__("timm").list_models(),
    }[library]()
    for family in FAMILIES[library]:
        name = next(name for name in listed if family.has(name))
        entry, shape = student_class(f"{library}:{name}"), (3, 32, 32)
        with torch.device("meta"):
            bodies = [entry.build(shape, width) for width in (1, 2, 3, 32, 33)]
        for count in ([flops(b, shape) for b in bodies], [parameters(b) for b in bodies]):
            assert all(a < b for a, b in pairwise(count)), name


def test_width_32_is_torchvisions_network_but_for_classifier_and_norms():
    torchvision = pytest.importorskip("torchvision")
    torch.manual_seed(0)
    whole = without_batch_norm(torchvision.models.mobilenet_v3_small(num_classes=7)).eval()
    body, x = body_of(MOBILENET, (3, 40, 40), 32), torch.randn(2, 3, 40, 40)
    layers = dict(zip(body.parameters(), whole.features.parameters(), strict=True))
    with torch.no_grad():
        for own, published in layers.items():
            own.copy_(published)
    torch.testing.assert_close(whole.classifier(body(x)), whole(x))
    assert body.features == 576


@pytest.mark.parametrize(
    ("name", "alike", "width"),
    [(OF_TIMM, "mobilenetv3_small_050", 16), ("timm:vit_tiny_patch16_224", "vit_tiny", 32)],
)
def test_widths_are_32nds_of_timms_published_channels(name, alike, width):
    timm = pytest.importorskip("timm")
    with torch.device("meta"):
        full = {"vit_tiny": "vit_tiny_patch16_224"}.get(alike, alike)
        published = timm.create_model(full, pretrained=False, num_classes=0)
        body = student_class(name).build((3, 224, 224), width)
    assert parameters(body) == parameters(published)
    assert body.features == published.head_hidden_size


def test_norms_see_one_example_and_keep_what_timm_joins_to_them():
    timm = pytest.importorskip("timm")
    before = timm.create_model("mobilenetv3_small_050", pretrained=False, num_classes=0)
    joined = [type(m.act) for m in before.modules() if isinstance(m, nn.BatchNorm2d)]
    after = without_batch_norm(before)
    assert not any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in after.modules())
    pairs = [m for m in after.modules() if isinstance(m, nn.Sequential)]
    found = [type(m[1]) for m in pairs if len(m) == 2 and isinstance(m[0], nn.GroupNorm)]
    assert found == joined


def test_a_grey_image_is_one_channel_of_the_stem():
    grey, colour = (body_of(MOBILENET, (channels, 28, 28)) for channels in (1, 3))
    stem = next(m for m in grey.modules() if isinstance(m, nn.Conv2d))
    assert stem.weight.shape[1] == 1
    assert parameters(colour) - parameters(grey) == 2 * stem.weight.numel()
    # as torchvision draws weights: variance 2 / (outputs x kernel), whatever the channels
    wide = next(m for m in body_of(MOBILENET, (1, 28, 28), 640).modules() if hasattr(m, "stride"))
    assert wide.weight.std().item() == pytest.approx((2 / (320 * 9)) ** 0.5, rel=0.1)


def test_a_stem_of_stride_one_sees_twice_the_places():
    shape = (3, 16, 16)
    narrow, fine = (body_of(f"{MOBILENET}(stem_stride={s})", shape) for s in (2, 1))
    assert flops(fine, (3, 16, 16)) == flops(narrow, (3, 32, 32))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("torchvision:mobilenet_v3_smal", "no model 'mobilenet_v3_smal'; did you mean 'mobilenet_"),
        ("torchvision:resnet18", "'resnet18' has no width .* choose .*mobilenet_v2, mobilenet_v3"),
        ("torchvision:", "no model ''; see torchvision's list"),
        ("torch:resnet18", "'torch:resnet18' is unknown"),
    ],
)
def test_names_without_a_student_are_told(name, message):
    pytest.importorskip("torchvision")
    with pytest.raises(SpecError, match=message):
        student_class(name)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("timm:mobilenetv3_smal_050", "no model 'mobilenetv3_smal_050'; did you mean"),
        ("timm:resnet18", "'resnet18' has no width .* choose .*mobilenetv3_small_050, .*vit_tiny"),
        ("timm:mobilenetv3_small_050.x", "no model"),
    ],
)
def test_names_of_timm_without_a_student_are_told(name, message):
    pytest.importorskip("timm")
    with pytest.raises(SpecError, match=message):
        student_class(name)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        (
            "vit_tiny_patch16_224",
            (3, 28, 28),
            "patches of 16x16 pixels, the smallest 16x16, not 28",
        ),
        ("convnext_atto", (3, 28, 31), "32x32 pixels and more, not 28x31; .* patch to 1"),
        ("convnext_atto(patch=1)", (3, 7, 9), "8x8 pixels and more, not 7x9; choose another st"),
    ],
)
def test_images_that_are_too_small_are_told(name, shape, message):
    pytest.importorskip("timm")
    with pytest.raises(SpecError, match=message):
        student_class(f"timm:{name}").build(shape, 4)


def test_options_and_shapes_are_checked_as_those_of_the_zoo():
    pytest.importorskip("torchvision")
    with pytest.raises(SpecError, match=r"stem_stride is 3"):
        student_class(f"{MOBILENET}(stem_stride=3)")
    with pytest.raises(SpecError, match=r"'torchvision:mobilenet_v3_small' takes .* not \(5,\)"):
        student_class(MOBILENET).build((5,), 3)


@pytest.mark.parametrize(
    ("name", "extra"), [(MOBILENET, "vision"), (OF_TIMM, "timm")], ids=["torchvision", "timm"]
)
def test_the_extra_of_a_missing_library_is_named(name, extra, without):
    without(name.partition(":")[0])
    with pytest.raises(MissingDependencyError, match=rf"pip install 'bdistil\[{extra}\]'"):
        student_class(name)
