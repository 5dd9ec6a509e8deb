"""Some minutes in the life of a site: people, a batch, files that are none, and trouble at known times."""

from __future__ import annotations

import json
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import httpx
import numpy as np

from jobs.batches.model import BatchId
from jobs.model import ObjectRef
from tests.bench.dashboard.site import GONE, MENDED, SCANS, Manner, Site

#: Jobs a second that people send, in the mean.
RATE = 2.0
#: Of what people send: every so manyth is no whole picture, or wants its callback where nobody is any more.
BROKEN_EVERY, GONE_EVERY = 8, 9
#: Sides of the pictures (px): so small that two cores mend some of them in a second.
SIDES_PX = (160, 200, 240)
#: Items of the batch for each second of the recording, and how many of them one broken file is among.
BATCH_ITEMS_A_S, BATCH_BROKEN_EVERY = 1.5, 11
REDIS_DOWN_S, FROZEN_S = 8.0, 8.0
#: One more than the alert wants.
KILLS = 4
#: After this share of the time nobody comes any more.
QUIET_FROM = 0.9
TIMEOUT_S = 30.0


@dataclass(slots=True)
class Told:
    """What happened, for the report: seconds after the beginning, and words."""

    began: float = field(default_factory=time.time)
    events: list[tuple[float, str]] = field(default_factory=list)
    answers: dict[str, int] = field(default_factory=dict)
    visits: int = 0

    def note(self, words: str) -> None:
        self.events.append((round(time.time() - self.began, 1), words))


def live(site: Site, *, seconds: float, seed: int, rate: float = RATE, say: Callable[[str], None]) -> Told:
    """Drive the site for so long; what was done to it, and when."""
    rng, told = random.Random(seed), Told()
    pictures = [_photo(side) for side in SIDES_PX]
    _store_batch(site, pictures, rng, items=int(BATCH_ITEMS_A_S * seconds))
    told.began = next_at = time.time()
    plan = list(_plan(site, seconds))
    with ThreadPoolExecutor(max_workers=16) as people:
        doings: list[Future[None]] = []
        while time.time() < told.began + seconds:
            now = time.time() - told.began
            while plan and now >= plan[0][0]:
                _, words, act = plan.pop(0)
                say(f"{now:5.0f} s  {words}")
                told.note(words)
                # By this thread: what it starts ends with the thread that started it.
                act()
            if time.time() >= next_at and now < QUIET_FROM * seconds:
                told.visits += 1
                doings.append(people.submit(_visit, site, rng.choice(pictures), told.visits, told))
                next_at += rng.expovariate(rate)
            time.sleep(0.05)
    for done in doings:
        done.result()
    return told


def _plan(site: Site, seconds: float) -> Iterator[tuple[float, str, Callable[[], None]]]:
    """At which second what is done."""
    batch: list[BatchId] = []

    def receiver(manner: Manner) -> Callable[[], None]:
        return lambda: setattr(site.receiver, "manner", manner)

    yield 0.12 * seconds, "a batch is submitted", lambda: batch.append(_submit_batch(site))
    yield 0.20 * seconds, "the callbacks' receiver answers 503", receiver(Manner.FAILS)
    for kill in range(KILLS):
        yield (0.22 + 0.05 * kill) * seconds, "a worker process is killed", lambda: _strike(site, batch, signal.SIGKILL)
    yield 0.40 * seconds, "the receiver hangs up", receiver(Manner.SILENT)
    yield 0.44 * seconds, "a worker process crashes", lambda: _strike(site, batch, signal.SIGSEGV)
    yield 0.50 * seconds, "the receiver is back", receiver(Manner.WELL)
    yield 0.55 * seconds, f"a worker is frozen for {FROZEN_S:g} s", lambda: _freeze(site, batch)
    yield 0.70 * seconds, "Redis is killed", site.kill_redis
    yield 0.70 * seconds + REDIS_DOWN_S, "Redis is started again", site.redis.start


def _strike(site: Site, batch: Sequence[BatchId], by: signal.Signals) -> None:
    site.strike_a_worker(batch[0], by=by)


def _freeze(site: Site, batch: Sequence[BatchId]) -> None:
    # Beside the load, which goes on.
    threading.Thread(target=site.freeze_a_worker, args=(batch[0],), kwargs={"for_s": FROZEN_S}).start()


def _visit(site: Site, picture: bytes, number: int, told: Told) -> None:
    """One person: sends a picture, asks for it, and looks at the list now and then."""
    data = picture[: len(picture) // 3] if number % BROKEN_EVERY == 0 else picture
    path = GONE if number % GONE_EVERY == 0 else "/hook"
    words = {"callback_url": f"http://{site.receiver.address}{path}", "outputs": "image"}
    try:
        with httpx.Client(base_url=site.url, timeout=TIMEOUT_S) as client:
            answer = client.post("/v1/jobs", files={"file": ("old.jpg", data, "image/jpeg")}, data=words)
            _count(told, answer)
            if answer.status_code == 202:
                _count(told, client.get(f"/v1/jobs/{answer.json()['id']}"))
            if number % 5 == 0:
                _count(told, client.get("/v1/jobs"))
                _count(told, client.get("/v1/jobs/job_00000000000000000000000000000000"))
    except httpx.TransportError as err:
        told.note(f"no answer: {type(err).__name__}")


def _count(told: Told, answer: httpx.Response) -> None:
    key = f"{answer.request.method} {answer.status_code}"
    told.answers[key] = told.answers.get(key, 0) + 1


def _store_batch(site: Site, pictures: list[bytes], rng: random.Random, *, items: int) -> None:
    lines = []
    for number in range(items):
        data = rng.choice(pictures)
        if number % BATCH_BROKEN_EVERY == BATCH_BROKEN_EVERY - 1:
            data = data[:200]
        key = f"{number:03d}.jpg"
        site.fleet.blobs.put(ObjectRef(bucket=SCANS, key=key), data, content_type="image/jpeg")
        lines.append(json.dumps({"source": f"s3://{SCANS}/{key}"}) + "\n")
    manifest = ObjectRef(bucket=SCANS, key="list.jsonl")
    site.fleet.blobs.put(manifest, "".join(lines).encode(), content_type="application/jsonl")


def _submit_batch(site: Site) -> BatchId:
    words = {
        "manifest": {"uri": f"s3://{SCANS}/list.jsonl", "format": "jsonl"},
        "output": f"s3://{MENDED}/out/",
        "options": {"scale": 1, "outputs": ["image"]},
    }
    answer = httpx.post(f"{site.url}/v1/batches", json=words, timeout=TIMEOUT_S)
    assert answer.status_code == 202, answer.text
    return BatchId(answer.json()["id"])


def _photo(side: int) -> bytes:
    """The demo's worn portrait, smaller, as a JPEG."""
    import cv2

    from photomend.demo.picture import old_photo

    pixels = cv2.imdecode(np.frombuffer(old_photo(), np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(pixels, (side, side), interpolation=cv2.INTER_AREA)
    return bytes(cv2.imencode(".jpg", small, [cv2.IMWRITE_JPEG_QUALITY, 85])[1])
