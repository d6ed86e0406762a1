"""OSC as bytes, sound and broken: what the tests of both directions send."""

from __future__ import annotations

import random
import struct
import time

from pythonosc.osc_message_builder import OscMessageBuilder

NOW_TAG = b"\0\0\0\0\0\0\0\1"
UNIX_EPOCH_S = 2_208_988_800


def message(address: str, *values: str | float | None) -> bytes:
    builder = OscMessageBuilder(address)
    for value in values:
        builder.add_arg(value)
    return bytes(builder.build().dgram)


def bundle(*parts: bytes, tag: bytes = NOW_TAG) -> bytes:
    return b"#bundle\0" + tag + b"".join(struct.pack(">i", len(part)) + part for part in parts)


def tag_of(unix_s: float) -> bytes:
    """The time tag of a moment."""
    return round((unix_s + UNIX_EPOCH_S) * 2**32).to_bytes(8, "big")


def padded(text: bytes) -> bytes:
    return text + b"\0" * (4 - len(text) % 4)


def nested(content: bytes, depth: int) -> bytes:
    for _ in range(depth):
        content = bundle(content)
    return content


def horrors() -> tuple[bytes, ...]:
    """What has hung, blocked or broken other receivers."""
    temperature = message("/fractal/param/temperature", 0.7)
    return (
        b"#bundle\0" + NOW_TAG + struct.pack(">ii", -4, 0),
        b"#bundle\0" + NOW_TAG + struct.pack(">i", 2**31 - 1) + temperature,
        nested(temperature, 3000)[:65_507],
        nested(temperature, 20),
        bundle(temperature, tag=tag_of(time.time() + 365 * 86400)),
        bundle(temperature, tag=b"\xff" * 8),
        padded(b"/fractal/" + b"*" * 16 + b"x") + padded(b",f") + struct.pack(">f", 1),
        padded(b"/fractal/{a,b}/[!c-]") + padded(b","),
        padded(b"/fractal/\xff\xfe") + padded(b",f") + struct.pack(">f", 1),
        padded(b"/fractal/patch") + padded(b",s") + padded(b"\xc3\x28\xff"),
        message("/fractal/plan/density", float("nan")),
        message("/fractal/latent/level0", float("inf"), float("-inf")),
        padded(b"/fractal/generate") + padded(b",I"),
        padded(b"/fractal/generate") + padded(b",d") + struct.pack(">d", 1e300),
        padded(b"/fractal/generate") + padded(b",h") + struct.pack(">q", -(2**63)),
        padded(b"/fractal/subscribe") + padded(b",i") + struct.pack(">i", -1),
        padded(b"/fractal/panic") + padded(b",b") + struct.pack(">i", -100),
        padded(b"/fractal/panic") + padded(b"," + b"[" * 3000),
        padded(b"/fractal/param/cfg") + padded(b",f") + b"\x3f\x80",
        message("/fractal/latent/level0", *[0.5] * 10_000)[:65_507],
        message("/fractal/param/transpose", "up"),
        b"",
        b"\0" * 60_000,
        b"#bundle\0",
    )


def mutated(rng: random.Random, datagram: bytes) -> bytes:
    changed = bytearray(datagram)
    for _ in range(rng.randint(1, 6)):
        changed[rng.randrange(len(changed))] = rng.choice((0, 1, 0x2C, 0x7F, 0x80, 0xFF, rng.randrange(256)))
    return bytes(changed[: rng.randint(1, len(changed))] if rng.random() < 0.3 else changed)


VALID = message("/fractal/latent/level0", *[k / 16 for k in range(16)], "text", 3, True)
NESTED = bundle(VALID, bundle(message("/a", 1.0), VALID))


def fuzzed(rng: random.Random) -> bytes:
    """Random bytes, beginnings of OSC with random ends, sound messages with a few bytes changed."""
    kind = rng.randrange(6)
    if kind >= 4:
        return mutated(rng, VALID if kind == 4 else NESTED)
    return (b"", b"/", b"#bundle\0", padded(b"/fractal/panic") + b",")[kind] + rng.randbytes(rng.randint(0, 200))
