"""Engines are chosen by what is here, what is wished, what a measurement says, and what a canary shows."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import threading
import time
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.arch import networks, upsamplers
from pipeline.arch.networks import Network
from pipeline.casting import CANARY_PSNR, EXACT_PSNR, Canary
from pipeline.engines import choice
from pipeline.engines.choice import (
    PREFERS_TORCH,
    PROBE_RUNS,
    PROBE_RUNS_AT_MOST,
    UNSURE,
    WORTH_IT,
    Engines,
    gain,
    native,
)
from pipeline.engines.eager import CudaGraphs, Eager
from pipeline.engines.exported import SUMS, UNFINISHED, Exports
from pipeline.engines.port import REFERENCE, EngineName, EngineUnfit, Way
from pipeline.engines.verdicts import Verdicts, machine
from pipeline.engines.vino import OpenVino
from pipeline.errors import UnsupportedOption
from pipeline.precision import Precision

CPU, GPU = torch.device("cpu"), torch.device("cuda")

#: Well agreeing, barely not agreeing, and hardly disagreeing results of a network that gives 0.5 (added to it).
CLOSE, FAR, EXACT = 1e-4, 1e-2, 1e-7


class Engine:
    """An engine that adds something to what torch gives, and counts what it runs."""

    takes_noise = False
    version = "1.0"

    def __init__(self, error, name=EngineName.OPENVINO):
        self.name, self.error, self.loaded = name, error, []

    def missing(self):
        return None

    def load(self, network, precision):
        self.loaded.append(precision)
        if self.error is None:
            raise EngineUnfit("it knows no such operation")
        return lambda batch, **_: network.module(batch) + self.error


class Half(nn.Module):
    calls = 0

    def forward(self, x):
        self.calls += 1
        return torch.full_like(x, 0.5)


def network(**more):
    return Network(module=Half(), **({"architecture": "test", "identity": "a" * 64} | more))


def look(runs):
    return runs(torch.zeros(1, 3, 8, 8)).numpy()


def words(ways):
    return [str(way) for way in ways]


@pytest.fixture
def pays(monkeypatch):
    """Reduced precision as much faster as a test says."""

    def set_to(gain):
        monkeypatch.setattr(choice, "gain", lambda *_: gain)

    set_to(2.0)
    return set_to


ALL = ["openvino bfloat16", "torch bfloat16", "openvino float32", "torch float32"]


def test_with_native_bfloat16_it_is_tried_first_and_by_the_faster_engine(pays):
    engines = Engines(CPU, [Engine(CLOSE)], reduced=Precision.BFLOAT16)
    assert words(engines.ways(network(), exact=False)) == ALL
    assert words(engines.ways(network(), exact=True)) == ALL[2:]
    assert words(engines.ways(network(), exact=False, seeded=True)) == [ALL[1], ALL[3]]


def test_without_native_bfloat16_it_is_not_used(pays):
    pays(0.12)
    engines = Engines(CPU, [Engine(CLOSE)], reduced=Precision.BFLOAT16)
    assert words(engines.ways(network(), exact=False)) == ALL[2:]
    assert not engines.pays()


def test_some_networks_prefer_torch_unless_an_engine_is_wished(pays, monkeypatch):
    monkeypatch.setattr(choice, "every", lambda *_: (Engine(CLOSE), Eager(CPU)))
    small = network(architecture=sorted(PREFERS_TORCH)[0])
    assert words(Engines.choose(CPU).ways(small, exact=False)) == [ALL[1], ALL[3]]
    assert words(Engines.choose(CPU, wish="openvino").ways(small, exact=False)) == ALL
    assert words(Engines.choose(CPU, wish="torch").ways(small, exact=False)) == [ALL[1], ALL[3]]


@pytest.mark.parametrize(
    ("has_bfloat16", "precision"), [(True, "bfloat16"), (False, "float16")], ids=["ampere", "before"]
)
def test_on_a_gpu_recorded_graphs_come_first_in_its_own_reduced_precision(pays, monkeypatch, has_bfloat16, precision):
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: has_bfloat16)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda *_: "a GPU")
    assert str(native(GPU)) == precision
    engines = Engines.choose(GPU)
    graphs_and_torch = [f"cuda-graph {precision}", f"torch {precision}", "cuda-graph float32", "torch float32"]
    assert words(engines.ways(network(architecture="srvgg"), exact=False)) == graphs_and_torch
    assert words(engines.ways(network(), exact=False, seeded=True)) == [graphs_and_torch[1], graphs_and_torch[3]]


def test_a_wished_engine_that_is_not_here_is_refused_with_the_reason(monkeypatch):
    with pytest.raises(UnsupportedOption, match="cuda-graph cannot be used here: it needs a GPU"):
        Engines.choose(CPU, wish="cuda-graph")
    with pytest.raises(UnsupportedOption, match="'abacus' is unknown; auto, torch"):
        Engines.choose(CPU, wish="abacus")
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(UnsupportedOption, match=r"openvino cannot be used here.*pip install 'photomend\[openvino\]'"):
        Engines.choose(CPU, wish="openvino")
    assert {way.engine for way in Engines.choose(CPU).every_way()} == {EngineName.TORCH}
    assert OpenVino(GPU, cache=None).missing() == "it is used on CPUs only"
    assert CudaGraphs(GPU).missing() is None


@pytest.mark.parametrize(
    ("error", "exact", "chosen"),
    [
        (CLOSE, False, "openvino bfloat16"),
        (FAR, False, "torch bfloat16"),
        (None, False, "torch bfloat16"),
        (EXACT, True, "openvino float32"),
        (CLOSE, True, "torch float32"),
        (None, True, "torch float32"),
    ],
    ids=["close", "far off", "does not run", "exact: equal", "exact: close is not enough", "exact: does not run"],
)
def test_the_first_way_whose_canary_agrees_is_used(pays, error, exact, chosen):
    engines = Engines(CPU, [Engine(error)], reduced=Precision.BFLOAT16)
    way, runs = Canary(engines, exact=exact).choose(network(), look, device=CPU, enough_db=CANARY_PSNR)
    assert str(way) == chosen
    assert abs(look(runs) - 0.5).max() == pytest.approx(error if chosen.startswith("openvino") else 0, abs=1e-7)


def test_how_far_results_may_lie_apart():
    """What the thresholds mean in 8-bit levels, root of the mean square."""
    assert 255 * 10 ** (-CANARY_PSNR / 20) < 0.81
    assert 255 * 10 ** (-EXACT_PSNR / 20) < 0.026


def test_a_canary_is_remembered_by_machine_weights_and_versions(pays, tmp_path):
    def choose(**more):
        net = network(**more)
        engine = Engine(CLOSE)
        engines = Engines(CPU, [engine], reduced=Precision.BFLOAT16, cache=tmp_path)
        way, _ = Canary(engines).choose(net, look, device=CPU, enough_db=CANARY_PSNR)
        assert str(way) == ALL[0]
        return net.module.calls

    assert choose() == 2  # the reference, and under the engine
    assert choose() == 0
    assert choose(identity="b" * 64) == 2
    # Nothing is known of a network that is from no file, so nothing is remembered.
    assert [choose(identity=None), choose(identity=None)] == [2, 2]


def test_measurements_are_kept_and_damaged_ones_made_again(tmp_path):
    values = iter([1.5, 2.5, 3.5])
    facts = machine(CPU) | {"measure": "test"}

    def measured(**more):
        return Verdicts(tmp_path).measured(facts, lambda: next(values), **more)

    assert [measured(), measured()] == [1.5, 1.5]
    (file,) = tmp_path.iterdir()
    assert json.loads(file.read_text())["of"]["measure"] == "test"
    file.write_text("{")
    assert measured() == 2.5
    file.unlink()
    assert measured(is_sure=lambda _: False) == 3.5
    assert not list(tmp_path.iterdir())


def test_measurements_need_no_folder_that_can_be_written(tmp_path):
    (tmp_path / "file").touch()
    verdicts = Verdicts(tmp_path / "file" / "measured")
    assert verdicts.measured({"a": 1}, lambda: 4.0) == 4.0
    assert verdicts.measured({"a": 1}, lambda: 5.0) == 4.0


def test_what_reduced_precision_gains_is_really_measured():
    measured = gain(CPU, Precision.BFLOAT16)
    assert 0.001 < measured < 50
    assert UNSURE[0] < WORTH_IT < UNSURE[1]


@pytest.mark.parametrize(
    ("first", "later", "told", "pairs"),
    [
        ((4.0, 1.0), (4.0, 1.0), 4.0, PROBE_RUNS),  # plain to see
        ((4.0, 3.6), (4.0, 1.0), 4.0, PROBE_RUNS + 1),  # disturbed at first
        ((1.3, 1.0), (1.3, 1.0), 1.3, PROBE_RUNS_AT_MOST),  # really between
    ],
)
def test_a_gain_that_something_disturbed_is_measured_for_longer(monkeypatch, first, later, told, pairs):
    taken = []

    def seconds(_layer, _picture, precision):
        taken.append(precision)
        # The first pair warms up.
        plain, reduced = first if len(taken) <= 2 + 2 * PROBE_RUNS else later
        return plain if precision is Precision.FLOAT32 else reduced

    monkeypatch.setattr(choice, "_seconds", seconds)
    assert gain(CPU, Precision.BFLOAT16) == pytest.approx(told)
    assert len(taken) == 2 + 2 * pairs


def test_an_exported_network_appears_whole_or_not_at_all(tmp_path):
    exports = Exports(tmp_path / "exported")
    assert exports.find("one") is None

    def half(place):
        (place / "model.xml").write_text("half")
        raise OSError("no space left on device")

    assert exports.add("one", half) is None
    assert not any((tmp_path / "exported").iterdir())
    assert exports.add("one", lambda place: (place / "model.xml").write_text("whole")) == tmp_path / "exported" / "one"
    # Another process was faster: its entry stays.
    again = exports.add("one", lambda place: (place / "model.xml").write_text("late"))
    assert (again / "model.xml").read_text() == "whole"
    assert [p.name for p in (tmp_path / "exported").iterdir()] == ["one"]


@pytest.mark.parametrize("spoil", ["changed", "missing", "no sums", "sums of nothing"])
def test_a_damaged_export_is_thrown_away(tmp_path, spoil):
    exports = Exports(tmp_path)
    entry = exports.add("one", lambda place: (place / "model.bin").write_bytes(bytes(1000)))
    if spoil == "changed":
        (entry / "model.bin").write_bytes(bytes(999) + b"x")
    elif spoil == "missing":
        (entry / "model.bin").unlink()
    elif spoil == "no sums":
        (entry / SUMS).unlink()
    else:
        (entry / SUMS).write_text("{}")
    assert exports.find("one") is None
    assert not entry.exists()


def entry_of(exports, name, *, size=100, age_s=0.0):
    """An entry that was used so long ago."""
    entry = exports.add(name, lambda place: (place / "model.bin").write_bytes(bytes(size)))
    for file in entry.iterdir():
        os.utime(file, (time.time() - age_s,) * 2)
    return entry


def test_exported_networks_that_nobody_used_for_long_go_when_a_new_one_comes(tmp_path):
    before = Exports(tmp_path)
    old, fresh, running = (entry_of(before, name, age_s=age) for name, age in (("o", 9e9), ("f", 10.0), ("r", 9e9)))
    (left := tmp_path / f"{UNFINISHED}x").mkdir()
    os.utime(left, (0, 0))
    before.close()
    user = Exports(tmp_path)
    assert user.find("r") == running
    os.utime(running / SUMS, (0, 0))
    Exports(tmp_path).add("new", lambda place: (place / "model.bin").touch())
    assert not old.exists()
    assert not left.exists()
    assert fresh.exists()
    assert running.exists(), "a living process uses it, however long ago it was loaded"


def test_exported_networks_never_take_more_than_they_may_and_the_longest_unused_go(tmp_path):
    exports = Exports(tmp_path, most_bytes=3500)
    for age, name in enumerate("abcde"):
        entry_of(exports, name, size=1000, age_s=100.0 - age)
        exports.close()
    assert exports.find("c") is not None
    exports.close()
    entry_of(exports, "f", size=1000)
    assert {one.entry.name for one in exports.stored()} == {"c", "e", "f"}
    assert sum(one.size for one in exports.stored()) <= 3500
    huge = entry_of(exports, "g", size=9000)
    assert huge.exists(), "what is needed now stays, whatever its size"


def srvgg():
    torch.manual_seed(1)
    state = upsamplers.build_srvgg(scale=2, features=8, convolutions=2).state_dict()
    return Network(
        module=networks.build("srvgg", state, name="seeded").module,
        architecture="srvgg",
        takes_any_size=True,
        identity="c" * 64,
    )


def test_openvino_exports_once_and_again_when_the_file_is_damaged(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    from pipeline.engines import vino

    exported, real = [], vino._export
    monkeypatch.setattr(vino, "_export", lambda net: exported.append(net) or real(net))
    pictures = [torch.rand(1, 3, 24, 40), torch.rand(2, 3, 16, 16)]
    with torch.inference_mode():
        expected = [srvgg().module(picture) for picture in pictures]

    def check():
        runs = OpenVino(CPU, cache=tmp_path).load(srvgg(), Precision.FLOAT32)
        for picture, right in zip(pictures, expected, strict=True):
            assert (runs(picture) - right).abs().max() < 1e-5

    check()
    check()
    assert len(exported) == 1
    (weights,) = tmp_path.rglob("model.bin")
    weights.write_bytes(bytes(weights.stat().st_size))
    check()
    assert len(exported) == 2
    # A folder that cannot be written to costs time only.
    (tmp_path / "file").touch()
    OpenVino(CPU, cache=tmp_path / "file").load(srvgg(), Precision.FLOAT32)(pictures[0])
    assert len(exported) == 3


def test_openvino_compiles_once_for_all_processes_of_a_machine(tmp_path, monkeypatch):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    from pipeline.engines import vino

    compiled, real = [], OpenVino._compile
    monkeypatch.setattr(OpenVino, "_compile", lambda self, *more: compiled.append(more) or real(self, *more))
    picture = torch.rand(1, 3, 24, 40)

    def made(cache, precision=Precision.FLOAT32):
        # A new one each time, as another process has, that is gone before the next one.
        engine = OpenVino(CPU, cache=cache)
        try:
            return engine.load(srvgg(), precision)(picture)
        finally:
            if engine._exports:
                engine._exports.close()

    first = made(tmp_path / "one")
    assert torch.equal(made(tmp_path / "one"), first)
    assert torch.equal(made(None), first)
    assert len(compiled) == 2  # the second was without a cache
    made(tmp_path / "one", Precision.BFLOAT16)
    assert len(compiled) == 3
    monkeypatch.setattr(vino, "machine", lambda _: {"processor": "another"})
    assert torch.equal(made(tmp_path / "one"), first)
    assert len(compiled) == 4
    # Whole by its hash, but of a version that OpenVINO does not take.
    exports = Exports.under(tmp_path / "one")
    for blob in exports.folder.rglob("compiled.blob"):
        blob.write_bytes(b"of another version")
        (blob.parent / SUMS).write_text(json.dumps({blob.name: hashlib.sha256(blob.read_bytes()).hexdigest()}))
    assert torch.equal(made(tmp_path / "one"), first)
    assert len(compiled) == 5
    # It was replaced.
    assert torch.equal(made(tmp_path / "one"), first)
    assert len(compiled) == 5


def test_openvino_keeps_nothing_of_a_picture_that_it_has_seen(tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    runs = OpenVino(CPU, cache=tmp_path).load(srvgg(), Precision.FLOAT32)
    picture = np.ones((1, 3, 40, 24), np.float32)
    made, seen = runs(torch.from_numpy(picture)), weakref.ref(picture)
    again = made.clone()
    del picture
    assert seen() is None
    runs(torch.rand(1, 3, 40, 24))
    assert torch.equal(made, again), "nor does the next write into what it made"


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="on one core there is nothing to choose")
def test_openvino_leaves_it_to_the_system_which_core_its_threads_run_on():
    """Tied to a core, one of them shares it with whatever else runs there, and all others wait for it."""
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    runs = OpenVino(CPU, cache=None).load(srvgg(), Precision.FLOAT32)
    everywhere, seen, is_over = os.sched_getaffinity(0), set(), threading.Event()

    def look():
        while not is_over.wait(0.001):
            for task in Path("/proc/self/task").iterdir():
                with contextlib.suppress(ProcessLookupError):
                    seen.add(frozenset(os.sched_getaffinity(int(task.name))))

    watch = threading.Thread(target=look)
    watch.start()
    for _ in range(10):
        runs(torch.zeros(1, 3, 96, 96))
    is_over.set()
    watch.join()
    assert seen == {frozenset(everywhere)}


def test_openvino_says_what_it_cannot_run(tmp_path):
    pytest.importorskip("openvino", reason="the extra `openvino` is not installed")

    class Odd(nn.Module):
        def forward(self, x):
            return torch.linalg.eigvals(x[..., :3, :3]).real

    engine = OpenVino(CPU, cache=tmp_path)
    with pytest.raises(EngineUnfit, match="cannot run test"):
        engine.load(Network(module=Odd(), architecture="test", identity="d" * 64), Precision.FLOAT32)
    with pytest.raises(EngineUnfit, match="without a weights file"):
        engine.load(Network(module=Half(), architecture="test"), Precision.FLOAT32)
    with pytest.raises(EngineUnfit, match="float16"):
        engine.load(srvgg(), Precision.FLOAT16)


def test_torch_runs_a_network_as_it_is():
    net = srvgg()
    picture = torch.rand(1, 3, 9, 9)
    with torch.inference_mode():
        expected = net.module(picture)
    engines = Engines(CPU, reduced=None)
    assert engines.runs(net, REFERENCE) is engines.runs(net, REFERENCE)
    assert (engines.runs(net, REFERENCE)(picture) - expected).abs().max() < 1e-6
    way = Way(engine=EngineName.TORCH, precision=Precision.BFLOAT16)
    assert 0 < (engines.runs(net, way)(picture).float() - expected).abs().max() < 0.05
