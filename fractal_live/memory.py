"""What keeps the memory of a process flat for an evening, and its collector short."""

from __future__ import annotations

import ctypes
import gc
import sys
from typing import Any

M_MMAP_THRESHOLD, M_ARENA_MAX = -3, -8  # mallopt(3)
LARGE_BYTES = 1 << 13


def settle() -> bool:
    """To be called once everything is imported: what there is now is not looked at again by the collector, and large
    blocks go back to the system when they are freed. Returns whether the allocator could be told so (glibc's only).

    A pipe's messages are some ten kilobytes each, read by several threads. Left to itself glibc keeps a heap for each
    of them and raises the size from which a block is mapped by itself up to 32 MB, so the heaps fill with holes: half a
    megabyte a minute.
    """
    gc.collect()
    gc.freeze()
    mallopt = _of_glibc("mallopt")
    if mallopt is None:
        return False
    return bool(mallopt(M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(M_ARENA_MAX, 1))


def tidy() -> None:
    """Gives back what is free but kept: the interpreter's free lists, which a full collection empties (of tuples alone
    up to two thousand of each length), and the pages that are holes by now, where the allocator can (glibc's only).
    Takes some milliseconds, in which no other thread gets memory: not for a process that sends notes."""
    gc.collect()
    malloc_trim = _of_glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)


def _of_glibc(name: str) -> Any:
    return getattr(ctypes.CDLL(None), name, None) if sys.platform.startswith("linux") else None
