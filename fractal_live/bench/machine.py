"""What the kernel says of this machine and of a process, where it says it (Linux)."""

from __future__ import annotations

import os
import re
from pathlib import Path

PRESSURE = Path("/proc/pressure/cpu")
PROCESSES = Path("/proc")
SETTLES_S, TELLS_S = 300.0, 120.0


def cpu_pressure(path: Path = PRESSURE) -> float | None:
    """The share of the last 10 s, in percent, in which some process waited for a processor; None where the kernel
    does not tell."""
    try:
        found = re.search(r"^some avg10=([\d.]+)", path.read_text(encoding="ascii"), flags=re.MULTILINE)
    except OSError:
        return None
    return float(found[1]) if found else None


def resident_mb(pid: int) -> float | None:
    """The memory of a process in MB (10^6 bytes); None if it is gone or the system does not tell."""
    try:
        pages = int((PROCESSES / str(pid) / "statm").read_text(encoding="ascii").split()[1])
    except (OSError, IndexError):
        return None
    return pages * os.sysconf("SC_PAGESIZE") / 1e6


def parent_of(pid: int) -> int | None:
    """The process that started `pid`; None if it is gone or the system does not tell."""
    try:
        found = re.search(r"^PPid:\s+(\d+)", (PROCESSES / str(pid) / "status").read_text("ascii"), flags=re.MULTILINE)
    except OSError:
        return None
    return int(found[1]) if found else None


def command_of(pid: int) -> str:
    """How a process was started; empty if it is gone or the system does not tell."""
    try:
        return (PROCESSES / str(pid) / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def growth_mb_per_hour(samples: list[tuple[float, float]]) -> float | None:
    """The slope of (seconds, MB) samples of one process by least squares, once it has settled: what it keeps for good
    is filled in the first minutes. None if it did not live long enough to tell."""
    if not samples:
        return None
    first_s, last_s = samples[0][0], samples[-1][0]
    from_s = first_s + max(SETTLES_S, (last_s - first_s) / 3)
    kept = [(at_s, mb) for at_s, mb in samples if at_s >= from_s]
    if len(kept) < 3 or last_s - from_s < TELLS_S:
        return None
    mean_s = sum(at_s for at_s, _ in kept) / len(kept)
    mean_mb = sum(mb for _, mb in kept) / len(kept)
    spread_s = sum((at_s - mean_s) ** 2 for at_s, _ in kept)
    return sum((at_s - mean_s) * (mb - mean_mb) for at_s, mb in kept) / spread_s * 3600
