"""20,000 items through the real store and runner, which stops in between: few megabytes, each row once."""

from __future__ import annotations

import pytest

from jobs.batches.model import PART_ROWS, BatchState
from jobs.store import JobStore
from tests.bench import batch_million as bench
from tests.doubles import MemoryBlobs
from worker.batch_running import OPEN_PARTS

ITEMS = 20_000
WINDOW = 1000
#: Of one item, whatever it holds: its job, its row, its places in indices. Measured: 1.9 kB a job in flight.
BYTES_PER_ITEM = 4000


@pytest.mark.timeout(300)
def test_a_large_batch_keeps_only_its_window_in_redis_and_survives_its_runners(store: JobStore) -> None:
    blobs = MemoryBlobs()
    bench.say_slots(store)
    batch = bench.submit(store, blobs, ITEMS)
    runner = bench.runner_of(store, blobs, window=WINDOW, lease_s=60.0)
    before, most, rows, killed = bench._memory(store)[0], 0.0, 0, 0
    while (found := store.batches.get(batch)).state is not BatchState.SUCCEEDED:
        runner.step()
        bench.work(store)
        most = max(most, bench._memory(store)[0] - before)
        parts = store._redis.hkeys(f"{{photomend}}:batch:{batch}:open")
        rows = max(rows, sum(len(store.batches.settled_items(batch, int(part))) for part in parts))
        if found.counts.done > ITEMS * (killed + 1) / 4 and killed < 3:
            # As after a kill: what it held in memory is gone, and its lease ends.
            killed += 1
            store._redis.zadd("{photomend}:batches", {batch: 0})
            runner = bench.runner_of(store, blobs, window=WINDOW, lease_s=60.0)
    assert killed == 3
    assert bench.count_rows(blobs, found) == {"succeeded": ITEMS}
    assert rows <= OPEN_PARTS * PART_ROWS
    assert most * 1e6 < (OPEN_PARTS * PART_ROWS + WINDOW) * BYTES_PER_ITEM
    assert list(store._redis.scan_iter("{photomend}:job:*")) == []
    runner.close()
