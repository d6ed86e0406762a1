"""What is told over OSC, and to whom."""

import socket

import pytest

from fractal_live.ports.osc_out import MOST_SUBSCRIBERS, OscOut
from tests.ports.osc_heard import Heard


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
