import asyncio
import json
import socket
import time
import urllib.error
import urllib.request
from typing import Any

import pytest

from fractal_live.ports.osc_in import OscPortError
from fractal_live.ports.osc_query import LONGEST_REQUEST_BYTES, PATIENCE_S, open_osc_query, response

LEAF = {"FULL_PATH": "/a/b", "TYPE": "f", "ACCESS": 3, "VALUE": [0.5], "RANGE": [{"MIN": 0, "MAX": 1}]}
TREE = {"FULL_PATH": "/", "CONTENTS": {"a": {"FULL_PATH": "/a", "CONTENTS": {"b": LEAF}}}}


def asked(target: str, method: str = "GET") -> tuple[int, Any]:
    answer = response(f"{method} {target} HTTP/1.1\r\n".encode(), lambda: TREE, "127.0.0.1", 5005)
    head, _, body = answer.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}\r\n".encode() in head + b"\r\n"
    return int(head.split()[1]), json.loads(body) if body else None


@pytest.mark.parametrize(
    ("target", "answer"),
    [
        ("/", (200, TREE)),
        ("/a", (200, TREE["CONTENTS"]["a"])),  # type: ignore[index]
        ("/a/b", (200, LEAF)),
        ("/a/b/", (200, LEAF)),
        ("/a%2Fb", (200, LEAF)),
        ("/a/b?VALUE", (200, {"VALUE": [0.5]})),
        ("/a/b?RANGE", (200, {"RANGE": [{"MIN": 0, "MAX": 1}]})),
        ("/a?VALUE", (204, None)),
        ("/a/c", (404, None)),
        ("/a/b/c", (404, None)),
        ("/a/b?NOISE", (400, None)),
        ("/../../etc/passwd", (404, None)),
    ],
)
def test_a_path_is_answered_with_its_node_or_one_attribute(target: str, answer: tuple[int, Any]) -> None:
    assert asked(target) == answer


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE"])
def test_nothing_can_be_written(method: str) -> None:
    assert asked("/a/b", method) == (400, None)


@pytest.mark.parametrize("line", [b"", b"\r\n", b"GET\r\n", b"GET / a b\r\n", b"\xff\xfe /\xff HTTP/1.1\r\n"])
def test_what_is_no_request_is_refused(line: bytes) -> None:
    assert response(line, lambda: TREE, "127.0.0.1", 5005).startswith(b"HTTP/1.1 400 ")


@pytest.mark.parametrize("target", ["/?HOST_INFO", "/a/b?HOST_INFO"])
def test_the_host_says_where_messages_go_and_what_it_can_do(target: str) -> None:
    status, info = asked(target)
    assert status == 200
    assert (info["OSC_IP"], info["OSC_PORT"], info["OSC_TRANSPORT"]) == ("127.0.0.1", 5005, "UDP")
    assert info["EXTENSIONS"]["VALUE"] is True and info["EXTENSIONS"]["LISTEN"] is False


def test_over_the_network_browsers_are_answered_and_loiterers_are_not() -> None:
    async def evening() -> tuple[Any, bytes, bytes]:
        server = await open_osc_query(lambda: TREE, "127.0.0.1", 0, 5005)
        port = server.sockets[0].getsockname()[1]
        idle_reader, idle = await asyncio.open_connection("127.0.0.1", port)
        idle.write(b"GET / HT")
        long_reader, long = await asyncio.open_connection("127.0.0.1", port)
        long.write(b"GET /" + b"x" * 100 * LONGEST_REQUEST_BYTES)
        url = f"http://127.0.0.1:{port}/a/b"
        body = await asyncio.to_thread(lambda: urllib.request.urlopen(url, timeout=5).read())
        try:
            cut = await asyncio.wait_for(long_reader.read(), 5)
        except ConnectionResetError:
            cut = b""
        began_s = time.monotonic()
        silent = await asyncio.wait_for(idle_reader.read(), PATIENCE_S + 5)
        assert time.monotonic() - began_s < PATIENCE_S + 1
        for writer in (idle, long):
            writer.close()
        server.close()
        await server.wait_closed()
        return json.loads(body), cut, silent

    assert asyncio.run(evening()) == (LEAF, b"", b"")


def test_a_taken_port_is_named() -> None:
    async def evening() -> None:
        with socket.socket() as first:
            first.bind(("127.0.0.1", 0))
            first.listen()
            port = first.getsockname()[1]
            with pytest.raises(OscPortError, match=f"port {port}"):
                await open_osc_query(lambda: TREE, "127.0.0.1", port, 5005)

    asyncio.run(evening())
