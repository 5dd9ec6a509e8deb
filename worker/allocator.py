"""How the memory allocator of every process that computes is set up, by its environment. Imports nothing."""

from __future__ import annotations

#: glibc's allocator gives big blocks back to the kernel at once and takes them again zeroed: a quarter of torch's time
#: on a CPU. These keep them; one arena, since the lane is not the main thread and would get a second one.
#: Source: measured against the defaults, tests/bench.
ALLOCATOR = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_MAX_": "0",
    "MALLOC_TRIM_THRESHOLD_": str(32 * 1024**3),
    "MALLOC_TOP_PAD_": str(256 * 1024**2),
}
