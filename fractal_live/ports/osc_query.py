"""OSCQuery over HTTP: which OSC addresses there are, for programs that ask. Reads only, one answer per connection.

What is asked is not trusted: a request has one kilobyte and two seconds. Knows no control: the tree is handed in.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any
from urllib.parse import unquote, urlsplit

from fractal_live.ports.osc_in import OscPortError

Tree = Mapping[str, Any]

LONGEST_REQUEST_BYTES = 1024
PATIENCE_S = 2.0
ATTRIBUTES = ("FULL_PATH", "CONTENTS", "TYPE", "ACCESS", "RANGE", "DESCRIPTION", "VALUE", "CLIPMODE")


async def open_osc_query(tree: Callable[[], Tree], host: str, port: int, osc_port: int) -> asyncio.Server:
    """Answers on a TCP port (0: any free one) until the server is closed: `tree()` is the root node as it is now,
    `osc_port` where its messages go. Raises OscPortError when the port cannot be had."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n")
        while await reader.readuntil(b"\r\n") != b"\r\n":
            pass  # headers say nothing that matters here
        writer.write(response(request, tree, host, osc_port))
        await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await asyncio.wait_for(answer(reader, writer), PATIENCE_S)
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.TimeoutError):
            pass  # who does not ask properly is not answered
        finally:
            writer.close()

    try:
        return await asyncio.start_server(serve, host, port, limit=LONGEST_REQUEST_BYTES)
    except (OSError, OverflowError) as error:
        raise OscPortError(f"OSCQuery cannot listen on {host} port {port} ({error}); choose another port") from error


def response(request: bytes, tree: Callable[[], Tree], host: str, osc_port: int) -> bytes:
    """The whole HTTP response to a request line such as `GET /fractal/param?HOST_INFO HTTP/1.1`."""
    words = request.split()
    if len(words) != 3 or words[0] != b"GET":
        return _http(HTTPStatus.BAD_REQUEST)
    target = urlsplit(words[1].decode("latin-1"))
    if target.query == "HOST_INFO":
        return _http(HTTPStatus.OK, host_info(host, osc_port))
    node: Any = tree()
    for name in unquote(target.path).strip("/").split("/"):
        node = node.get("CONTENTS", {}).get(name) if name and node is not None else node
    if node is None:
        return _http(HTTPStatus.NOT_FOUND)
    if not target.query:
        return _http(HTTPStatus.OK, node)
    if target.query not in ATTRIBUTES:
        return _http(HTTPStatus.BAD_REQUEST)
    if target.query not in node:
        return _http(HTTPStatus.NO_CONTENT)
    return _http(HTTPStatus.OK, {target.query: node[target.query]})


def host_info(host: str, osc_port: int) -> Tree:
    """What this server can do, in the proposal's words."""
    extensions = {name: name in ATTRIBUTES for name in (*ATTRIBUTES, "LISTEN", "PATH_CHANGED", "TAGS", "UNIT")}
    reachable = {} if host == "0.0.0.0" else {"OSC_IP": host}
    return {
        "NAME": "fractal-live",
        "OSC_PORT": osc_port,
        "OSC_TRANSPORT": "UDP",
        "EXTENSIONS": {name: has for name, has in extensions.items() if name not in ("FULL_PATH", "CONTENTS")},
        **reachable,
    }


def _http(status: HTTPStatus, body: object = None) -> bytes:
    text = b"" if body is None else json.dumps(body).encode()
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(text)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode("ascii") + text
