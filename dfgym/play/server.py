"""The web server of `dfgym play`: access, the page, its WebSocket, and recordings.

Every request needs a `Host` that is the server's (against DNS rebinding), no foreign `Origin`
(against other pages in the same browser) and the run's token (against everybody else).
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from aiohttp import web
from aiohttp.typedefs import Handler

from dfgym.errors import DataError, MissingPackageError
from dfgym.play.connection import CLOSE_TIMEOUT_S, Connection
from dfgym.play.messages import MAX_BYTES

if TYPE_CHECKING:
    from dfgym.play.session import Session
    from dfgym.play.timeline import Film

HEARTBEAT_S = 20.0
"""The time between two signs of life that a WebSocket asks of its page."""
MAX_SOCKETS = 64
"""The number of connections at the same time, whoever opened them."""
REQUEST_TIMEOUT_S = 10.0
"""The time that a connection has to send a whole request."""
STOP_TIMEOUT_S = 1.0
"""The time that requests have to end when the server does."""
HEADERS = {
    "Cache-Control": "no-store",
    "Cross-Origin-Embedder-Policy": "require-corp",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "Server": "dfgym",
    "X-Content-Type-Options": "nosniff",
}
CONTENT_POLICY = (
    "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; "
    "img-src data: blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
RECORDINGS = {
    "gif": ("image/gif", ".gif"),
    "mp4": ("video/mp4", ".mp4"),
    "episode": ("application/zip", "-episode.zip"),
}
"""The forms in which an episode can be saved, with their content type and the file's ending."""
PAGE = Path(__file__).with_name("page.html")
MEMORY = Path(__file__).with_name("memory.js")
"""The part of the page that shows what a world's memory holds."""


@dataclass(frozen=True)
class AccessPolicy:
    """Which requests are answered."""

    hosts: frozenset[str]
    """The server's own `Host` headers, in lower case, e.g. `127.0.0.1:8000`."""
    token: str
    """The run's secret, which is a part of the address that `dfgym play` prints."""

    def refuse(self, request: web.Request) -> tuple[int, str] | None:
        """Return the status and the reason for a request that is refused, None for another."""
        host, origin = request.headers.get("Host", "").lower(), request.headers.get("Origin")
        if host not in self.hosts:
            return 403, f"this server is {', '.join(sorted(self.hosts))}, not {host[:100]!r}"
        if origin is None and request.path == "/socket":
            return 403, "a WebSocket must say which page it comes from (Origin)"
        if origin is not None and origin.lower() not in (f"http://{host}", f"https://{host}"):
            return 403, f"a request from another page, {origin[:100]!r}"
        token = request.query.get("token", "").encode()
        if not secrets.compare_digest(token, self.token.encode()):
            return 401, "open the whole address that `dfgym play` printed, with ?token=..."
        return None


class Server:
    """The page, and a game for each page that is open.

    Args:
        access: which requests are answered.
        make_session: makes the session of a page.
        max_connections: the number of games at the same time.

    Attributes:
        connections: the pages that play, by the names under which they request recordings.
    """

    def __init__(
        self, access: AccessPolicy, make_session: Callable[[], Session], max_connections: int
    ) -> None:
        self._access, self._make_session = access, make_session
        self._max_connections = max_connections
        script = f'<script nonce="{{{{NONCE}}}}">\n{MEMORY.read_text(encoding="utf-8")}</script>'
        page = PAGE.read_text(encoding="utf-8")
        self._page = page.replace("</body>", f"{script}\n</body>")
        self.connections: dict[str, Connection] = {}
        self._saving = asyncio.Semaphore(1)  # encoding takes memory and a core

    def app(self) -> web.Application:
        """Return the application, to be run by `serving`."""
        app = web.Application(middlewares=[self._guard], client_max_size=MAX_BYTES)
        app.router.add_get("/", self._serve_page, allow_head=False)
        app.router.add_get("/socket", self._serve_socket, allow_head=False)
        app.router.add_get("/save/{form}", self._serve_recording, allow_head=False)
        app.on_response_prepare.append(_protect)
        app.on_shutdown.append(self._stop)
        return app

    async def _stop(self, app: web.Application) -> None:
        for connection in self.connections.values():
            connection.stop()

    @web.middleware
    async def _guard(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if (refusal := self._access.refuse(request)) is not None:
            return _text(*refusal)
        try:
            return await handler(request)
        except web.HTTPException as error:
            return _text(error.status, f"{error.reason}: this server has a page, /?token=...")

    async def _serve_page(self, request: web.Request) -> web.Response:
        nonce = secrets.token_urlsafe(16)
        text = self._page.replace("{{NONCE}}", nonce)
        response = web.Response(text=text, content_type="text/html")
        response.headers["Content-Security-Policy"] = CONTENT_POLICY.format(nonce=nonce)
        return response

    async def _serve_socket(self, request: web.Request) -> web.StreamResponse:
        websocket = web.WebSocketResponse(
            max_msg_size=MAX_BYTES + 1,  # aiohttp refuses a message of this length itself
            heartbeat=HEARTBEAT_S,
            compress=False,
            timeout=CLOSE_TIMEOUT_S,
        )
        try:
            await websocket.prepare(request)
        except ConnectionResetError:
            return _text(400, "the page is gone")  # nobody reads it
        if len(self.connections) >= self._max_connections:
            limit = self._max_connections
            reason = f"{limit} games are being played; close one, or give --max-connections"
            with contextlib.suppress(ConnectionResetError):
                await websocket.send_json({"type": "error", "message": reason})
            await websocket.close(code=1013, message=reason.encode())
            return websocket
        connection = Connection(request, websocket, self._make_session, secrets.token_urlsafe(9))
        self.connections[connection.name] = connection
        try:
            await connection.run()
        finally:
            del self.connections[connection.name]
        return websocket

    async def _serve_recording(self, request: web.Request) -> web.Response:
        form = request.match_info["form"]
        connection = self.connections.get(request.query.get("session", ""))
        if form not in RECORDINGS:
            return _text(404, f"recordings are {', '.join(RECORDINGS)}, not {form[:40]!r}")
        film = None if connection is None else await connection.film()
        if film is None:
            return _text(404, "that game is over: save from a page that is still playing")
        try:
            async with self._saving:
                data = await asyncio.to_thread(_encode, form, film)
        except MissingPackageError as error:
            return _text(501, str(error))
        except DataError as error:
            return _text(409, str(error))
        except OSError as error:
            return _text(507, f"the recording cannot be written: {error}; make room and save again")
        content_type, ending = RECORDINGS[form]
        headers = {"Content-Disposition": f'attachment; filename="{film.card.name}{ending}"'}
        return web.Response(body=data, content_type=content_type, headers=headers)


@contextlib.asynccontextmanager
async def serving(app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
    """Serve an application at an open port.

    `aiohttp.web.SockSite` would do it, but it takes any number of connections and answers what is
    no request with its text; see `_Protocol`.
    """
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=STOP_TIMEOUT_S)
    await runner.setup()
    server = runner.server
    assert server is not None
    try:
        sockets = await asyncio.get_running_loop().create_server(
            lambda: _Protocol(server), sock=listener
        )
        try:
            yield
        finally:
            sockets.close()
    finally:
        await runner.cleanup()


class _Protocol(web.RequestHandler):
    """A connection; it is closed at once if there are `MAX_SOCKETS` others."""

    def __init__(self, server: web.Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=REQUEST_TIMEOUT_S,
            lingering_time=STOP_TIMEOUT_S,
            access_log=None,  # type: ignore[arg-type]  # allowed, but not annotated
        )
        self._server = server

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        if len(self._server.connections) > MAX_SOCKETS:
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, *args: Any, **keywords: Any
    ) -> web.StreamResponse:
        """Answer what is no request; aiohttp would log its text, which may hold the token."""
        if status != 400:
            return super().handle_error(request, status, *args, **keywords)
        response = _text(status, "this is no request that the server can read")
        response.headers.update(HEADERS)
        response.force_close()
        return response


async def _protect(request: web.Request, response: web.StreamResponse) -> None:
    response.headers.update(HEADERS)
    response.headers.setdefault("Content-Security-Policy", CONTENT_POLICY.format(nonce="none"))


def _encode(form: str, film: Film) -> bytes:
    from dfgym.play import save  # late: it imports torch

    match form:
        case "gif":
            return save.gif(film)
        case "mp4":
            return save.mp4(film)
        case _:
            return save.episode(film)


def _text(status: int, text: str) -> web.Response:
    return web.Response(status=status, text=text + "\n")
