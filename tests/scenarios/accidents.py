"""Every accident that the instrument must survive, by id, and which test has it."""

from __future__ import annotations

from collections.abc import Callable

ACCIDENTS = {
    "model-killed": "model process killed -9 mid-bar",
    "stage-killed": "stage killed -9",
    "daemon-killed": "daemon killed -9 (the stage closes the notes)",
    "model-slow": "model slower than real time",
    "gpu-out-of-memory": "CUDA out of memory: the CPU",
    "clock-stops": "clock stops",
    "clock-doubles": "clock doubles",
    "clock-jumps-2x": "clock jumps 2x",
    "clock-jitters-10ms": "clock jitters 10 ms",
    "start-twice": "clock sends Start twice",
    "spp-while-rolling": "SPP while rolling",
    "port-lost": "port vanishes and returns",
    "jack-restarts": "JACK server restarts",
    "two-daemons": "two daemons at once",
    "port-name-taken": "port name taken",
    "osc-flood": "10 000 random datagrams per second",
    "osc-horrors": "an OSC bundle with a negative element size, 3000 deep, or dated next year",
    "latent-of-10000": "latent of 10 000 floats",
    "nan-inf-text": "NaN, inf, negative, text where a number should be",
    "patch-unknown-key": "patch file with an unknown key",
    "checkpoint-broken": "checkpoint of another shape, truncated, a pickle",
    "disk-full": "disk full while recording",
    "sigint-twice": "SIGINT twice",
    "asleep-a-minute": "machine asleep for a minute",
}
ELSEWHERE = {
    "port-lost": (
        "scenarios/test_ports_lost.py",
        "test_port_1_a_named_port_that_vanishes_and_returns_is_played_again",
    ),
    "jack-restarts": (
        "scenarios/test_ports_lost.py",
        "test_port_2_a_killed_server_stops_neither_the_daemon_nor_the_music",
    ),
}
HERE: dict[str, str] = {}


def accident(name: str) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Marks the test of an accident."""

    def marked(test: Callable[..., None]) -> Callable[..., None]:
        assert name in ACCIDENTS and name not in HERE
        HERE[name] = test.__name__
        return test

    return marked
