import asyncio
import random
import shutil
import socket
import struct
import time
from collections import Counter
from typing import Any

import pytest
from pythonosc.osc_bundle_builder import OscBundleBuilder
from pythonosc.osc_message import OscMessage

from fractal_live.live.control_table import KEEP
from fractal_live.live.controls import Controls
from fractal_live.ports.osc_in import (
    DEEPEST_BUNDLE,
    LARGEST_MESSAGE_BYTES,
    MOST_ELEMENTS,
    OscCounts,
    OscIn,
    OscPortError,
    Peer,
    bound_socket,
    open_osc_in,
)
from fractal_live.ports.osc_out import MOST_SUBSCRIBERS, OscOut
from tests.ports.osc_bytes import NOW_TAG, bundle, fuzzed, horrors, message, padded, tag_of

PEER = ("127.0.0.1", 9000)
SLOWEST_SECONDS = 2.0
"""Of processor time for one datagram, on a machine that others use too; the broken ones take minutes where they are not
caught."""


class Heard:
    """A handler that remembers."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, tuple[object, ...]]] = []
        self.osc = OscIn(self)

    def __call__(self, address: str, arguments: tuple[object, ...], peer: Peer) -> None:
        self.calls.append((address, arguments))

    def receive(self, datagram: bytes) -> None:
        before = time.process_time()
        self.osc.receive(datagram, PEER)
        assert time.process_time() - before < SLOWEST_SECONDS

    @property
    def refused(self) -> dict[str, int]:
        return dict(self.osc.counts.refused)


@pytest.fixture
def heard() -> Heard:
    return Heard()


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


def test_what_goes_out_comes_in_the_same() -> None:
    heard = Heard()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as receiver:
        receiver.bind(("127.0.0.1", 0))
        receiver.settimeout(5)
        out = OscOut()
        assert out.subscribe(*receiver.getsockname())
        out.send("/fractal/out/beat", 3, 2.5, "rolling", True)
        heard.receive(receiver.recv(2000))
        out.close()
    assert heard.calls == [("/fractal/out/beat", (3, 2.5, "rolling", 1))]
    assert (out.sent, out.dropped) == (1, 0)


def test_sending_never_raises_whatever_the_values_and_receivers_are() -> None:
    out = OscOut([("127.0.0.1", 9)])
    hostile: list[object] = [2**70, 10**400, float("nan"), None, b"x", "\udcff", "x" * 5000, object()]
    for value in hostile:
        out.send("/fractal/out/state", value)  # type: ignore[arg-type]
    out.close()
    out.send("/fractal/out/state", 1)
    assert out.sent + out.dropped == len(hostile) + 1


@pytest.mark.parametrize(
    ("host", "port"), [("somewhere.example", 9000), ("127.0.0.1", 0), ("127.0.0.1", 70_000), ("", 9000), ("1", 9000)]
)
def test_a_subscriber_without_a_numeric_address_is_refused(host: str, port: int) -> None:
    out = OscOut()
    assert out.subscribe(host, port) is False
    assert (out.subscribers, out.refused_subscribers) == ((), 1)
    out.close()


def test_when_all_places_are_taken_the_one_that_was_silent_longest_goes() -> None:
    out = OscOut([("localhost", 8000)])
    for number in range(1, MOST_SUBSCRIBERS):
        assert out.subscribe(f"127.0.0.{number + 1}", 9000)
    out.heard(("127.0.0.2", 51_234))  # it sends from another port than it listens at
    assert out.subscribe("127.0.0.4", 9000)
    assert out.subscribe("127.0.0.99", 9000)
    hosts = {host for host, _ in out.subscribers}
    assert len(out.subscribers) == MOST_SUBSCRIBERS
    assert {"127.0.0.1", "127.0.0.2", "127.0.0.4", "127.0.0.99"} <= hosts and "127.0.0.3" not in hosts
    out.close()


def test_peers_of_the_patch_stay_and_others_may_leave() -> None:
    residents = [("127.0.0.1", 8000 + number) for number in range(MOST_SUBSCRIBERS)]
    out = OscOut(residents)
    assert not out.subscribe("127.0.0.1", 9000)
    out.unsubscribe("localhost", 8000)
    assert out.subscribers == tuple(residents) and out.refused_subscribers == 1
    out.close()
    out = OscOut()
    assert out.subscribe("localhost", 9000)
    out.unsubscribe("127.0.0.1", 9000)
    assert out.subscribers == ()
    out.close()


def test_a_sender_is_answered_where_it_listens() -> None:
    out = OscOut()
    for peer in (("127.0.0.1", 9000), ("127.0.0.1", 9001), ("127.0.0.2", 9000)):
        out.subscribe(*peer)
    assert out.subscribed_by(("127.0.0.1", 9001)) == (("127.0.0.1", 9001),)
    assert out.subscribed_by(("127.0.0.1", 55_555)) == (("127.0.0.1", 9000), ("127.0.0.1", 9001))
    assert out.subscribed_by(("127.0.0.3", 9000)) == ()
    out.close()


def test_a_message_to_one_reaches_no_other() -> None:
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other,
    ):
        for receiver in (one, other):
            receiver.bind(("127.0.0.1", 0))
            receiver.settimeout(5)
        out = OscOut([one.getsockname(), other.getsockname()])
        out.send("/fractal/out/patch", "title", to=[other.getsockname()])
        out.send("/fractal/out/bar", 1)
        assert one.recv(100).startswith(b"/fractal/out/bar")
        assert other.recv(100).startswith(b"/fractal/out/patch")
        out.close()


class Clock:
    def __init__(self) -> None:
        self.now_s = 1_790_000_000.0

    def __call__(self) -> float:
        return self.now_s


def dated(heard: Heard, obeys: bool) -> Clock:
    clock = Clock()
    heard.osc = OscIn(heard, obeys_time_tags=obeys, clock=clock)
    return clock


def addresses(heard: Heard) -> list[str]:
    return [address for address, _ in heard.calls]


def test_a_bundle_a_little_ahead_is_obeyed_at_its_time_where_that_is_asked_for(heard: Heard) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/3"), message("/4"), tag=tag_of(clock.now_s + 0.2)))
    heard.receive(bundle(message("/2"), tag=tag_of(clock.now_s + 0.1)))
    heard.receive(message("/1"))
    heard.osc.obey_due()
    assert addresses(heard) == ["/1"]
    clock.now_s += 0.15
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2"]
    clock.now_s += 0.1
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2", "/3", "/4"]


@pytest.mark.parametrize("ahead_s", [-1e6, -0.1, 0.0, 0.3, 3600, 365 * 86400])
def test_a_date_that_is_past_or_far_off_is_now(heard: Heard, ahead_s: float) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + ahead_s)))
    assert addresses(heard) == ["/1"]


def test_dates_mean_nothing_unless_asked_for(heard: Heard) -> None:
    clock = dated(heard, False)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + 0.1)))
    assert addresses(heard) == ["/1"]


def test_a_clock_that_is_set_back_loses_nothing(heard: Heard) -> None:
    clock = dated(heard, True)
    heard.receive(bundle(message("/1"), tag=tag_of(clock.now_s + 0.1)))
    clock.now_s -= 3600
    heard.osc.obey_due()
    assert addresses(heard) == ["/1"]


def test_a_bundle_in_a_bundle_has_its_own_date(heard: Heard) -> None:
    clock = dated(heard, True)
    inner = bundle(message("/2"), tag=tag_of(clock.now_s + 0.1))
    heard.receive(bundle(inner, message("/1")))
    assert addresses(heard) == ["/1"]
    clock.now_s += 0.2
    heard.osc.obey_due()
    assert addresses(heard) == ["/1", "/2"]


def test_more_than_can_be_kept_for_later_is_now(heard: Heard) -> None:
    clock = dated(heard, True)
    for _ in range(2):
        heard.receive(bundle(*[padded(b"/a")] * MOST_ELEMENTS, tag=tag_of(clock.now_s + 0.1)))
    assert len(heard.calls) == MOST_ELEMENTS


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


def test_the_end_of_a_burst_is_told_after_its_messages() -> None:
    told: list[str] = []
    osc = OscIn(lambda address, arguments, peer: told.append(address), KEEP, after_burst=lambda: told.append("over"))
    osc.receive(bundle(message("/fractal/param/cfg", 1.0), message("/fractal/param/cfg", 2.0)), PEER)
    osc.receive(message("/fractal/panic"), PEER)
    assert told == ["/fractal/param/cfg", "over", "/fractal/panic", "over"]


async def sent_at_once(datagrams: list[bytes], end: str, **options: Any) -> tuple[Heard, OscCounts]:
    """All datagrams wait in the socket before the loop first looks."""
    heard, over = Heard(), asyncio.Event()

    def handler(address: str, arguments: tuple[Any, ...], peer: Peer) -> None:
        heard(address, arguments, peer)
        if address == end:
            over.set()

    transport, osc = await open_osc_in(handler, port=0, **options)
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
            for datagram in datagrams:
                sender.sendto(datagram, transport.get_extra_info("sockname"))
        await asyncio.wait_for(over.wait(), 5)
    finally:
        transport.close()
    return heard, osc.counts


def test_of_a_burst_in_the_socket_the_newest_values_and_all_presses_are_obeyed() -> None:
    burst = [message("/fractal/param/temperature", 0.1 + number / 1000) for number in range(300)]
    burst[100:100] = [message("/fractal/reroll")]
    burst[200:200] = [bundle(message("/fractal/reroll"), message("/fractal/param/cfg", 2.0))]
    heard, counts = asyncio.run(sent_at_once([*burst, message("/fractal/panic")], "/fractal/panic", keep=KEEP))
    assert counts.datagrams == 303 and counts.messages == 304
    assert len(heard.calls) < 60, "most were never read"
    presses = [address for address, _ in heard.calls if address != "/fractal/param/temperature"]
    assert presses == ["/fractal/reroll", "/fractal/reroll", "/fractal/param/cfg", "/fractal/panic"]
    place = addresses(heard).index("/fractal/reroll")
    assert heard.calls[place - 1] == ("/fractal/param/temperature", (pytest.approx(0.199),))
    assert heard.calls[-2][1] == (pytest.approx(0.399),)


MOVED = [f"/fractal/latent/level0/{number}" for number in range(16)] + ["/fractal/plan/density", "/fractal/param/swing"]


def frame_of(number: int) -> list[bytes]:
    """A video frame of a sender that says everything, again and again: 1000 messages."""
    value = 0.25 + number / 512
    frame = [message(f"/project1/chan{k}", value) for k in range(200)] + [message("/fractal/panic", 0.0)] * 80
    return frame + [message(address, value * (1 + k / 40)) for k in range(40) for address in MOVED]


async def flooded(frames: int) -> tuple[Controls, OscCounts, int, int, float]:
    """Controls after so many frames through a socket, as single datagrams and as one bundle in turn; the counts,
    the datagrams sent, the messages read, and the processor time that took. The sender waits for the receiver, so
    that nothing depends on who else wants the processor."""
    controls, read, over = Controls(), 0, asyncio.Event()

    def handler(address: str, arguments: tuple[Any, ...], peer: Peer) -> None:
        nonlocal read
        read += 1
        controls.apply(address, arguments)

    transport, osc = await open_osc_in(handler, port=0, keep=KEEP, after_burst=over.set)
    sent, used_s = 0, 0.0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender:
        for number in range(frames):
            frame = frame_of(number)
            parts = [bundle(*frame)] if number % 2 else frame
            for start in range(0, len(parts), 200):
                for part in parts[start : start + 200]:
                    sender.sendto(part, transport.get_extra_info("sockname"))
                    sent += 1
                before_s = time.process_time()
                while osc.counts.datagrams < sent:
                    over.clear()
                    await over.wait()
                used_s += time.process_time() - before_s
    transport.close()
    return controls, osc.counts, sent, read, used_s


def test_a_flood_loses_nothing_and_costs_little_of_what_reading_it_all_would() -> None:
    frames = 16
    controls, counts, sent, read, used_s = asyncio.run(flooded(frames))
    assert counts.datagrams == sent
    assert counts.messages + counts.refused["unknown"] == frames * 1000
    assert read < frames * 300
    value = 0.25 + (frames - 1) / 512
    newest = value * (1 + 39 / 40)
    assert controls.snapshot.latent == pytest.approx([newest] * 16)
    assert controls.values()["/fractal/plan/density"] == pytest.approx((newest,))
    reading, twin = [part for number in range(4) for part in frame_of(number)], Controls()
    everything = OscIn(lambda address, arguments, peer: bool(twin.apply(address, arguments)))
    before_s = time.process_time()
    for part in reading:
        everything.receive(part, PEER)
    assert used_s / frames < 0.5 * (time.process_time() - before_s) / 4


def test_a_dated_bundle_wakes_the_loop_at_its_time() -> None:
    began_s = time.time()
    datagrams = [bundle(message("/late"), tag=tag_of(began_s + 0.2)), message("/soon")]
    heard, _ = asyncio.run(sent_at_once(datagrams, "/late", obeys_time_tags=True))
    assert addresses(heard) == ["/soon", "/late"]
    assert time.time() >= began_s + 0.2


def test_the_largest_message_is_parsed_quickly(heard: Heard) -> None:
    count = (LARGEST_MESSAGE_BYTES - 12) // 5 - 4
    heard.receive(message("/a", *[0.5] * count))
    assert len(heard.calls[0][1]) == count
