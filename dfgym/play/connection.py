"""One page's WebSocket: when steps are played, what is sent, and when to close.

One task reads and one plays. Only the second touches the session (except for the held action, which
may change at any moment) and only it writes to the page, so that a page that reads slowly delays
nobody but itself: it is sent at most `MAX_IN_FLIGHT` frames that it has not acknowledged and at
most one error, and its messages are read no faster than they are dealt with. A state never
overtakes a frame: a page that receives `paused` has been sent all there is to see.
"""

from __future__ import annotations

import asyncio
import json
import math
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, TypeVar

from aiohttp import WSMsgType, web

from dfgym.errors import DfgymError
from dfgym.play import messages
from dfgym.play.messages import Ack, Act, Message

if TYPE_CHECKING:
    from dfgym.play.session import Session
    from dfgym.play.timeline import Film

MAX_IN_FLIGHT = 3
"""The number of frames that may be sent before one is acknowledged."""
MAX_QUEUED = 32
"""The number of messages that are read before they are dealt with."""
DRAW_TIMEOUT_S = 10.0
"""The time after which a page that draws nothing, or receives nothing, counts as gone."""
IDLE_TIMEOUT_S = 15 * 60.0
"""The time after which a player who sends nothing counts as gone."""
CLOSE_TIMEOUT_S = 2.0
"""The time that a page has to answer that its connection is closed."""
MIN_INTERVAL_S = 0.015
"""The shortest time from one step to the next, however fast keys change."""
END_PAUSE_S = 1.5
"""The time for which an episode's end stays on the screen."""

_Result = TypeVar("_Result")


class Pace:
    """When the next step is due: on the beat, or sooner for a key. Times are in seconds.

    A step that is late by less than a beat does not delay the next, or lateness would add up. A
    step that a key brought forward, or that is later than that, sets the beat anew.
    """

    def __init__(self, now: float) -> None:
        self._beat = self.last = now

    def due(self, speed: float, urgent: bool) -> float:
        """Return when to step at so many steps a second, where 0 means at once."""
        beat = self._beat + 1 / speed if speed else 0.0
        return min(beat, self.last + MIN_INTERVAL_S) if urgent else beat

    def step(self, now: float, speed: float) -> None:
        """Count a step that is played now."""
        beat = self.due(speed, urgent=False)
        late = speed > 0 and beat <= now < beat + 1 / speed
        self._beat, self.last = beat if late else now, now


class Connection:
    """A page, and the game behind it.

    Args:
        request: the request that opened the WebSocket.
        socket: the WebSocket, prepared.
        make_session: makes the session; it is called in the connection's own thread, like
            everything that takes time.
        name: the name by which the page requests recordings.

    Attributes:
        session: the page's game; None until it is loaded, and after its end.
    """

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        make_session: Callable[[], Session],
        name: str,
    ) -> None:
        self.name = name
        self._socket, self._make_session = socket, make_session
        self._transport = request.transport
        self._stopping = False
        self.session: Session | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="dfgym-play")
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(MAX_QUEUED)
        self._wake = asyncio.Event()
        self._error: str | None = None
        self._sent = self._acknowledged = 0  # the numbers of the last such frames
        self._preview: bool | None = None  # of the frame that is to be sent; None without one
        now = time.monotonic()
        self._last_drawn = now  # when the page drew its last frame, or was first sent one
        self._last_request = now  # when the player last sent something
        self._pace = Pace(now)

    async def run(self) -> None:
        """Play until the page goes, or has to."""
        code, reason = 1011, "the game could not go on"
        session = None
        try:
            try:
                session = self.session = await self._call(self._make_session)
            except DfgymError as error:
                await self._send({"type": "error", "message": str(error)})
            else:
                code, reason = await _first(self._read(session), self._play(session))
        except (TimeoutError, ConnectionResetError):
            pass  # the page receives nothing any more
        finally:
            self.session = None
            if session is not None:
                self._worker.submit(session.close)
            self._worker.shutdown(wait=False)
            await self._close(code, reason)

    def stop(self) -> None:
        """Make `run` come to its end."""
        self._stopping = True
        self._wake.set()

    async def film(self) -> Film | None:
        """Return the running episode up to the current frame; None if there is no game."""
        return None if self.session is None else await self._call(self.session.film)

    # --- Reading ----------------------------------------------------------------------------------

    async def _read(self, session: Session) -> tuple[int, str]:
        async for packet in self._socket:
            try:
                if packet.type != WSMsgType.TEXT:
                    self._report("a message must be text")
                    continue
                message = messages.parse(packet.data)
                if isinstance(message, Ack):
                    self._acknowledge(message.seq)
                    continue
                self._last_request = time.monotonic()
                if isinstance(message, Act):
                    session.hold(message.action, message.input)
                else:
                    await self._inbox.put(message)
            except DfgymError as error:
                self._report(str(error))
            finally:
                self._wake.set()
        return 1000, ""

    def _report(self, error: str) -> None:
        """Have an error sent; until it is, further errors are dropped."""
        self._error = self._error or error

    def _acknowledge(self, seq: int) -> None:
        if self._acknowledged < seq <= self._sent:
            self._acknowledged, self._last_drawn = seq, time.monotonic()

    # --- Playing ----------------------------------------------------------------------------------

    async def _play(self, session: Session) -> tuple[int, str]:
        from dfgym.play import replies  # late: it imports torch

        await self._send(replies.hello(session, self.name))
        sent_state: dict[str, Any] = {}
        self._preview = False
        while True:
            self._wake.clear()
            for _ in range(self._inbox.qsize()):
                await self._apply(session, self._inbox.get_nowait())
            has_room = self._sent - self._acknowledged < MAX_IN_FLIGHT
            if has_room and self._preview is None and time.monotonic() >= self._due(session):
                await self._step(session)
            if (notice := session.take_notice()) is not None:
                self._report(notice)
            if self._error is not None:
                await self._send({"type": "error", "message": self._error})
                self._error = None
            if has_room and self._preview is not None:
                if self._sent == self._acknowledged:
                    self._last_drawn = time.monotonic()
                self._sent += 1
                await self._send(replies.frame(session, self._sent, self._preview))
                self._preview = None
            # While a frame waits for room, so does the state that belongs to it.
            if self._preview is None and sent_state != (state := replies.state(session)):
                await self._send(state)
                sent_state = state
            if (end := self._end()) is not None:
                return end
            await self._wait(session)

    def _end(self) -> tuple[int, str] | None:
        """Return the code and the reason to close with, if it is time to."""
        now = time.monotonic()
        if self._stopping:
            return 1001, "dfgym was stopped"
        if self._sent > self._acknowledged and now > self._last_drawn + DRAW_TIMEOUT_S:
            return 4001, f"the page drew nothing for {DRAW_TIMEOUT_S:g} seconds"
        if now > self._last_request + IDLE_TIMEOUT_S:
            minutes = IDLE_TIMEOUT_S / 60
            return 4000, f"the player did nothing for {minutes:g} minutes; reload to play on"
        return None

    async def _apply(self, session: Session, message: Message) -> None:
        try:
            await self._call(session.apply, message)
        except DfgymError as error:
            self._report(str(error))
            return
        match message:
            case messages.Seek() | messages.ShowReal():
                self._preview = True
            case messages.Step() | messages.Reset():
                self._preview = False
                self._pace = Pace(time.monotonic())

    async def _step(self, session: Session) -> None:
        self._pace.step(time.monotonic(), session.speed)
        try:
            await self._call(session.advance)
        except DfgymError as error:
            session.paused = True
            self._report(str(error))
        self._preview = False

    def _due(self, session: Session) -> float:
        """Return when the next step is to be played."""
        if session.paused:
            return math.inf
        if session.timeline.ended:
            return self._pace.last + END_PAUSE_S
        return self._pace.due(session.speed, session.urgent)

    async def _wait(self, session: Session) -> None:
        """Wait until there is something to do."""
        deadline = self._last_request + IDLE_TIMEOUT_S
        if self._sent > self._acknowledged:
            deadline = min(deadline, self._last_drawn + DRAW_TIMEOUT_S)
        if self._sent - self._acknowledged < MAX_IN_FLIGHT:
            deadline = min(deadline, self._due(session))
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _send(self, reply: dict[str, Any] | bytes) -> None:
        """Send JSON or bytes.

        Raises:
            TimeoutError: the page does not receive it.
        """
        async with asyncio.timeout(DRAW_TIMEOUT_S):
            if isinstance(reply, bytes):
                await self._socket.send_bytes(reply)
            else:
                await self._socket.send_str(json.dumps(reply))

    async def _close(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_TIMEOUT_S):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            pass
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()  # what the page has not received would stay in memory

    async def _call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function in the session's own thread, after what runs there."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)


async def _first(*loops: Coroutine[Any, Any, tuple[int, str]]) -> tuple[int, str]:
    """Run loops until the first one returns or raises; then stop the others."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
