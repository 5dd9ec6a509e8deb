"""A weights file loads only when it is the one that was named: by hash, by content and by keys."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tomllib
from pathlib import Path

import pytest
import torch

from pipeline.arch import networks, upsamplers
from pipeline.errors import WeightsCorrupt, WeightsMissing
from pipeline.weights import LOCAL_FILE, Kind, Origin, WeightStore, unwrap


def saved(content) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def put(folder, data: bytes, *, name="mine", sha256=None, architecture="srvgg", kind="upsampler"):
    """A local entry for these bytes, and the store that knows it."""
    (folder / f"{name}.pth").write_bytes(data)
    digest = sha256 or hashlib.sha256(data).hexdigest()
    (folder / LOCAL_FILE).write_text(
        f'[[local]]\nname = "{name}"\nfile = "{name}.pth"\nsha256 = "{digest}"\nkind = "{kind}"\n'
        f'architecture = "{architecture}"\nlabel = "a copy"\n'
    )
    return WeightStore(folder)


def small_srvgg():
    return upsamplers.build_srvgg(scale=2, features=8, convolutions=2)


def test_every_shipped_entry_is_complete():
    entries = {e.name: e for e in WeightStore(Path("nowhere"), allow_preview=True).known()}
    assert {"gfpgan-1.4", "gfpgan-1", "restoreformer", "retinaface-resnet50", "parsenet", "realesrgan-x2plus"} <= set(
        entries
    )
    for entry in entries.values():
        if entry.origin is Origin.RELEASED:
            assert entry.url is not None
            assert entry.url.startswith("https://github.com/")
            assert entry.url.endswith("/" + entry.file)
        if entry.name != "gfpgan-1":
            assert len(entry.sha256) == 64
            assert entry.bytes > 0
        assert entry.licence


def test_a_missing_file_says_how_to_get_it(tmp_path):
    store = WeightStore(tmp_path)
    with pytest.raises(WeightsMissing, match=r"photomend models fetch gfpgan-1\.4"):
        store.load("gfpgan-1.4")
    with pytest.raises(WeightsMissing, match="photomend models list"):
        store.find("gfpgan-9")


def test_the_preview_pack_is_there_only_where_it_is_allowed(tmp_path):
    with pytest.raises(WeightsMissing, match="PHOTOMEND_ALLOW_PREVIEW"):
        WeightStore(tmp_path).find("preview")
    assert WeightStore(tmp_path, allow_preview=True).find("preview").origin is Origin.PREVIEW
    assert len(WeightStore(tmp_path, allow_preview=True).load("preview")) > 10


@pytest.mark.parametrize("wrapper", [None, "params", "params_ema"])
def test_a_local_file_loads_unwrapped_and_without_module(tmp_path, wrapper):
    state = {f"module.{k}": v for k, v in small_srvgg().state_dict().items()}
    store = put(tmp_path, saved({wrapper: state} if wrapper else state))
    loaded = store.load("mine")
    assert set(loaded) == set(small_srvgg().state_dict())
    assert store.find("mine").origin is Origin.LOCAL
    assert store.find("mine").kind is Kind.UPSAMPLER
    assert networks.build("srvgg", loaded, name="mine").scale == 2


def test_the_moving_average_is_preferred():
    ema, plain = {"a": torch.zeros(1)}, {"a": torch.ones(1)}
    assert unwrap({"params": plain, "params_ema": ema}, "f")["a"] == 0


def test_another_hash_is_refused_before_anything_is_unpickled(tmp_path):
    marker = tmp_path / "ran"
    store = put(tmp_path, pickle.dumps(Malicious(marker)), sha256="0" * 64)
    with pytest.raises(WeightsCorrupt, match="0" * 64):
        store.load("mine")
    with pytest.raises(WeightsCorrupt):
        store.verify("mine")
    assert not marker.exists()


class Malicious:
    """What a hostile checkpoint does: run a command when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.system, (f"touch {self.marker}",)


@pytest.mark.parametrize("as_archive", [True, False])
def test_a_file_that_would_run_code_is_refused_even_with_the_right_hash(tmp_path, as_archive):
    marker = tmp_path / "ran"
    data = saved({"params": Malicious(marker)}) if as_archive else pickle.dumps(Malicious(marker))
    with pytest.raises(WeightsCorrupt, match=r"mine\.pth"):
        put(tmp_path, data).load("mine")
    assert not marker.exists()
    # The fault is real: the same bytes, unpickled without care, do run.
    if not as_archive:
        pickle.loads(data)
        assert marker.exists()


@pytest.mark.parametrize(
    "data",
    [b"", b"no checkpoint at all", saved(small_srvgg().state_dict())[:-400], saved([1, 2]), saved({}), saved({"a": 1})],
    ids=["empty", "text", "truncated", "a list", "nothing", "a number"],
)
def test_what_is_not_a_state_dict_is_refused(tmp_path, data):
    with pytest.raises(WeightsCorrupt):
        put(tmp_path, data).load("mine")


@pytest.mark.parametrize("architecture", [a for a in networks.BUILDERS if a != "srvgg"])
def test_another_architectures_file_is_refused_with_what_was_expected(architecture):
    state = small_srvgg().state_dict()
    with pytest.raises(WeightsCorrupt, match=f"expected the .*tensors of {architecture}"):
        networks.build(architecture, state, name="mine")


def test_missing_surplus_and_misshapen_tensors_are_named():
    state = dict(small_srvgg().state_dict())
    with pytest.raises(WeightsCorrupt, match=r"lacks body\.1\.weight"):
        networks.build("srvgg", {k: v for k, v in state.items() if k != "body.1.weight"}, name="mine")
    with pytest.raises(WeightsCorrupt, match="has besides extra"):
        networks.build("srvgg", state | {"extra": torch.zeros(1)}, name="mine")
    with pytest.raises(WeightsCorrupt, match=r"body\.1\.weight \(3,\) instead of \(8,\)"):
        networks.build("srvgg", state | {"body.1.weight": torch.zeros(3)}, name="mine")
    with pytest.raises(WeightsCorrupt, match="no network of architecture 'unheard-of'"):
        networks.build("unheard-of", state, name="mine")


@pytest.mark.parametrize(
    "text",
    [
        "[[local",
        '[[local]]\nname = "a"\n',
        '[[local]]\nname="a"\nfile="../../etc/passwd"\nkind="parser"\narchitecture="srvgg"\nsha256="00"\n',
        '[[local]]\nname="a"\nfile="a.pth"\nkind="parser"\narchitecture="srvgg"\n',
        '[[local]]\nname="a"\nfile="a.pth"\nkind="toaster"\narchitecture="srvgg"\nsha256="00"\n',
    ],
    ids=["no toml", "incomplete", "outside the folder", "no hash", "unknown kind"],
)
def test_a_faulty_local_toml_is_refused_by_its_name(tmp_path, text):
    (tmp_path / LOCAL_FILE).write_text(text)
    with pytest.raises(WeightsCorrupt, match=LOCAL_FILE.replace(".", r"\.")):
        WeightStore(tmp_path)


def test_the_shipped_list_is_valid_toml_with_unique_names():
    from importlib import resources

    rows = tomllib.loads(resources.files("pipeline").joinpath("weights.toml").read_text())["weights"]
    names = [row["name"] for row in rows]
    assert len(names) == len(set(names))


@pytest.mark.shared
def test_the_real_detector_matches_its_published_hash(shared_dir):
    store = WeightStore(shared_dir / "weights")
    assert store.verify("retinaface-mobilenet0.25") == store.find("retinaface-mobilenet0.25").sha256


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="only Linux tells what is mapped")
def test_weights_are_mapped_from_their_file_and_not_copied(tmp_path):
    state = upsamplers.build_srvgg(scale=2, features=32, convolutions=2).state_dict()
    store = put(tmp_path, saved(state))
    network = networks.build("srvgg", store.load("mine"), name="mine")
    assert str(tmp_path / "mine.pth") in Path("/proc/self/maps").read_text()
    assert all(torch.equal(value, state[key]) for key, value in network.module.state_dict().items())


def test_a_file_of_torch_s_old_format_loads_as_well(tmp_path):
    buffer = io.BytesIO()
    state = small_srvgg().state_dict()
    torch.save(state, buffer, _use_new_zipfile_serialization=False)
    loaded = put(tmp_path, buffer.getvalue()).load("mine")
    assert all(torch.equal(loaded[key], state[key]) for key in state)
