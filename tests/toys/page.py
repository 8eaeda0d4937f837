"""A running server of the player, and a page of it, for tests."""

from __future__ import annotations

import asyncio
import functools
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from dfgym.play.command import Serve
from dfgym.play.server import AccessPolicy, Server, serving
from dfgym.play.session import Session
from dfgym.world.settings import Settings
from toys.play import read_frame

TOKEN = "the-token"
PATIENCE = 60.0  # seconds; machines are busy


class Running:
    """A running server, and a client of it."""

    def __init__(self, client: aiohttp.ClientSession, server: Server, port: int) -> None:
        self.client, self.server, self.port = client, server, port
        self.base = f"http://127.0.0.1:{port}"

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        """Return the status, the text and the headers of an answer."""
        async with self.client.get(self.base + path, headers=headers) as answer:
            body = await answer.read()
            text = body.decode() if answer.content_type.startswith("text") else ""
            return answer.status, text, answer.headers

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
        """Open a page's WebSocket."""
        address = f"{self.base}/socket?token={TOKEN}"
        async with self.client.ws_connect(address, origin=self.base) as socket:
            yield Page(socket)


class Page:
    """The player's end of a WebSocket."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.socket = socket
        self.errors: list[str] = []
        self.state: dict[str, Any] = {}
        self.hello: dict[str, Any] = {}

    async def send(self, do: str, **values: Any) -> None:
        """Send a message."""
        await self.socket.send_json({"do": do, **values})

    async def receive(self, ack: bool = True) -> dict[str, Any]:
        """Return the next message, or the header of the next frame with its pictures."""
        packet = await self.socket.receive(PATIENCE)
        if packet.type == aiohttp.WSMsgType.BINARY:
            header, pictures = read_frame(packet.data)
            if ack:
                await self.send("ack", seq=header["seq"])
            return {"type": "frame", **header, "pictures": pictures}
        assert packet.type == aiohttp.WSMsgType.TEXT, packet
        reply: dict[str, Any] = json.loads(packet.data)
        match reply["type"]:
            case "hello":
                self.hello = reply
            case "state":
                self.state = reply
            case _:
                self.errors.append(reply["message"])
        return reply

    async def receive_until(self, kind: str, ack: bool = True) -> list[dict[str, Any]]:
        """Return all that comes, up to the first of a kind: frame, hello, state or error."""
        replies = [await self.receive(ack)]
        while replies[-1]["type"] != kind:
            replies.append(await self.receive(ack))
        return replies

    async def frame(self, ack: bool = True) -> dict[str, Any]:
        """Return the next frame."""
        return (await self.receive_until("frame", ack))[-1]

    async def until(self, condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """Return the first frame that fulfils a condition."""
        while not condition(frame := await self.frame()):
            pass
        return frame

    async def until_input(self, number: int) -> dict[str, Any]:
        """Return the first frame that obeys the action of this number."""
        return await self.until(lambda frame: bool(frame["input"] == number))

    async def closed(self) -> int | None:
        """Read to the end without acknowledging; return the code that it was closed with."""
        async for packet in self.socket:
            if packet.type == aiohttp.WSMsgType.TEXT and "error" in packet.data[:20]:
                self.errors.append(json.loads(packet.data)["message"])
        return self.socket.close_code


RunTest = Callable[..., None]
"""Runs a coroutine function of a `Running`; takes `connections`, the number of games."""


@pytest.fixture
def play(calm_world: Path) -> RunTest:
    """Run a coroutine function against a server of its own."""
    make = functools.partial(Session, str(calm_world), Settings(device="cpu"), seed=0)

    def run(test: Callable[[Running], Awaitable[None]], connections: int = 4) -> None:
        async def main() -> None:
            listener = Serve().listen()
            port = listener.getsockname()[1]
            server = Server(
                AccessPolicy(frozenset({f"127.0.0.1:{port}"}), TOKEN), make, connections
            )
            async with serving(server.app(), listener), aiohttp.ClientSession() as client:
                await test(Running(client, server, port))
            assert not server.connections

        asyncio.run(main())

    return run
