"""What TouchDesigner and its like send, to the real program: vectors split into channels, bundles, dates of another
clock, floats for everything, every video frame; and what they are told.

Plays by its own clock to no MIDI system at all.
"""

from __future__ import annotations

import json
import math
import socket
import time
import urllib.request
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest
from pythonosc.osc_message import OscMessage

from fractal_live.bench.machine import resident_mb
from fractal_live.live.control_table import BY_ADDRESS, CONTROLS, KEEP
from fractal_live.ports.osc_in import bound_socket
from tests.instrument import Instrument, instrument, need, wait_for
from tests.ports.osc_bytes import bundle, message, tag_of

pytestmark = [pytest.mark.ports, pytest.mark.slow, pytest.mark.timeout(180)]

TEMPO_BPM = 120
FLOOD_S = 5.0
FRAMES_PER_SECOND = 60
MESSAGES_PER_FRAME = 1000
DIFFERENT_FRAMES = 12
SATURATED = 85.0  # percent of the flood for which the daemon had a processor or waited for one; half of it is usual
LATE_MS = 5.0
ANSWER_S = 3.0
LEAST_RECEIVE_BUFFER = 2 << 20  # what a frame of single datagrams needs in the kernel, with room for a pause


class Client:
    """Sends from one port and listens at another, as an OSC Out CHOP and an OSC In CHOP do. `told` is what it heard:
    (time.monotonic(), address, values)."""

    def __init__(self, running: Instrument) -> None:
        self.out = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.ear = bound_socket("127.0.0.1", 0)
        self.port = int(self.ear.getsockname()[1])
        self._to = ("127.0.0.1", running.osc_port)
        self.sent = 0
        self.told: list[tuple[float, str, tuple[float, ...]]] = []

    def send(self, *datagrams: bytes) -> None:
        for datagram in datagrams:
            self.out.sendto(datagram, self._to)
        self.sent += len(datagrams)

    def listen(self) -> None:
        while True:
            try:
                datagram = self.ear.recv(65536)
            except BlockingIOError:
                return
            heard = OscMessage(datagram)
            self.told.append((time.monotonic(), heard.address.removeprefix("/fractal/out/"), tuple(heard.params)))

    def forget(self) -> None:
        self.listen()
        self.told.clear()

    def of(self, address: str) -> list[tuple[float, ...]]:
        self.listen()
        return [values for _, told, values in self.told if told == address]

    def hears(self, address: str, limit_s: float = 5.0, count: int = 1) -> list[tuple[float, ...]]:
        wait_for(lambda: len(self.of(address)) >= count, limit_s, f"{count} of {address}")
        return self.of(address)

    def asked(self) -> dict[str, tuple[float, ...]]:
        """All answers to a query, by address."""
        self.forget()
        asked_s = -math.inf

        def is_answered() -> bool:
            nonlocal asked_s
            if time.monotonic() - asked_s > ANSWER_S:
                asked_s = time.monotonic()
                self.send(message("/fractal/query", float(self.port)))
            return bool(self.of("patch"))

        wait_for(is_answered, 15, "an answer")
        place = next(k for k, (_, address, _) in enumerate(self.told) if address == "patch")
        wait_for(lambda: "state/tempo" in {told for _, told, _ in self.heard_after(place)}, 5, "the end of the answer")
        return {address: values for _, address, values in self.heard_after(place)}

    def heard_after(self, place: int) -> list[tuple[float, str, tuple[float, ...]]]:
        self.listen()
        return self.told[place:]

    def close(self) -> None:
        self.out.close()
        self.ear.close()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Instrument]:
    """One run of the program for all; it is playing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        query_port = probe.getsockname()[1]
    options = ["--sync", "internal", "--midi-api", "none", "--tempo", str(TEMPO_BPM), "--seed", "4"]
    with instrument(tmp_path_factory.mktemp("show"), *options, "--osc-query-port", str(query_port)) as show:
        show.query_port = query_port  # type: ignore[attr-defined]
        client = Client(show)

        def is_playing() -> bool:
            client.send(message("/fractal/subscribe", client.port))
            time.sleep(0.2)
            return bool(client.of("bar"))

        wait_for(is_playing, 90, "the first bar")
        client.send(message("/fractal/unsubscribe", client.port))
        yield show
        assert "Traceback" not in show.log.read_text(encoding="utf-8")
        assert show.leave() == 0
        client.close()


@pytest.fixture
def client(running: Instrument) -> Iterator[Client]:
    """A subscriber, forgotten afterwards."""
    made = Client(running)
    made.send(message("/fractal/subscribe", float(made.port)))
    made.hears("state/tempo")
    yield made
    made.send(message("/fractal/unsubscribe", float(made.port)))
    made.close()


def test_td_1_a_vector_arrives_whole_in_parts_and_one_channel_per_message(running: Instrument, client: Client) -> None:
    need("oscsend")
    running.osc("/fractal/latent/level0", "f" * 16, *[f"{k / 8:g}" for k in range(16)])
    running.osc("/fractal/latent/level0", "ff", "-1", "-2")
    client.send(
        bundle(
            *(message(f"/fractal/latent/level0/{k}", -k / 4) for k in (2, 3)),
            message("/fractal/latent/level0_4", -1.25),
            message("/fractal/latent/level05", -1.5),
            message("/fractal/latent/level0[6]", -1.75),
        )
    )
    expected = [-1.0, -2.0, -0.5, -0.75, -1.25, -1.5, -1.75, *(k / 8 for k in range(7, 16))]
    assert client.asked()["control/latent/level0"] == pytest.approx(expected)


def test_td_2_floats_mean_whole_numbers_and_switches_and_the_newest_sample_counts(client: Client) -> None:
    client.send(message("/fractal/param/top_k", 39.7), message("/fractal/param/cfg", 1.0, 2.0, 3.0))
    client.send(message("/fractal/param/transpose", True), message("/fractal/panic", 0.0))
    answers = client.asked()
    assert answers["control/param/top_k"] == (40.0,)
    assert answers["control/param/cfg"] == (3.0,)
    assert answers["control/param/transpose"] == (1.0,)
    client.send(message("/fractal/param/top_k", 0), message("/fractal/param/cfg", 1.0))
    client.send(message("/fractal/param/transpose", False))


def test_td_3_a_bundle_of_another_clock_is_obeyed_at_once(client: Client) -> None:
    for ahead_s, value in ((365 * 86400, 0.7), (-86400, 0.8), (0.2, 0.9)):
        client.send(bundle(message("/fractal/param/temperature", value), tag=tag_of(time.time() + ahead_s)))
        assert client.asked()["control/param/temperature"] == pytest.approx((value,))


def test_td_4_whoever_makes_a_mistake_is_answered_once_a_second(running: Instrument, client: Client) -> None:
    other = Client(running)  # never subscribed
    client.forget()
    for frame in range(60):
        client.send(message("/fractal/plan/density", math.nan), message(f"/fractal/param/temprature{frame}", 1.0))
        time.sleep(1 / 60)
    errors = [str(values[0]) for values in client.hears("error", count=2)]
    assert 2 <= len(errors) <= 4
    assert any("not a finite number" in text for text in errors)
    assert any("no such address; nearest: /fractal/param/temperature" in text for text in errors)
    assert not other.of("error")
    other.close()


def test_td_5_what_sounds_is_told_when_it_sounds(client: Client) -> None:
    client.send(message("/fractal/plan/density", 12.0))
    first = int(client.hears("bar")[-1][0]) + 2
    wait_for(lambda: client.of("bar")[-1][0] >= first + 2, 20, "some bars")
    bars = [place for place, (_, address, _) in enumerate(client.told) if address == "bar"]
    for begin, end in pairwise(bars):
        if client.told[begin][2][0] < first:
            continue
        inside = {address: values for _, address, values in client.told[begin:end]}
        notes = [values for _, address, values in client.told[begin:end] if address == "note" and values[1] > 0]
        beats = [values for _, address, values in client.told[begin:end] if address == "beat"]
        assert len(inside["level/0"]) == 6 and len(inside["level/1"]) == 24
        assert len(inside["level/2"]) == 4 and len(inside["level/3"]) == 16
        assert sum(inside["level/2"]) == sum(inside["level/3"])
        assert abs(sum(inside["level/3"]) - len(notes)) <= 1, "a note on the line may be told before the line"
        assert {int(values[1]) for values in beats} == {0, 1, 2, 3}
        assert len(inside["latent"]) == 16 and len(inside["plan/density"]) == 32 and len(inside["chroma"]) == 12
    wrong_by = []
    for place, (on_s, address, values) in enumerate(client.told):
        if address == "note" and values[1] > 0:
            ends = (told for told in client.told[place + 1 :] if told[1] == "note" and told[2][0] == values[0])
            off = next(ends, None)
            if off is not None:
                wrong_by.append(abs((off[0] - on_s) * TEMPO_BPM / 60 - values[2]))
    assert sorted(wrong_by)[len(wrong_by) // 2] < 0.1, "the middle note lasts as many beats as was told"
    client.send(message("/fractal/plan/density"))


def test_td_6_a_heartbeat_comes_each_second_and_whoever_leaves_hears_no_more(client: Client) -> None:
    numbers = [int(values[0]) for values in client.hears("heartbeat", count=3)]
    assert numbers == list(range(numbers[0], numbers[0] + 3))
    client.send(message("/fractal/unsubscribe", float(client.port)))
    time.sleep(0.3)
    client.forget()
    time.sleep(0.5)
    assert client.of("beat") == []


def test_td_7_who_asks_is_told_everything(client: Client) -> None:
    answers = client.asked()
    held = {
        address.replace("/fractal/", "control/", 1)
        for address, control in BY_ADDRESS.items()
        if control.group != "action" and control.kind not in ("slots", "text") and control.name != "latent_dim"
    }
    assert held <= answers.keys()
    assert {"patch", "playing", "latent", "chroma", "plan/loudness", "level/3", "state/lead"} <= answers.keys()
    assert answers["state/device"] == ("cpu",)


def test_td_8_programs_find_the_addresses_by_oscquery(running: Instrument, client: Client) -> None:
    client.send(message("/fractal/param/mask_p", 0.25))
    client.asked()
    base = f"http://127.0.0.1:{running.query_port}"  # type: ignore[attr-defined]
    node = json.load(urllib.request.urlopen(f"{base}/fractal/param/mask_p", timeout=5))
    assert (node["VALUE"], node["RANGE"]) == ([0.25], [{"MIN": 0.0, "MAX": 0.95}])
    assert json.load(urllib.request.urlopen(f"{base}/?HOST_INFO", timeout=5))["OSC_PORT"] == running.osc_port
    client.send(message("/fractal/param/mask_p", 0.0))


def flooding() -> list[str]:
    """The addresses of a flood: every number but those that change speed or silence."""
    kept_still = {"plan_tempo", "lead_bars", "iterations", "cfg", "low", "high"}
    moved = {
        control.address
        for control in CONTROLS
        if control.kind in ("float", "int", "floats") and control.group != "action" and control.name not in kept_still
    }
    return [address for address, kept in KEEP.items() if kept == "newest" and address in moved]


def frame_of(number: int) -> list[bytes]:
    """A thousand messages: every value some ten times over, all buttons released, and what nobody knows."""
    values = {address: BY_ADDRESS[address] for address in flooding()}
    messages = [message(address, 0.0) for address, kept in KEEP.items() if kept == "presses"]
    messages += [message(f"/project1/chan{k}", 0.5) for k in range(300)]
    while len(messages) < MESSAGES_PER_FRAME:
        for address, control in values.items():
            share = 0.5 + 0.05 * math.sin(number + len(messages))
            count = control.group_of if control.name == "chroma" else 1
            messages.append(message(address, *[control.low + share * (control.high - control.low)] * count))
    return messages[-MESSAGES_PER_FRAME:]


def packed(messages: list[bytes], shape: int) -> list[bytes]:
    """A frame as one datagram, as many, or as bundles of as many as go through a cable."""
    if shape == 0:
        return [bundle(*messages)]
    if shape == 1:
        return messages
    return [bundle(*messages[k : k + 25]) for k in range(0, len(messages), 25)]


def memory_of(running: Instrument) -> float:
    held_mb = resident_mb(running.process.pid)
    assert held_mb is not None
    return held_mb


def processor_s(running: Instrument) -> float:
    """Seconds that the daemon had a processor, or waited for one; 0 where the system does not tell."""
    try:
        used_ns, waited_ns, _ = Path(f"/proc/{running.process.pid}/schedstat").read_text("ascii").split()
    except OSError:
        return 0.0
    return (int(used_ns) + int(waited_ns)) / 1e9


def test_td_9_sixty_frames_a_second_of_a_thousand_messages_lose_and_delay_nothing(
    running: Instrument, client: Client
) -> None:
    with bound_socket("127.0.0.1", 0) as probe:
        granted = probe.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF)
    if granted < LEAST_RECEIVE_BUFFER:
        pytest.skip(f"the kernel grants a socket {granted} bytes (sysctl net.core.rmem_max), too few for a burst")
    frames = [frame_of(number) for number in range(DIFFERENT_FRAMES)]
    datagrams = [packed(frame, number % 3) for number, frame in enumerate(frames)]
    assert {len(frame) for frame in frames} == {MESSAGES_PER_FRAME}
    client.hears("state/lateness_ms", count=20)
    before = client.asked()
    counted, refused = before["state/osc_datagrams"][0], before["state/osc_refused"][0]
    sent_before, memory_mb = client.sent, memory_of(running)
    client.forget()
    wanted_s = processor_s(running)
    began_s, number = time.monotonic(), 0
    while (elapsed_s := time.monotonic() - began_s) < FLOOD_S:
        if number <= elapsed_s * FRAMES_PER_SECOND:
            client.send(*datagrams[number % DIFFERENT_FRAMES])
            number += 1
        else:
            client.listen()
            time.sleep(0.001)
    took_s = time.monotonic() - began_s
    rate, wanted = number / took_s, 100 * (processor_s(running) - wanted_s) / took_s
    during = [(at_s, address, values) for at_s, address, values in client.told]
    last = frames[(number - 1) % DIFFERENT_FRAMES]
    answers = client.asked()

    assert rate > 0.9 * FRAMES_PER_SECOND, f"{rate:.0f} frames a second: the sender was too slow"
    lost = client.sent - sent_before - (answers["state/osc_datagrams"][0] - counted)
    worst_ms = max(values[0] for _, address, values in during if address == "state/lateness_ms")
    if wanted > SATURATED and (lost or worst_ms > LATE_MS):
        pytest.skip(
            f"the daemon wanted a processor for {wanted:.0f} % of the time: {lost} lost, {worst_ms:.1f} ms late"
        )
    assert lost == 0
    assert answers["state/osc_refused"][0] > refused, "what nobody knows is counted"
    newest = {OscMessage(part).address: tuple(OscMessage(part).params) for part in last}
    wrong = {}
    for address in flooding():
        told = answers[address.replace("/fractal/", "control/", 1)]
        sent = newest[address]
        if BY_ADDRESS[address].kind == "int":
            sent = tuple(round(value) for value in sent)
        if address == "/fractal/latent/level0":
            told = told[: len(sent)]
        if told != pytest.approx(sent, rel=1e-5):
            wrong[address] = (told, sent)
    assert not wrong
    heard_s = [at_s for at_s, address, _ in during if address == "state/tempo"]
    assert max(b - a for a, b in pairwise(heard_s)) < 0.5, "it goes on telling"
    assert any(address == "note" and values[1] > 0 for _, address, values in during), "it goes on playing"
    assert worst_ms < before["state/lateness_ms"][0] + LATE_MS, "notes are no later than without it"
    assert answers["state/underruns"] == before["state/underruns"]
    assert memory_of(running) - memory_mb < 8
