import asyncio
import random
import shutil
import socket
import struct
import time
from collections import Counter

import pytest
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage

from fractal_live.live.control_table import KEEP
from fractal_live.live.controls import Controls
from fractal_live.ports.osc_in import (
    DEEPEST_BUNDLE,
    LARGEST_MESSAGE_BYTES,
    MOST_ELEMENTS,
    OscIn,
    OscPortError,
    Peer,
    bound_socket,
    open_osc_in,
)
from tests.ports.osc_bytes import NOW_TAG, bundle, fuzzed, horrors, message, padded
from tests.ports.osc_heard import PEER, SLOWEST_SECONDS, Heard


def test_a_message_arrives_with_its_plain_arguments(heard: Heard) -> None:
    heard.receive(message("/a/b", 1.5, 3, "text", True, False, None))
    assert heard.calls == [("/a/b", (1.5, 3, "text", True, False, None))]
    assert (heard.osc.counts.datagrams, heard.osc.counts.messages, heard.refused) == (1, 1, {})


def test_missing_type_tags_are_a_message_without_arguments(heard: Heard) -> None:
    heard.receive(padded(b"/fractal/panic"))
    assert heard.calls == [("/fractal/panic", ())]


def test_an_impulse_keeps_its_place_as_infinity(heard: Heard) -> None:
    heard.receive(padded(b"/a") + padded(b",fIi") + struct.pack(">fi", 0.5, 7))
    assert heard.calls == [("/a", (0.5, float("inf"), 7))]


def test_messages_of_nested_bundles_arrive_in_order(heard: Heard) -> None:
    inner = bundle(message("/2"), bundle(message("/3")), message("/4"))
    heard.receive(bundle(message("/1"), inner, message("/5")))
    assert [address for address, _ in heard.calls] == ["/1", "/2", "/3", "/4", "/5"]


def test_a_bundle_dated_next_year_is_obeyed_now(heard: Heard) -> None:
    builder = OscBundleBuilder(int(time.time()) + 365 * 86400)
    builder.add_content(OscMessage(message("/soon", 1.0)))
    heard.receive(bytes(builder.build().dgram))
    assert heard.calls == [("/soon", (1.0,))]


@pytest.mark.parametrize("size", [-4, -1, 0, -(2**31), 2**31 - 1, 100])
def test_an_element_size_that_does_not_fit_drops_the_rest_of_the_bundle(heard: Heard, size: int) -> None:
    """A negative size made the usual walk go backwards for ever."""
    heard.receive(bundle(message("/before")) + struct.pack(">i", size) + padded(b"/no"))
    assert heard.calls == [("/before", ())]
    assert heard.refused == {"size": 1}


def test_a_lone_negative_element_size_is_refused(heard: Heard) -> None:
    heard.receive(b"#bundle\0" + NOW_TAG + struct.pack(">ii", -4, 0))
    assert heard.refused == {"size": 1}


def test_three_thousand_nested_bundles_are_refused(heard: Heard) -> None:
    datagram = message("/deep")
    for _ in range(3000):
        datagram = bundle(datagram)
    heard.receive(datagram[:65_507])
    heard.receive(datagram)
    assert heard.calls == [] and sum(heard.refused.values()) == 2


def test_bundles_may_nest_as_deep_as_said_and_no_deeper(heard: Heard) -> None:
    datagram = message("/deep")
    for _ in range(DEEPEST_BUNDLE):
        datagram = bundle(datagram)
    heard.receive(datagram)
    assert heard.calls == [("/deep", ())]
    heard.receive(bundle(datagram))
    assert heard.refused == {"depth": 1}


def test_more_elements_than_allowed_are_dropped(heard: Heard) -> None:
    heard.receive(bundle(*[padded(b"/a")] * (MOST_ELEMENTS + 10)))
    assert len(heard.calls) == MOST_ELEMENTS
    assert heard.refused == {"elements": 1}


@pytest.mark.parametrize(
    "address", ["/fractal/" + "*" * 16 + "x", "/a?", "/[ab]", "/{a,b}", "/a#", "/a b", "/a\x07", ""]
)
def test_addresses_with_patterns_or_strange_characters_are_refused(heard: Heard, address: str) -> None:
    heard.receive(padded(address.encode()) + padded(b",f") + struct.pack(">f", 1))
    assert heard.calls == [] and heard.refused == {"address": 1}


@pytest.mark.parametrize(
    ("datagram", "kind"),
    [
        (b"", "address"),
        (b"/", "address"),
        (b"/nowhere-ends", "address"),
        (padded(b"/\xff\xfe"), "address"),
        (padded(b"/a") + padded(b",s") + padded(b"\xff\xfe\xfd"), "content"),
        (padded(b"/a") + padded(b",\xff"), "types"),
        (padded(b"/a") + padded(b"f"), "types"),
        (padded(b"/a") + b",fff", "types"),
        (padded(b"/a") + padded(b",b") + struct.pack(">i", -100), "types"),
        (padded(b"/a") + padded(b"," + b"[" * 3000), "types"),
        (padded(b"/a") + padded(b",f") + b"\x3f\x80", "length"),
        (padded(b"/a") + padded(b",ff") + struct.pack(">f", 1), "length"),
        (padded(b"/a") + padded(b",s") + b"endless!", "content"),
        (padded(b"/a") + padded(b"," + b"f" * 10_000) + b"\0" * 40_000, "length"),
        (b"\0" * 60_000, "length"),
        (b"#bundle\0", None),
        (b"#bundle\0" + NOW_TAG, None),
        (b"#bundle\0" + NOW_TAG + b"\0\0", "size"),
        (b"#bundl\0\0" + NOW_TAG, "address"),
    ],
)
def test_what_is_no_message_is_counted_by_kind_and_calls_nobody(
    heard: Heard, datagram: bytes, kind: str | None
) -> None:
    heard.receive(datagram)
    assert heard.calls == []
    assert heard.refused == ({} if kind is None else {kind: 1})


def test_nan_passes_the_port_as_a_number_to_be_judged_by_the_controls(heard: Heard) -> None:
    heard.receive(message("/a", float("nan")))
    assert len(heard.calls) == 1 and heard.calls[0][1][0] != heard.calls[0][1][0]


def test_sixty_kilobytes_of_small_messages_are_obeyed(heard: Heard) -> None:
    datagram = bundle(*[message("/fractal/param/temperature", 1.0)] * 1500)
    assert 60_000 < len(datagram) < 65_507
    heard.receive(datagram)
    assert len(heard.calls) == 1500


def test_a_handler_that_raises_is_counted_and_the_next_message_arrives(caplog: pytest.LogCaptureFixture) -> None:
    seen: list[str] = []

    def handler(address: str, arguments: tuple[object, ...], peer: Peer) -> None:
        seen.append(address)
        raise RuntimeError("a defect")

    osc = OscIn(handler)
    osc.receive(bundle(message("/1"), message("/2")), PEER)
    assert seen == ["/1", "/2"]
    assert osc.counts.refused["handler"] == 2
    assert len(caplog.records) == 1


def test_a_hundred_thousand_broken_datagrams_neither_escape_nor_take_long(caplog: pytest.LogCaptureFixture) -> None:
    """With the controls behind the port, as in the show; a tenth are hand-made, the rest noise and mutations."""
    rng = random.Random(20240)
    controls, told = Controls(seed=1), Counter[str]()
    texts = []

    def handler(address: str, arguments: tuple[object, ...], peer: Peer) -> None:
        assert address.startswith("/")
        outcome = controls.apply(address, arguments, osc.counts.datagrams * 10_000)
        texts.append(outcome.error)

    osc = OscIn(handler, KEEP, lambda kind, text, peer: told.update([kind]))
    hand_made, noise = horrors(), [fuzzed(rng) for _ in range(8000)]
    slowest_s, before_s = 0.0, time.process_time()
    for number in range(100_000):
        osc.receive(rng.choice(hand_made if number % 10 == 0 else noise), PEER)
        now_s = time.process_time()
        slowest_s, before_s = max(slowest_s, now_s - before_s), now_s
    assert osc.counts.datagrams == 100_000
    assert osc.counts.messages >= len(texts) > 1000
    assert slowest_s < SLOWEST_SECONDS
    assert told == osc.counts.refused and "handler" not in told and sum(told.values()) > 20_000
    assert caplog.records == []
    assert all(value == value and abs(value) <= 4 for value in controls.snapshot.latent)


def test_the_socket_asks_for_room_for_bursts() -> None:
    with bound_socket("127.0.0.1", 0) as listener:
        assert listener.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) > 200_000
        assert listener.getblocking() is False


def test_a_taken_port_is_named_with_the_option_that_helps() -> None:
    with bound_socket("127.0.0.1", 0) as first:
        port = first.getsockname()[1]
        with pytest.raises(OscPortError, match=rf"OSC port {port} .* taken .* --osc-port"):
            bound_socket("127.0.0.1", port)


def test_a_host_that_is_not_ours_is_named() -> None:
    with pytest.raises(OscPortError, match=r"203\.0\.113\.7 .* --osc-host"):
        bound_socket("203.0.113.7", 5005)


async def heard_on_loopback(send_all: list[list[str]]) -> list[tuple[str, tuple[object, ...]]]:
    arrived: asyncio.Queue[tuple[str, tuple[object, ...]]] = asyncio.Queue()
    transport, _ = await open_osc_in(lambda address, arguments, peer: arrived.put_nowait((address, arguments)), port=0)
    port = transport.get_extra_info("sockname")[1]
    try:
        for command in send_all:
            process = await asyncio.create_subprocess_exec(command[0], "127.0.0.1", str(port), *command[1:])
            await process.wait()
        return [await asyncio.wait_for(arrived.get(), 5) for _ in send_all]
    finally:
        transport.close()


@pytest.mark.skipif(shutil.which("oscsend") is None, reason="oscsend (liblo-tools) is not installed")
def test_what_oscsend_sends_over_loopback_arrives() -> None:
    oscsend = str(shutil.which("oscsend"))
    calls = asyncio.run(
        heard_on_loopback(
            [
                [oscsend, "/fractal/param/temperature", "f", "1.5"],
                [oscsend, "/fractal/plan/density", "fff", "1", "2", "3"],
                [oscsend, "/fractal/panic", "T"],
                [oscsend, "/fractal/reroll"],
                [oscsend, "/fractal/patch", "s", "nocturne"],
            ]
        )
    )
    assert calls == [
        ("/fractal/param/temperature", (1.5,)),
        ("/fractal/plan/density", (1.0, 2.0, 3.0)),
        ("/fractal/panic", (True,)),
        ("/fractal/reroll", ()),
        ("/fractal/patch", ("nocturne",)),
    ]


def test_what_is_no_osc_is_told_with_its_sender() -> None:
    told: list[tuple[str, str, Peer | None]] = []
    osc = OscIn(Heard(), on_refusal=lambda kind, text, peer: told.append((kind, text, peer)))
    osc.receive(message("/fractal/*"), PEER)
    assert [(kind, peer) for kind, _, peer in told] == [("address", PEER)]
    assert "/fractal/*" in told[0][1]


def test_a_known_address_may_look_like_a_pattern() -> None:
    heard = Heard()
    heard.osc = OscIn(heard, KEEP)
    heard.receive(message("/fractal/latent/level0[3]", 1.0))
    heard.receive(message("/fractal/latent/level[03]", 1.0))
    assert heard.calls == [("/fractal/latent/level0[3]", (1.0,))]
    assert heard.refused == {"address": 1}


def test_the_largest_message_is_parsed_quickly(heard: Heard) -> None:
    count = (LARGEST_MESSAGE_BYTES - 12) // 5 - 4
    heard.receive(message("/a", *[0.5] * count))
    assert len(heard.calls[0][1]) == count
