"""Asking the operating system to let this process run first.

Threads that begin afterwards inherit what was granted; the answer says what that was.
"""

from __future__ import annotations

import os

REALTIME = "realtime"
FIFO_PRIORITY = 50
NICENESS = -11
REFUSED = "real-time priority was refused ({} instead): a busy machine may make notes late; see Linux in the README"


def ask_for_priority() -> str:
    """`realtime` (first in, first out), `nice -11` or `normal`: the best that is granted."""
    if hasattr(os, "sched_setscheduler"):
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(FIFO_PRIORITY))
            return REALTIME
        except OSError:
            pass
    if hasattr(os, "setpriority"):
        try:
            os.setpriority(os.PRIO_PROCESS, 0, NICENESS)
            return f"nice {NICENESS}"
        except OSError:
            pass
    return "normal"


def refusal(granted: str) -> str:
    """What to tell the performer of what was granted; nothing where it is the best that this system has."""
    return "" if granted == REALTIME or not hasattr(os, "sched_setscheduler") else REFUSED.format(granted)
