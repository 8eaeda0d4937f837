"""One page's WebSocket: when steps are made, what is sent, and when to hang up.

One task reads and one plays. Only the second touches the session (but for the held action, which
may change at any moment) and only it writes to the page, so that a page that reads slowly holds up
nobody but itself: it is sent at most `MAX_UNSEEN` frames that it has not drawn, and at most one
error; and it is read from no faster than what it says is dealt with. A state never overtakes a
frame: a page that is told `paused` has been sent all there is to see.
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
    from dfgym.play.save import Film
    from dfgym.play.session import Session

MAX_UNSEEN = 3
"""Frames on their way to the screen."""
MAX_WAITING = 32
"""Messages that are read but not dealt with."""
UNSEEN_S = 10.0
"""A page that draws nothing for so long, or takes nothing from its line, is gone."""
IDLE_S = 15 * 60.0
"""So is a player who asks for nothing."""
SOON_S = 0.015
"""From one step to the next at least, however fast keys change."""
END_S = 1.5
"""How long an episode's end stays on the screen."""

CLOSE_S = 2.0
"""How long a page may take to answer that it was hung up."""

_Result = TypeVar("_Result")


class Pace:
    """When the next step is due: on the beat, or sooner for a key. Times are in seconds.

    A step that is late by less than a beat does not delay the next, or lateness would add up; one
    that a key brought forward, or that is later, sets the beat anew.
    """

    def __init__(self, now: float) -> None:
        self._beat = self.last = now

    def due(self, speed: float, urgent: bool) -> float:
        """When to step, at so many steps a second (0: at once)."""
        beat = self._beat + 1 / speed if speed else 0.0
        return min(beat, self.last + SOON_S) if urgent else beat

    def step(self, now: float, speed: float) -> None:
        """A step is made now."""
        beat = self.due(speed, urgent=False)
        late = speed > 0 and beat <= now < beat + 1 / speed
        self._beat, self.last = beat if late else now, now


class Connection:
    """A page, and the game behind it.

    Args:
        request: of the WebSocket.
        socket: prepared.
        make: makes the session; it is called in the connection's own thread, like everything that
            takes time.
        name: by which the page asks for recordings.
    """

    def __init__(
        self,
        request: web.Request,
        socket: web.WebSocketResponse,
        make: Callable[[], Session],
        name: str,
    ) -> None:
        self.name = name
        self._socket, self._make = socket, make
        self._transport = request.transport
        self._leaving = False
        self._session: Session | None = None
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="dfgym-play")
        self._inbox: asyncio.Queue[Message] = asyncio.Queue(MAX_WAITING)
        self._wake = asyncio.Event()
        self._error: str | None = None
        self._sent = self._seen = 0  # the numbers of frames
        self._show: bool | None = None  # a frame is to be sent; whether it was looked up
        now = time.monotonic()
        self._progress = now  # when the page drew its last frame, or began to be sent one
        self._asked = now  # when the player asked for something
        self._pace = Pace(now)

    async def run(self) -> None:
        """Play until the page goes, or has to."""
        code, reason = 1011, "the game could not go on"
        session = None
        try:
            try:
                session = self._session = await self._call(self._make)
            except DfgymError as error:
                await self._send({"type": "error", "message": str(error)})
            else:
                code, reason = await _first(self._read(session), self._play(session))
        except (TimeoutError, ConnectionResetError):
            pass  # it takes nothing any more
        finally:
            self._session = None
            if session is not None:
                self._worker.submit(session.close)
            self._worker.shutdown(wait=False)
            await self._hang_up(code, reason)

    def leave(self) -> None:
        """Have `run` come to its end."""
        self._leaving = True
        self._wake.set()

    async def film(self) -> Film | None:
        """The running episode up to the shown frame, to be saved; None if there is no game."""
        return None if self._session is None else await self._call(self._session.film)

    # --- What the page says -----------------------------------------------------------------------

    async def _read(self, session: Session) -> tuple[int, str]:
        async for packet in self._socket:
            try:
                if packet.type != WSMsgType.TEXT:
                    self._complain("a message must be text")
                    continue
                message = messages.parse(packet.data)
                if isinstance(message, Ack):
                    self._acknowledge(message.seq)
                    continue
                self._asked = time.monotonic()
                if isinstance(message, Act):
                    session.hold(message.action, message.input)
                else:
                    await self._inbox.put(message)
            except DfgymError as error:
                self._complain(str(error))
            finally:
                self._wake.set()
        return 1000, ""

    def _complain(self, words: str) -> None:
        """Have an error told; while one is unsent, others are dropped."""
        self._error = self._error or words

    def _acknowledge(self, seq: int) -> None:
        if self._seen < seq <= self._sent:
            self._seen, self._progress = seq, time.monotonic()

    # --- The game ---------------------------------------------------------------------------------

    async def _play(self, session: Session) -> tuple[int, str]:
        from dfgym.play import replies  # late: it brings torch

        await self._send(replies.hello(session, self.name))
        told: dict[str, Any] = {}
        self._show = False
        while True:
            self._wake.clear()
            for _ in range(self._inbox.qsize()):
                await self._do(session, self._inbox.get_nowait())
            room = self._sent - self._seen < MAX_UNSEEN
            if room and self._show is None and time.monotonic() >= self._due(session):
                await self._step(session)
            if (words := session.take_notice()) is not None:
                self._complain(words)
            if self._error is not None:
                await self._send({"type": "error", "message": self._error})
                self._error = None
            if room and self._show is not None:
                if self._sent == self._seen:
                    self._progress = time.monotonic()
                self._sent += 1
                await self._send(replies.frame(session, self._sent, self._show))
                self._show = None
            # While a frame waits for room, so does the state that goes with it.
            if self._show is None and told != (state := replies.state(session)):
                await self._send(state)
                told = state
            now = time.monotonic()
            if self._leaving:
                return 1001, "dfgym was stopped"
            if self._sent > self._seen and now > self._progress + UNSEEN_S:
                return 4001, f"the page drew nothing for {UNSEEN_S:g} seconds"
            if now > self._asked + IDLE_S:
                return 4000, f"nothing was asked for in {IDLE_S / 60:g} minutes; reload to play on"
            await self._rest(session)

    async def _do(self, session: Session, message: Message) -> None:
        try:
            await self._call(session.apply, message)
        except DfgymError as error:
            self._complain(str(error))
            return
        match message:
            case messages.Seek() | messages.Real():
                self._show = True
            case messages.Step() | messages.Reset():
                self._show = False
                self._pace = Pace(time.monotonic())

    async def _step(self, session: Session) -> None:
        self._pace.step(time.monotonic(), session.speed)
        try:
            await self._call(session.advance)
        except DfgymError as error:
            session.paused = True
            self._complain(str(error))
        self._show = False

    def _due(self, session: Session) -> float:
        """When the next step is to be made."""
        if session.paused:
            return math.inf
        if session.timeline.ended:
            return self._pace.last + END_S
        return self._pace.due(session.speed, session.urgent)

    async def _rest(self, session: Session) -> None:
        """Wait until there is something to do."""
        until = self._asked + IDLE_S
        if self._sent > self._seen:
            until = min(until, self._progress + UNSEEN_S)
        if self._sent - self._seen < MAX_UNSEEN:
            until = min(until, self._due(session))
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._wake.wait()
        except TimeoutError:
            pass

    async def _send(self, said: dict[str, Any] | bytes) -> None:
        """Send JSON or bytes; raises TimeoutError if the page does not take it."""
        async with asyncio.timeout(UNSEEN_S):
            if isinstance(said, bytes):
                await self._socket.send_bytes(said)
            else:
                await self._socket.send_str(json.dumps(said))

    async def _hang_up(self, code: int, reason: str) -> None:
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._socket.close(code=code, message=reason.encode())
        except TimeoutError:
            pass
        if self._transport is not None and self._transport.get_write_buffer_size():
            self._transport.abort()  # what it has not taken by now would stay in memory

    async def _call(self, function: Callable[..., _Result], *arguments: Any) -> _Result:
        """Call a function in the thread that the session belongs to, after what runs there."""
        return await asyncio.get_running_loop().run_in_executor(self._worker, function, *arguments)


async def _first(*loops: Coroutine[Any, Any, tuple[int, str]]) -> tuple[int, str]:
    """Run loops until the first returns or raises; then stop the others."""
    tasks = [asyncio.create_task(loop) for loop in loops]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        return done.pop().result()
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
