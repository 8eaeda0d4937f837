"""The web server of `dfgym play`: who may speak to it, the page, the socket, the recordings.

Every request needs a `Host` that is ours (against DNS rebinding), no foreign `Origin` (against
other pages in the same browser) and the run's token (against everybody else).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket as sockets
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Handler

from dfgym.errors import DataError, MissingPackageError
from dfgym.play.connection import CLOSE_S, Connection
from dfgym.play.messages import MAX_BYTES

if TYPE_CHECKING:
    from dfgym.play.save import Film
    from dfgym.play.session import Session

HEARTBEAT_S = 20.0
MAX_LINES = 64
"""Connections at the same time, whoever made them."""
QUIET_S = 10.0
"""How long one may take to send a whole request."""
STOP_S = 1.0
"""How long requests may take to end when the server does."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "dfgym",
    "X-Content-Type-Options": "nosniff",
}
POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
FORMS = {
    "gif": ("image/gif", ".gif"),
    "mp4": ("video/mp4", ".mp4"),
    "episode": ("application/zip", "-episode.zip"),
}
PAGE = Path(__file__).with_name("page.html")
NO_PAGE = "<!doctype html><title>dfgym play</title><p>The page is not there yet: page.html."


@dataclass(frozen=True)
class Door:
    """Who may come in."""

    hosts: frozenset[str]
    """`Host` headers that are ours, in lower case, e.g. `127.0.0.1:8000`."""
    token: str

    def refuse(self, request: web.Request) -> tuple[int, str] | None:
        """The status and the words for a request that may not come in."""
        host, origin = request.headers.get("Host", "").lower(), request.headers.get("Origin")
        if host not in self.hosts:
            return 403, f"this server is {', '.join(sorted(self.hosts))}, not {host[:100]!r}"
        upgrade = request.path == "/socket"
        if origin is None and upgrade:
            return 403, "a WebSocket must say which page it comes from (Origin)"
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return 403, f"a request from another page, {origin[:100]!r}"
        given = request.query.get("token", "").encode()
        if not secrets.compare_digest(given, self.token.encode()):
            return 401, "open the whole address that `dfgym play` printed, with ?token=..."
        return None


class Server:
    """What is served, and to whom.

    Args:
        door: who may come in.
        make: makes the session of a page.
        max_connections: games at the same time.
    """

    def __init__(self, door: Door, make: Callable[[], Session], max_connections: int) -> None:
        self._door, self._make, self._max = door, make, max_connections
        self._page = PAGE.read_text(encoding="utf-8") if PAGE.exists() else NO_PAGE
        self._connections: dict[str, Connection] = {}
        self._saving = asyncio.Semaphore(1)  # it takes memory and a core

    def app(self) -> web.Application:
        """The application, to be run."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BYTES)
        app.router.add_get("/", self._serve_page, allow_head=False)
        app.router.add_get("/socket", self._serve_socket, allow_head=False)
        app.router.add_get("/save/{form}", self._serve_recording, allow_head=False)
        app.on_response_prepare.append(_protect)
        app.on_shutdown.append(self._stop)
        return app

    async def _stop(self, app: web.Application) -> None:
        for connection in self._connections.values():
            connection.leave()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if (refused := self._door.refuse(request)) is not None:
            return _say(*refused)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _say(error.status, f"{error.reason}: this server has a page, /?token=...")

    async def _serve_page(self, request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        text = self._page.replace("{{NONCE}}", nonce)
        response = web.Response(text=text, content_type="text/html")
        response.headers["Content-Security-Policy"] = POLICY.format(nonce=nonce)
        return response

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        socket = web.WebSocketResponse(
            max_msg_size=MAX_BYTES + 1,  # aiohttp refuses what is as long as this
            heartbeat=HEARTBEAT_S,
            compress=False,
            timeout=CLOSE_S,
        )
        try:
            await socket.prepare(request)
        except ConnectionResetError:
            return _say(400, "the page is gone")  # to nobody
        if len(self._connections) >= self._max:
            words = f"{self._max} games are being played; close one, or --max-connections"
            with contextlib.suppress(ConnectionResetError):
                await socket.send_json({"type": "error", "message": words})
            await socket.close(code=1013, message=words.encode())
            return socket
        connection = Connection(request, socket, self._make, secrets.token_urlsafe(9))
        self._connections[connection.name] = connection
        try:
            await connection.run()
        finally:
            del self._connections[connection.name]
        return socket

    async def _serve_recording(self, request: web.Request) -> web.Response:
        form = request.match_info["form"]
        connection = self._connections.get(request.query.get("session", ""))
        if form not in FORMS:
            return _say(404, f"recordings are {', '.join(FORMS)}, not {form[:40]!r}")
        film = None if connection is None else await connection.film()
        if film is None:
            return _say(404, "that game is over: save from a page that is still playing")
        try:
            async with self._saving:
                data = await asyncio.to_thread(_encode, form, film)
        except MissingPackageError as error:
            return _say(501, str(error))
        except DataError as error:
            return _say(409, str(error))
        kind, suffix = FORMS[form]
        name = f"{film.card.name}{suffix}"
        headers = {"Content-Disposition": f'attachment; filename="{name}"'}
        return web.Response(body=data, content_type=kind, headers=headers)


@contextlib.asynccontextmanager
async def serving(app: web.Application, listener: sockets.socket) -> AsyncIterator[None]:
    """Serve it at an open port, within limits on connections that are nobody's yet."""
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_S)
    await runner.setup()
    site, loop = runner.server, asyncio.get_running_loop()
    assert site is not None

    def line() -> asyncio.Protocol:
        if len(site.connections) >= MAX_LINES:
            return _Refusal()
        return _Line(
            site,
            loop=loop,
            keepalive_timeout=QUIET_S,
            lingering_time=STOP_S,
            access_log=None,  # type: ignore[arg-type]  # allowed, but not annotated
        )

    try:
        server = await loop.create_server(line, sock=listener)
        try:
            yield
        finally:
            server.close()
    finally:
        await runner.cleanup()


class _Refusal(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        transport.abort()


class _Line(web.RequestHandler):
    """A connection; aiohttp would show what is no request, maybe with the token, in the log."""

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, *args: Any, **keywords: Any
    ) -> web.StreamResponse:
        if status != 400:
            return super().handle_error(request, status, *args, **keywords)
        response = _say(status, "this is no request that the server can read")
        response.headers.update(HEADERS)
        response.force_close()
        return response


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Content-Security-Policy", POLICY.format(nonce="none"))


def _encode(form: str, film: Film) -> bytes:
    from dfgym.play import save  # late: it brings torch

    match form:
        case "gif":
            return save.gif(film)
        case "mp4":
            return save.mp4(film)
        case _:
            return save.episode(film)


def _say(status: int, words: str) -> web.Response:
    return web.Response(status=status, text=words + "\n")
