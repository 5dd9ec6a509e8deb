"""Pictures that take their decoder over: the job fails at once with a code, and its worker goes on with the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.model import Job
from jobs.options import JobOptions
from jobs.states import JobState
from tests.fleet import Fleet, wait_for
from tests.hostile_files import NAMED
from tests.hostile_zygote import evil

pytestmark = pytest.mark.slow

BOUNDS = {"PHOTOMEND_SANDBOX_CPU_S": "1", "PHOTOMEND_SANDBOX_MEMORY_BYTES": str(256 * 1024**2)}


def zygotes_of(worker: int) -> list[int]:
    """The worker's children that decode, whichever of its threads started them; a zombie is none."""
    children = [pid for file in Path(f"/proc/{worker}/task").glob("*/children") for pid in file.read_text().split()]
    return [int(pid) for pid in children if b"zygote" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def failed(job: Job) -> tuple[str, int]:
    """How it failed, and in which attempt."""
    assert job.state is JobState.FAILED
    assert job.failure is not None
    return job.failure.code, job.attempt


def test_a_picture_that_kills_its_decoder_fails_at_once_and_the_worker_goes_on(fleet: Fleet) -> None:
    fleet.keeper()
    worker = fleet.worker(threads=3, **BOUNDS)
    expected = {
        "segfault": ("image_hostile", "SIGSEGV"),
        "abort": ("image_hostile", "SIGABRT"),
        "spin": ("image_hostile", "SIGXCPU|took more than"),
        "sleep:60": ("image_hostile", "took more than"),
        "allocate": ("image_too_large", "more memory than is allowed"),
        "socket": ("image_hostile", "SIGSYS"),
        "write-garbage:00ff00ff00ff00ff00ff": ("image_hostile", "claims"),
    }
    jobs = {act: fleet.submit(fleet.upload(evil(*act.split(":")), key=f"in/{act}")) for act in expected}
    honest = [fleet.submit(fleet.upload()) for _ in range(3)]
    for act, (code, _) in expected.items():
        assert failed(fleet.ended(jobs[act])) == (code, 1), act
    assert "died of SIGSEGV" in fleet.log("w"), "the fault struck: a decoder died of it"
    for job_id in honest:
        job = fleet.ended(job_id)
        assert (job.state, job.attempt) == (JobState.SUCCEEDED, 1), "beside the others"
    assert worker.poll() is None
    assert len(zygotes_of(worker.pid)) == 1
    assert fleet.log("w").count("decoder lost") == 0, "one zygote saw them all through"


#: Files that are what strangers send, of each kind that once cost more than its picture: name → how its job ends.
SENT = {
    "AVIF that says 400 megapixels": "image_too_large",
    "AVIF that says 2147483647 x 2147483647": "image_truncated",
    "GIF of 0 x 0": "image_truncated",
    "JPEG of 12 bits": "image_unsupported",
    "PDF and JPEG": "image_unreadable",
    "TIFF of 10,000 pages": None,
    "TIFF of nested directories": None,
    "animated PNG": None,
    "PNG with 200 MB of XMP": None,
    "PNG whose tags are one megabyte 4,096 times": None,
    "PNG with 8 MB of tags": None,
    "PNG with a megabyte of elements that never close": None,
    "PNG with a megabyte of spaces for XMP": None,
}


@pytest.mark.timeout(180)
def test_files_that_lie_end_with_their_codes_and_cost_the_worker_neither_life_nor_lease(fleet: Fleet) -> None:
    """Their words are put into the result outside of the sandbox, into a JPEG file, which has little room for them."""
    fleet.keeper()
    worker = fleet.worker(threads=2)
    options = JobOptions(format="jpeg", scale=1.0, seed=0)
    jobs = {
        name: fleet.submit(fleet.upload(NAMED[name].make(), key=f"in/{number}"), options=options)
        for number, name in enumerate(SENT)
    }
    for name, code in SENT.items():
        job = fleet.ended(jobs[name])
        assert (job.failure.code if job.failure else None, job.attempt) == (code, 1), name
    assert worker.poll() is None
    assert "decoder lost" not in fleet.log("w")
    assert "died of" not in fleet.log("w")


def test_decoders_go_with_their_worker(fleet: Fleet) -> None:
    fleet.keeper()
    worker = fleet.worker(PHOTOMEND_SANDBOX_CPU_S="30")
    fleet.submit(fleet.upload(evil("sleep", "60")))
    zygote = wait_for(lambda: zygotes_of(worker.pid), what="a zygote runs")[0]
    listed = Path(f"/proc/{zygote}/task/{zygote}/children")

    def children() -> list[int]:
        return [int(word) for word in listed.read_text().split()]

    wait_for(lambda: len(children()) == 2, what="one decodes and one waits: there is something to kill")
    family = [zygote, *children()]
    worker.kill()
    worker.wait()
    wait_for(lambda: all(map(is_gone, family)), what="all are gone")


def is_gone(pid: int) -> bool:
    """Ended, though perhaps not waited for: its new parent may not care."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True
