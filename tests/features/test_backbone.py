"""Stage maps of real networks, and what is said about weights that do not fit."""

import hashlib
import io
import re
from argparse import Namespace
from collections.abc import Callable
from copy import deepcopy
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torchvision.models import Weights, WeightsEnum
from torchvision.models.feature_extraction import create_feature_extractor

from fdhmfe.data.views import Preprocessing
from fdhmfe.features import backbone
from fdhmfe.features.backbone import (
    StageBackbone,
    deepest_nodes,
    frozen,
    pretrained,
    stage_extractor,
)
from fdhmfe.features.embedded import EmbeddedNet

SMALL = "shufflenet_v2_x0_5"  # 5 MB of weights
TIMM = "test_efficientnet"  # 1.4 MB
SIZES = dict(stages=3, grid=7, size=64)


@pytest.fixture(scope="module")
def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torchvision.models.get_model(SMALL, weights=None).eval()


@pytest.fixture(scope="module")
def weights(network, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("weights") / f"{SMALL}.safetensors"
    save_file(network.state_dict(), path)
    return path


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def right(network, images) -> list[torch.Tensor]:
    """The stage maps of the network in memory, by no file."""
    extractor = stage_extractor(deepcopy(network), SIZES["stages"], SIZES["size"])
    backbone = StageBackbone(extractor, SIZES["grid"], Preprocessing(SIZES["size"])).eval()
    return backbone.to(memory_format=torch.channels_last)(images)


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2", SMALL])
def test_deepest_nodes_give_maps_of_decreasing_size(name, images):
    network = torchvision.models.get_model(name, weights=None).eval()
    nodes = deepest_nodes(network, 64)
    maps = create_feature_extractor(network, nodes)(images)
    sides = [maps[node].shape[-1] for node in nodes]
    assert sides == sorted(set(sides), reverse=True)
    assert len(sides) >= 4
    assert all(
        maps[node].shape[-2:] == (side, side) for node, side in zip(nodes, sides, strict=True)
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet18", ["layer1", "layer2", "layer3", "layer4"]),
        ("resnet50", ["layer1", "layer2", "layer3", "layer4"]),
        ("mobilenet_v2", ["features.7.conv.0", "features.14.conv.0", "features"]),
    ],
)
def test_deepest_nodes_are_the_widest_of_their_size(name, expected):
    network = torchvision.models.get_model(name, weights=None)
    assert deepest_nodes(network, 64)[-len(expected) :] == expected


@pytest.mark.parametrize("name", ["resnet18", "mobilenet_v2"])
def test_a_frozen_backbone_gives_the_same_maps_without_batch_norms(name, images):
    torch.manual_seed(0)
    network = torchvision.models.get_model(name, weights=None).train()
    network(torch.randn(8, 3, 64, 64))  # running statistics other than 0 and 1
    backbone = StageBackbone(
        stage_extractor(network.eval(), 3, 64), grid=7, preprocessing=Preprocessing(64)
    )
    before = backbone(images)
    folded = frozen(backbone)
    for one, other in zip(before, folded(images), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in folded.modules())


def test_deepest_nodes_leave_no_hooks(network):
    deepest_nodes(network, 64)
    assert not any(module._forward_hooks for module in network.modules())


def test_pretrained_loads_the_file_and_gives_maps(network, weights, images):
    backbone = pretrained(SMALL, weights, **SIZES)
    maps = backbone(images)
    # 64 px: strides 8, 16, 32 give 8, 4, 2 per side; 8 is pooled to the grid, 7
    assert [x.shape for x in maps] == [(2, 48, 7, 7), (2, 96, 4, 4), (2, 1024, 2, 2)]
    logits = network.fc(maps[-1].mean((2, 3)))  # what follows the last stage in this network
    torch.testing.assert_close(logits, network(images))
    assert not backbone.training


def test_maps_by_hand():
    plane = torch.arange(16.0).reshape(1, 1, 4, 4)
    backbone = StageBackbone(lambda x: [x, x[..., :2, :2]], 2, Preprocessing(4))
    pooled, whole = backbone(torch.cat([plane, -plane], dim=1))
    # the mean of each 2x2 block; a map that fits the grid stays as it is
    assert pooled[0, 0].tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert whole[0, 0].tolist() == [[0, 1], [4, 5]]
    assert all(torch.equal(x[:, 1], -x[:, 0]) for x in (pooled, whole))


def test_embedded_net_has_four_stages(images):
    network = EmbeddedNet(outputs=5)
    assert network(images).shape == (2, 5)
    backbone = StageBackbone(stage_extractor(network, 4, 64), 8, Preprocessing(64)).eval()
    shapes = [x.shape for x in backbone(images)]
    assert shapes == [(2, 16, 8, 8), (2, 32, 8, 8), (2, 64, 8, 8), (2, 128, 4, 4)]
    assert sum(p.numel() for p in network.parameters()) < 500_000


def test_more_stages_than_there_are():
    with pytest.raises(ValueError, match=r"has 4 square stage maps, 5 were asked for"):
        stage_extractor(EmbeddedNet(3), 5, 64)


@pytest.mark.parametrize(
    ("wrong", "nearest"), [("resnet_50", "resnet50"), ("mobilenetv2", "mobilenet_v2")]
)
def test_unknown_backbone_names_the_nearest(wrong, nearest):
    with pytest.raises(ValueError, match=f"'{wrong}' is not known; did you mean '{nearest}'"):
        pretrained(wrong, None, **SIZES)


# What weight files hold: how it is made of a network's state, and what comes of it

SAME = ""  # the maps of the network it was made of


def renamed(prefix: str) -> Callable:
    return lambda state: {f"{prefix}{name}": value for name, value in state.items()}


def changed(value: float, *names: str) -> Callable:
    """The first number of these tensors is another."""

    def change(state):
        state = {name: tensor.clone() for name, tensor in state.items()}
        for name in names:
            state[name].view(-1)[0] = value
        return state

    return change


def cast(dtype: torch.dtype) -> Callable:
    return lambda state: {
        name: value.to(dtype) if value.is_floating_point() else value
        for name, value in state.items()
    }


def without(ending: str) -> Callable:
    return lambda state: {k: v for k, v in state.items() if not k.endswith(ending)}


def zeros(state):
    return {name: torch.zeros_like(value) for name, value in state.items()}


BIG = "stage4.3.branch2.6.running_var"
CODE = r"it holds code \(torch\.nn\.modules\.linear\.Linear\), which is not run"
NAN = r"1 tensors hold NaN, infinite or impossible values, first "
HELD = {
    # Wrappers and prefixes
    "as it is": (lambda state: state, SAME),
    "state_dict, with more beside it": (
        lambda state: {"epoch": 9, "arch": "net", "state_dict": state, "best": [0.5]},
        SAME,
    ),
    "model": (lambda state: {"model": state}, SAME),
    "model_state_dict": (lambda state: {"model_state_dict": state, "lr": 0.1}, SAME),
    "averaged beside the last": (
        lambda state: {"model": zeros(state), "model_ema": state, "optimizer": {"state": {}}},
        SAME,
    ),
    "options of timm's training": (
        lambda state: {"state_dict": state, "args": Namespace(lr=0.1)},
        SAME,
    ),
    "moments of an optimiser": (
        lambda state: {"model": state, "optimizer": {"state": {0: {"m": torch.ones(9)}}}},
        SAME,
    ),
    "module.": (renamed("module."), SAME),
    "backbone.": (renamed("backbone."), SAME),
    "encoder.": (renamed("encoder."), SAME),
    "_orig_mod.": (renamed("_orig_mod."), SAME),
    "several at once": (
        lambda state: {"model": renamed("_orig_mod.module.backbone.")(state)},
        SAME,
    ),
    "other names": (
        renamed("my_"),
        r"0 of the 280 tensors it needs fit, conv1\.0\.weight does not",
    ),
    # Heads, types and extra keys
    "no head": (lambda state: {k: v for k, v in state.items() if not k.startswith("fc.")}, SAME),
    "head of 5 classes": (
        lambda state: state | {"fc.weight": torch.ones(5, 1024), "fc.bias": torch.ones(5)},
        SAME,
    ),
    "other head beside it": (lambda state: state | {"hash.weight": torch.ones(48, 1024)}, SAME),
    "double precision": (cast(torch.float64), SAME),
    "no counters": (without("num_batches_tracked"), SAME),
    "counters of a profiler": (lambda state: state | {"conv1.0.total_ops": torch.ones(1)}, SAME),
    "no batch norms": (without("running_var"), r"224 of the 280 tensors it needs fit"),
    "one more layer": (
        lambda state: state | {"stage4.4.branch2.0.weight": torch.ones(9)},
        r"280 of the 280 tensors it needs fit, but it has no stage4\.4\.\S+; choose the back",
    ),
    "whole numbers": (
        lambda state: {name: value.to(torch.int8) for name, value in state.items()},
        "0 of the 280 tensors it needs fit",
    ),
    "sparse": (
        lambda state: state | {"conv1.0.weight": state["conv1.0.weight"].to_sparse()},
        r"279 of the 280 tensors it needs fit, conv1\.0\.weight does not",
    ),
    "no numbers": (
        lambda state: {name: value.to("meta") for name, value in state.items()},
        "0 of the 280 tensors it needs fit",
    ),
    # Broken values
    "NaN": (changed(torch.nan, "conv1.0.weight"), NAN + r"conv1\.0\.weight"),
    "infinite": (changed(-torch.inf, "conv5.0.weight"), NAN + r"conv5\.0\.weight"),
    "NaN in a mean of a batch norm": (changed(torch.nan, "conv1.1.running_mean"), NAN),
    "infinite variance": (changed(torch.inf, BIG), NAN + re.escape(BIG)),
    "negative variance": (changed(-1.0, BIG), NAN + re.escape(BIG)),
    "too large for single precision": (
        lambda state: changed(1e200, "conv1.0.weight")(cast(torch.float64)(state)),
        NAN,
    ),
    "NaN in a head that is not used": (changed(torch.nan, "fc.weight"), SAME),
    # What holds no weights by name
    "whole network": (lambda state: torch.nn.Linear(2, 2), CODE),
    "whole network beside it": (lambda state: [state, torch.nn.Linear(2, 2)], CODE),
    "numbers": (lambda state: {"a": 1}, "hold no tensors by name"),
    "one tensor": (lambda state: torch.ones(3), "hold no tensors by name"),
    "a list": (lambda state: list(state.values()), "hold no tensors by name"),
}


@pytest.mark.parametrize(("make", "expected"), HELD.values(), ids=HELD)
def test_weight_files(make, expected, network, images, right, tmp_path):
    torch.save(make(network.state_dict()), tmp_path / "w.pth")
    if expected:
        with pytest.raises(ValueError, match=rf"w\.pth .*{expected}") as caught:
            pretrained(SMALL, tmp_path / "w.pth", **SIZES)
        assert "\n" not in str(caught.value)
    else:
        maps = pretrained(SMALL, tmp_path / "w.pth", **SIZES)(images)
        assert all(torch.equal(a, b) for a, b in zip(maps, right, strict=True))


@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth"])
def test_kind_of_a_file_is_told_from_its_content(kind, network, images, right, tmp_path):
    if kind == "safetensors":
        save_file(network.state_dict(), tmp_path / "w.bin")
    else:
        new = kind == "pth"
        torch.save(network.state_dict(), tmp_path / "w.bin", _use_new_zipfile_serialization=new)
    maps = pretrained(SMALL, tmp_path / "w.bin", **SIZES)(images)
    assert all(torch.equal(a, b) for a, b in zip(maps, right, strict=True))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_read_as_single(dtype, network, images, right, tmp_path):
    torch.save(cast(dtype)(network.state_dict()), tmp_path / "half.pth")
    backbone = pretrained(SMALL, tmp_path / "half.pth", **SIZES)
    assert all(value.dtype != dtype for value in backbone.state_dict().values())
    for one, other in zip(backbone(images), right, strict=True):
        torch.testing.assert_close(one, other, rtol=0.1, atol=0.05)


@pytest.mark.parametrize(
    ("asked", "needed", "given", "expected"),
    [
        ("resnet18", 100, SMALL, rf"0 of the 100 .*they fit backbone='{SMALL}'"),
        ("resnet18", 100, "resnet34", r"100 of the 100 .*no layer1\.2\.\S+; .*='resnet34'"),
        ("resnet34", 180, "resnet18", r"100 of the 180 .*layer1\.2\.\S+ does not; .*='resnet18'"),
        (f"timm/{TIMM}", 73, SMALL, rf"0 of the 73 .*they fit backbone='{SMALL}'"),
        (SMALL, 280, f"timm/{TIMM}", r"0 of the 280 .*; choose the backbone that they belong to"),
    ],
)
def test_weights_of_another_network(asked, needed, given, expected, tmp_path):
    timm_name = given.removeprefix("timm/")
    made = timm.create_model(timm_name) if timm_name != given else torchvision_model(given)
    save_file(made.state_dict(), tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match=rf"w\.safetensors do not fit {asked}: {expected}"):
        pretrained(asked, tmp_path / "w.safetensors", **SIZES)


def torchvision_model(name: str) -> torch.nn.Module:
    return torchvision.models.get_model(name, weights=None)


@pytest.mark.parametrize("name", ["mnasnet0_5", "densenet121"])
def test_networks_whose_modules_have_versions(name, tmp_path):
    """torch notes versions of modules beside tensors; old DenseNets name them in another way."""
    state = torchvision_model(name).state_dict()
    old = {re.sub(r"(layer\d+\.(norm|conv))(\d)", r"\1.\3", k): v for k, v in state.items()}
    save_file(old, tmp_path / "w.safetensors")
    backbone = pretrained(name, tmp_path / "w.safetensors", **SIZES)
    loaded = {k.removeprefix("extractor.extractor."): v for k, v in backbone.state_dict().items()}
    assert loaded and all(torch.equal(value, state[key]) for key, value in loaded.items())


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
@pytest.mark.parametrize("file", ["w.safetensors", "w.pth", "w.pt"])
@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "it is empty"),
        (b"hello", 'it is text that begins "hello"'),
        (b"<html><title>Not found</title></html>", 'it is a web page titled "Not found"'),
        (b'{"error": "log in"}', "it is text that begins"),
        (bytes(100), "it is cut off or damaged"),
        (b"\x08" + bytes(7) + b'{"a": }', "it is cut off or damaged"),
        (b"PK\x03\x04" + bytes(100), "it is cut off or damaged"),
    ],
    ids=["empty", "text", "page", "JSON", "zeros", "odd safetensors", "odd zip"],
)
def test_file_that_holds_no_weights_is_named(content, expected, file, name, tmp_path):
    (tmp_path / file).write_bytes(content)
    with pytest.raises(ValueError, match=f"{file} cannot be read: {expected}") as caught:
        pretrained(name, tmp_path / file, **SIZES)
    assert "\n" not in str(caught.value) and "weights_only" not in str(caught.value)


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
@pytest.mark.parametrize("kind", ["safetensors", "pth", "old pth", "TorchScript"])
def test_cut_off_or_other_file_is_named(kind, name, network, weights, tmp_path):
    file, expected = tmp_path / "w.pth", "it is cut off or damaged"
    if kind == "safetensors":
        file.write_bytes(weights.read_bytes()[:10_000])
    elif kind == "TorchScript":
        torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(2)).save(file)
        expected = r"it holds code \(TorchScript\), which is not run"
    else:
        torch.save(network.state_dict(), file, _use_new_zipfile_serialization=kind == "pth")
        file.write_bytes(file.read_bytes()[:-10_000])
    with pytest.raises(ValueError, match=rf"w\.pth cannot be read: {expected}"):
        pretrained(name, file, **SIZES)


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
def test_code_in_a_file_is_never_run(name, tmp_path):
    (tmp_path / "w.pth").write_bytes(evil(tmp_path))
    with pytest.raises(ValueError, match=r"w\.pth cannot be read: it holds code"):
        pretrained(name, tmp_path / "w.pth", **SIZES)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", [SMALL, f"timm/{TIMM}"])
def test_absent_weights_are_named(tmp_path, name):
    with pytest.raises(ValueError, match=r"absent\.pth is not a file"):
        pretrained(name, tmp_path / "absent.pth", **SIZES)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (lambda state: {"state_dict": renamed("module.")(state)}, SAME),
        (without("classifier.weight"), SAME),
        (lambda state: state | {"classifier.weight": torch.ones(5, 256)}, SAME),
        (without("bn1.weight"), r"timm/\S+: 67 of the 73 tensors it needs fit"),
        (changed(torch.nan, "bn2.running_mean"), NAN + r"bn2\.running_mean"),
    ],
)
def test_timm_weight_files(make, expected, images, tmp_path):
    torch.manual_seed(0)
    state = timm.create_model(TIMM, pretrained=False).state_dict()
    torch.save(state, tmp_path / "right.pth")
    torch.save(make(state), tmp_path / "w.pth")
    if expected:
        with pytest.raises(ValueError, match=rf"w\.pth .*{expected}"):
            pretrained(f"timm/{TIMM}", tmp_path / "w.pth", **SIZES)
        return
    files = (tmp_path / "right.pth", tmp_path / "w.pth")
    right, maps = (pretrained(f"timm/{TIMM}", file, **SIZES)(images) for file in files)
    assert all(torch.equal(a, b) for a, b in zip(maps, right, strict=True))


# Weights that are published


def evil(folder: Path) -> bytes:
    """A file that makes `folder`/ran when it is unpickled as it asks for."""

    class Evil:
        def __reduce__(self):
            return Path.touch, (folder / "ran",)

    buffer = io.BytesIO()
    torch.save(Evil(), buffer)
    return buffer.getvalue()


@pytest.fixture
def publish(monkeypatch, tmp_path):
    """A function that serves bytes in place of the owner's weights; torch keeps what it fetches."""
    site = ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(SimpleHTTPRequestHandler, directory=tmp_path)
    )
    thread = Thread(target=site.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path / "hub"))

    def serve(served: bytes | None, hashed: bytes) -> Path:
        file = f"net-{hashlib.sha256(hashed).hexdigest()[:8]}.pth"
        if served is not None:
            (tmp_path / file).write_bytes(served)
        url = f"http://127.0.0.1:{site.server_port}/{file}"
        published = WeightsEnum("Published", {"DEFAULT": Weights(url, None, {})})
        monkeypatch.setattr(backbone, "get_model_weights", lambda name: published)
        return tmp_path / "hub" / "checkpoints" / file

    yield serve
    site.shutdown()
    site.server_close()
    thread.join()


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda content: content, SAME),
        (lambda content: b"<html>Log in</html>", "cannot download .*invalid hash value"),
        (lambda content: content[:-9], "cannot download .*invalid hash value"),
        (lambda content: None, "cannot download .*404"),
    ],
    ids=["good", "login page", "cut off", "gone"],
)
def test_published_weights(change, expected, publish, network, images, right):
    buffer = io.BytesIO()
    torch.save(network.state_dict(), buffer)
    kept = publish(change(buffer.getvalue()), buffer.getvalue())
    if expected:
        with pytest.raises(ConnectionError, match=f"{expected}.*; give a file with weights="):
            pretrained(SMALL, None, **SIZES)
        assert not kept.exists()
        return
    for _ in range(2):  # fetched, then kept
        maps = pretrained(SMALL, None, **SIZES)(images)
        assert all(torch.equal(a, b) for a, b in zip(maps, right, strict=True))
    kept.write_bytes(kept.read_bytes()[:-10_000])
    with pytest.raises(ValueError, match=rf"{kept.name} cannot be read: it is cut off or damaged"):
        pretrained(SMALL, None, **SIZES)


def test_code_in_published_weights_is_never_run(publish, tmp_path):
    kept = publish(evil(tmp_path), evil(tmp_path))
    for _ in range(2):  # fetched, then kept
        with pytest.raises(ValueError, match=rf"{kept.name} cannot be read: it holds code"):
            pretrained(SMALL, None, **SIZES)
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pth"])
def test_timm_network_with_a_weight_file(tmp_path, images, suffix):
    torch.manual_seed(0)
    whole = timm.create_model(TIMM, pretrained=False).eval()
    path = tmp_path / f"w{suffix}"
    (save_file if suffix == ".safetensors" else torch.save)(whole.state_dict(), path)
    backbone = pretrained(f"timm/{TIMM}", path, **SIZES)
    maps = backbone(images)
    assert [x.shape[2:] for x in maps] == [(7, 7), (4, 4), (2, 2)]
    direct = whole.forward_intermediates(images, intermediates_only=True)[-1]
    torch.testing.assert_close(maps[-1], direct)
    assert not backbone.training


def test_unknown_timm_network_names_the_nearest():
    with pytest.raises(ValueError, match=r"'timm/resnet_50'.*did you mean 'timm/resnet50'"):
        pretrained("timm/resnet_50", None, **SIZES)


def test_more_timm_stages_than_there_are(tmp_path):
    torch.save(timm.create_model(TIMM, pretrained=False).state_dict(), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=f"timm/{TIMM} has 5 stage maps, 9 were asked for"):
        pretrained(f"timm/{TIMM}", tmp_path / "w.pth", stages=9, grid=7, size=64)
