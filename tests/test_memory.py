"""A process that was settled gives back what it no longer needs."""

from __future__ import annotations

import subprocess
import sys

import pytest

HELD_MB = """
import gc, sys, threading
from fractal_live.memory import settle
assert settle() and gc.get_freeze_count() > 1000
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
kept, before = [], held()

def messages():
    waiting = []
    for turn in range(60):
        size = 20_000 + 5_000 * turn
        waiting += [bytearray(size) for _ in range(8)]
        kept.append(bytes(3_000))
        del waiting[:-8]

threads = [threading.Thread(target=messages) for _ in range(4)]
for thread in threads: thread.start()
for thread in threads: thread.join()
del threads
print(held() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is glibc's")
def test_what_several_threads_have_let_go_of_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HELD_MB], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 5, "without it they hold some 7 MB"


FREE_BLOCKS = """
import sys
from fractal_live.memory import settle, tidy
settle()
tuples = [tuple(float(place) for place in range(16)) for _ in range(3000)]
del tuples
before = sys.getallocatedblocks()
tidy()
print(before - sys.getallocatedblocks())
"""


@pytest.mark.skipif(sys.implementation.name != "cpython", reason="the free lists are CPython's")
def test_what_the_interpreter_keeps_for_later_is_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", FREE_BLOCKS], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1500, "a list of two thousand free tuples"


HOLES_MB = """
from fractal_live.memory import tidy
held = lambda: int(open("/proc/self/statm").read().split()[1]) * 4096 / 1e6
blocks = [bytes(5_000) for _ in range(6000)]
kept = blocks[::40]
del blocks
before = held()
tidy()
print(before - held())
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the allocator is glibc's")
def test_holes_between_what_is_kept_are_given_back() -> None:
    done = subprocess.run([sys.executable, "-c", HOLES_MB], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 20, "of 30 MB a fortieth is still in use"
