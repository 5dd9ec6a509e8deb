"""Decoding strangers' bytes where it can do no harm.

::

    worker process            zygote (one thread, no secrets)        child (one per picture)
                                     ─────────fork────────────▶  lock itself in, warm up, wait
    client.Sandbox  ─request─▶  zygote.Zygote  ──request──────▶  limit, read, decode,
                                     │                           write the answer
                    ◀──verdict──  kill, waitpid ◀──done or end──┘
    verify.read_answer  ◀───────── sealed shared memory ─────────────

The child has three open files, the picture, the answer and a pipe to say "done" on, and no way to anything else.
Nothing that it wrote is trusted: the worker seals the answer and checks every word of it.
Importing this package imports nothing.
"""
