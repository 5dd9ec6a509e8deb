"""The images: what hadolint says of them, what they install, and how it is asked whether they live."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.tools import tool
from worker.processes import Plan

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
LOCKS = sorted((DEPLOY / "requirements").glob("*.txt"))


def pins(lock: Path) -> dict[str, str]:
    found = re.findall(r"^([A-Za-z0-9._-]+)==(\S+)", lock.read_text(), re.MULTILINE)
    return {canonicalize_name(name): version for name, version in found}


CONSTRAINTS = pins(ROOT / "constraints.txt")


@pytest.mark.parametrize("name", ["api", "worker"])
def test_hadolint_finds_nothing(name):
    done = subprocess.run(
        [tool("hadolint"), str(DEPLOY / f"{name}.Dockerfile")], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_hadolint_would_find_something(tmp_path):
    bad = tmp_path / "Dockerfile"
    bad.write_text("FROM debian:latest\nCMD photomend worker\n")
    done = subprocess.run([tool("hadolint"), str(bad)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert {"DL3007", "DL3025"} <= set(re.findall(r"DL\d+", done.stdout))


@pytest.mark.parametrize("name", ["api", "worker"])
def test_an_image_is_built_from_one_that_is_pinned_and_leaves_its_tools_behind(name):
    text = (DEPLOY / f"{name}.Dockerfile").read_text()
    assert re.search(r"^ARG \w+_IMAGE=\S+:\S+@sha256:[0-9a-f]{64}$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)(?: AS (\w+))?$", text, re.MULTILINE)
    assert [built for _, built in stages] == ["base", "build", ""]
    assert [source for source, _ in stages[1:]] == ["base", "base"]
    final = text[text.rindex("\nFROM ") :]
    assert "pip" not in final
    assert re.search(r"^USER 10001$", final, re.MULTILINE)
    # Signals reach only what is started without a shell around it.
    started = re.findall(r"^(?:ENTRYPOINT|CMD) (.*)$", final, re.MULTILINE)
    assert started
    assert all(words.startswith("[") for words in started)


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_each_file_that_an_image_installs_is_known_by_its_hash(lock):
    blocks = re.split(r"^(?=[A-Za-z0-9])", lock.read_text(), flags=re.MULTILINE)[1:]
    assert blocks
    assert [block for block in blocks if not re.search(r"^    --hash=sha256:[0-9a-f]{64}", block, re.MULTILINE)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.stem)
def test_images_install_the_versions_that_the_tests_run_on(lock):
    """After a change of constraints.txt: deploy/lock.sh."""
    other = {name: version for name, version in pins(lock).items() if CONSTRAINTS.get(name, version) != version}
    assert other == {}


def test_images_install_all_that_is_asked_for_and_the_api_none_of_the_gpu_stack():
    api, worker = pins(DEPLOY / "requirements" / "api.txt"), pins(DEPLOY / "requirements" / "worker.txt")
    cuda = pins(DEPLOY / "requirements" / "torch-cuda.txt")
    assert {"fastapi", "redis", "celery", "boto3"} <= set(api)
    assert not {"torch", "numpy", "opencv-python", "facexlib"} & set(api)
    assert {"facexlib", "realesrgan", "basicsr", "opencv-python", "pyvips-binary"} <= set(worker)
    assert {"torch", "torchvision", "triton", "nvidia-cudnn-cu13"} <= set(cuda)
    assert not set(cuda) & set(worker)


def closure(extra: str) -> set[str]:
    """The packages that photomend needs with this extra, as they are installed here, down to the last."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    waiting = [Requirement(text) for text in (*project["dependencies"], *project["optional-dependencies"][extra])]
    known: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        requirement = waiting.pop()
        one = canonicalize_name(requirement.name), frozenset(requirement.extras)
        # Left out of the images on purpose: see deploy/lock.sh.
        if one in known or one[0] == "tb-nightly":
            continue
        known.add(one)
        for needed in map(Requirement, metadata.requires(one[0]) or ()):
            marker = needed.marker
            if marker is None or any(marker.evaluate({"extra": asked}) for asked in one[1] | {""}):
                waiting.append(needed)
    return {name for name, _ in known}


def test_an_image_has_every_package_that_another_one_brings():
    """After a change of pyproject.toml: deploy/lock.sh. pip is told to install nothing else."""
    api, worker, cuda = (pins(DEPLOY / "requirements" / f"{name}.txt") for name in ("api", "worker", "torch-cuda"))
    assert closure("api") - set(api) == set()
    assert closure("worker") - set(worker) - set(cuda) == set()


#: What API and keeper import at start or, as kombu does its transport, when the first job comes.
IMPORTED = (
    "api.__main__",
    "worker.keeper",
    "jobs.doctor",
    "jobs.s3_probe",
    "photomend.checklist",
    "photomend.commands.doctor",
    "worker.devices",
    "worker.memory",
    "worker.selftest",
    "photomend.commands.keys",
    "celery.app.amqp",
    "kombu.transport.redis",
    "uvicorn.loops.uvloop",
    "uvicorn.protocols.http.httptools_impl",
)
WITHOUT_OTHERS = """
import importlib, json, sys
from importlib import metadata
from packaging.utils import canonicalize_name

allowed, names = json.loads(sys.argv[1])
owners = {top: {canonicalize_name(name) for name in found} for top, found in metadata.packages_distributions().items()}
for name in [name for name in sys.modules if name.partition(".")[0] == "packaging"]:
    del sys.modules[name]

class Others:
    def find_spec(self, name, path=None, target=None):
        if owners.get(name.partition(".")[0], set(allowed)).isdisjoint(allowed):
            raise ModuleNotFoundError(name, name=name)

sys.meta_path.insert(0, Others())
for name in names:
    importlib.import_module(name)
"""


@pytest.mark.parametrize("missing", [None, "packaging"])
def test_api_and_keeper_import_nothing_that_their_image_lacks(missing):
    allowed = sorted({*pins(DEPLOY / "requirements" / "api.txt"), "photomend"} - {missing})
    words = [sys.executable, "-c", WITHOUT_OTHERS, json.dumps([allowed, IMPORTED])]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)
    if missing is None:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        assert f"ModuleNotFoundError: {missing}" in done.stderr


def health_of_the_worker() -> list[str]:
    (words,) = re.findall(r"^HEALTHCHECK .* CMD (\[.*\])$", (DEPLOY / "worker.Dockerfile").read_text(), re.MULTILINE)
    return yaml.safe_load(words)


@pytest.mark.parametrize(
    ("words", "status"),
    [
        (Plan(name="cpu0", threads=3).command("worker.app:app"), 0),
        # The supervisor alone, and the check itself.
        (["/opt/photomend/bin/python3.12", "/opt/photomend/bin/photomend", "worker"], 1),
        (["grep", "-qsxz", "cel[e]ry", "/proc/1/cmdline"], 1),
    ],
    ids=["a worker process", "the supervisor", "the check"],
)
def test_a_worker_is_healthy_while_a_process_of_it_takes_jobs(tmp_path, words, status):
    (tmp_path / "17").mkdir()
    (tmp_path / "17" / "cmdline").write_bytes(b"".join(word.encode() + b"\0" for word in words))
    check = [word.replace("/proc/", f"{tmp_path}/") for word in health_of_the_worker()]
    assert str(tmp_path) in check[-1]
    assert subprocess.run(check, check=False).returncode == status


def test_kubernetes_asks_the_worker_what_its_image_asks():
    (deployment, _) = yaml.safe_load_all((DEPLOY / "kubernetes" / "base" / "worker.yaml").read_text())
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    assert container["readinessProbe"]["exec"]["command"] == health_of_the_worker()
