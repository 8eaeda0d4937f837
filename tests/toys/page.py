"""A running server of the player, and a page of it, for tests."""

from __future__ import annotations

import asyncio
import functools
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from dfgym.play.server import Door, Server
from dfgym.play.session import Session
from toys.play import read_frame

TOKEN = "the-token"
PATIENCE = 60.0  # seconds; machines are busy


class Here:
    """A running server, and a page's view of it."""

    def __init__(self, client: aiohttp.ClientSession, server: Server, port: int) -> None:
        self.client, self.server, self.port = client, server, port
        self.base = f"http://127.0.0.1:{port}"

    async def get(self, path: str, **headers: str) -> tuple[int, str, Any]:
        async with self.client.get(self.base + path, headers=headers) as answer:
            body = await answer.read()
            text = body.decode() if answer.content_type.startswith("text") else ""
            return answer.status, text, answer.headers

    @asynccontextmanager
    async def page(self) -> AsyncIterator[Page]:
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

    async def say(self, do: str, **values: Any) -> None:
        await self.socket.send_json({"do": do, **values})

    async def hear(self, ack: bool = True) -> dict[str, Any]:
        """What comes next: a message, or the header of a frame, with its pictures."""
        packet = await self.socket.receive(PATIENCE)
        if packet.type == aiohttp.WSMsgType.BINARY:
            header, pictures = read_frame(packet.data)
            if ack:
                await self.say("ack", seq=header["seq"])
            return {"type": "frame", **header, "pictures": pictures}
        assert packet.type == aiohttp.WSMsgType.TEXT, packet
        said: dict[str, Any] = json.loads(packet.data)
        match said["type"]:
            case "hello":
                self.hello = said
            case "state":
                self.state = said
            case _:
                self.errors.append(said["message"])
        return said

    async def hear_until(self, kind: str, ack: bool = True) -> list[dict[str, Any]]:
        """All that comes, up to the first of a kind: frame, hello, state or error."""
        heard = [await self.hear(ack)]
        while heard[-1]["type"] != kind:
            heard.append(await self.hear(ack))
        return heard

    async def frame(self, ack: bool = True) -> dict[str, Any]:
        """The next frame."""
        return (await self.hear_until("frame", ack))[-1]

    async def until(self, wanted: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
        """The first frame that is wanted."""
        while not wanted(frame := await self.frame()):
            pass
        return frame

    async def closed(self) -> int | None:
        """Read on to the end, acknowledging nothing; the code it was closed with."""
        async for packet in self.socket:
            if packet.type == aiohttp.WSMsgType.TEXT and "error" in packet.data[:20]:
                self.errors.append(json.loads(packet.data)["message"])
        return self.socket.close_code


@pytest.fixture
def play(calm_world: Path) -> Callable[..., None]:
    """Run a coroutine function against a server of its own."""
    make = functools.partial(Session, str(calm_world), device="cpu", seed=0)

    def run(test: Callable[[Here], Awaitable[None]], connections: int = 4) -> None:
        async def main() -> None:
            listener = socket.create_server(("127.0.0.1", 0))
            port = listener.getsockname()[1]
            door = Door(frozenset({f"127.0.0.1:{port}"}), TOKEN)
            server = Server(door, make, connections)
            runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=5)
            await runner.setup()
            await web.SockSite(runner, listener).start()
            try:
                async with aiohttp.ClientSession() as client:
                    await test(Here(client, server, port))
            finally:
                await runner.cleanup()
            assert not server._connections

        asyncio.run(main())

    return run
