"""`dfgym play` and `dfgym watch`: their flags, and running the server until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import os
import secrets
import signal
import socket
import tempfile
import threading
import webbrowser
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import tyro
from msgspec import Meta

from dfgym import checks
from dfgym.errors import ConfigError, MissingPackageError
from dfgym.world import shelf
from dfgym.world.settings import Settings

if TYPE_CHECKING:
    from dfgym.play.session import Session


@dataclass(frozen=True)
class Serve:
    """Where the page is served."""

    host: str = "127.0.0.1"
    """The address to listen at. The default one is reached from this machine alone."""
    port: Annotated[int, Meta(ge=0, le=2**16 - 1)] = 0
    """The port; 0 for one that is free."""
    allow_host: tuple[str, ...] = ()
    """Names, besides the address, by which browsers may call this server."""
    max_connections: Annotated[int, Meta(ge=1)] = 4
    """The number of pages that can play at the same time."""
    open: bool = True
    """Whether to open the page in the browser."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        checks.check(self, ConfigError)
        if not self.names:
            self._refuse_every_address()

    @property
    def names(self) -> list[str]:
        """The names by which browsers may call this server, as they stand in an address."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            names = [self.host] if self.host else []  # an empty one means every address
        else:
            if address.is_unspecified:
                names = []
            elif address.version == 6:
                names = [f"[{self.host}]"]
            else:
                names = [self.host]
            if address.is_loopback:
                names.append("localhost")
        return [*names, *self.allow_host]

    def hosts(self, port: int) -> frozenset[str]:
        """Return the `Host` headers that are accepted; a proxy may leave our port out of a name."""
        with_port = {f"{name}:{port}" for name in self.names}
        return frozenset(host.lower() for host in {*with_port, *self.allow_host})

    def listen(self) -> socket.socket:
        """Open the port.

        Raises:
            ConfigError: the port is in use, or the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            listener = socket.create_server((self.host, self.port), family=family)
        except OSError as reason:
            raise ConfigError(
                f"cannot listen at {self.host} port {self.port}: {reason}; choose another --port, "
                "or leave it out"
            ) from reason
        address = listener.getsockname()[0].partition("%")[0]
        if ipaddress.ip_address(address).is_unspecified and not self.allow_host:  # "0", "0x0"
            listener.close()
            self._refuse_every_address()
        return listener

    def _refuse_every_address(self) -> NoReturn:
        raise ConfigError(
            f"host is {self.host!r}, which listens at every address of this machine, but a "
            "request must say by which of its names it came (against DNS rebinding); give the "
            "names with --allow-host"
        )


@dataclass(frozen=True)
class Play:
    """Play a learned game in the browser, beside the real one where that is installed."""

    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """A name on the shelf, or a folder's path."""
    real: bool = True
    """Whether to begin with the real game beside the dream."""
    trust: bool = False
    """Import the modules that the world's card names to open its real game, which runs them."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    serve: Annotated[Serve, tyro.conf.arg(name="")] = Serve()


@dataclass(frozen=True)
class Watch:
    """Watch an agent play a learned game in the browser, and take the controls from it."""

    agent: Annotated[str, tyro.conf.Positional]
    """random, scripted:<share of random actions> or sb3:<algorithm>:<zip file>. To load such a
    file is to run what its author put there: give none but your own."""
    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """A name on the shelf, or a folder's path."""
    real: bool = True
    """Whether to begin with the real game beside the dream."""
    trust: bool = False
    """Import the modules that the world's card names to open its real game, which runs them."""
    settings: Annotated[Settings, tyro.conf.arg(name="")] = field(default_factory=Settings)
    serve: Annotated[Serve, tyro.conf.arg(name="")] = Serve()


def play(config: Play | Watch) -> None:
    """Serve the page until SIGINT or SIGTERM; prints its address, with the token.

    All that a flag names is loaded first, so that a flag that is wrong is refused before there is
    an address to open.

    Raises:
        WorldError, ConfigError, DeviceError: a flag is not allowed.
        MissingPackageError: aiohttp is missing.
    """
    shelf.card(config.world)  # whether there is such a world, before anything heavy
    try:
        import aiohttp  # noqa: F401
    except ImportError as reason:
        raise MissingPackageError(
            'the page needs the package aiohttp: pip install "dfgym[play]"'
        ) from reason
    with config.serve.listen() as listener:
        asyncio.run(_serve(config.serve, listener, _Sessions(config)))


async def _serve(
    config: Serve, listener: socket.socket, make_session: Callable[[], Session]
) -> None:
    from dfgym.play.server import AccessPolicy, Server, serving

    stop, token, port = asyncio.Event(), secrets.token_urlsafe(24), listener.getsockname()[1]
    stop_on_signals(stop)
    access = AccessPolicy(config.hosts(port), token)
    app = Server(access, make_session, config.max_connections).app()
    url = f"http://{config.names[0]}:{port}/?token={token}"
    with tempfile.TemporaryDirectory(prefix="dfgym-") as private:
        async with serving(app, listener):
            print(url, flush=True)
            if config.open:
                # Some openers return only when the browser ends; nothing waits for this thread.
                threading.Thread(target=_open, args=(url, private), daemon=True).start()
            await stop.wait()


def stop_on_signals(stop: asyncio.Event) -> None:
    """Set an event of the running loop at SIGINT, SIGTERM, or when its terminal closes."""
    loop = asyncio.get_running_loop()
    numbers = [signal.SIGINT, signal.SIGTERM]
    hangup = getattr(signal, "SIGHUP", None)  # not on Windows
    if hangup is not None and signal.getsignal(hangup) is not signal.SIG_IGN:  # as nohup sets it
        numbers.append(hangup)
    for number in numbers:
        try:
            loop.add_signal_handler(number, stop.set)
        except NotImplementedError:  # on Windows
            signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))


def _open(url: str, private: str) -> None:
    """Open the page by way of a file in a folder that nobody else can read.

    Every user of a machine can see the arguments of every process, and the address has the token.
    """
    page = Path(private) / "play.html"
    if _is_console_browser():
        return
    with contextlib.suppress(webbrowser.Error, OSError):  # the address was printed
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}">')
        webbrowser.open(page.as_uri())


def _is_console_browser() -> bool:
    """Whether the only browser there is would take this terminal, and nobody has asked for it."""
    if os.environ.get("BROWSER"):
        return False
    try:
        browser = webbrowser.get()
    except webbrowser.Error:
        return False
    name = Path(str(getattr(browser, "name", ""))).name
    return name in ("www-browser", "links", "elinks", "lynx", "w3m")


class _Sessions:
    """Makes a page's session; the first is made at once, which loads and checks everything.

    Raises:
        WorldError, ConfigError, DeviceError: a flag is not allowed.
    """

    def __init__(self, config: Play | Watch) -> None:
        import torch

        torch.set_num_threads(1)
        self._config = config
        self._lock = threading.Lock()  # two sessions made at once would both load the world
        first = self._make()
        first.advance()  # whatever a step needs is loaded, too
        first.episode = 0
        first.begin()
        self._first: Session | None = first

    def __call__(self) -> Session:
        with self._lock:
            first, self._first = self._first, None
            return first or self._make()

    def _make(self) -> Session:
        from dfgym.play.session import Session

        config = self._config
        agent = config.agent if isinstance(config, Watch) else None
        agents = () if agent is None else (agent,)
        return Session(config.world, config.settings, agents=agents, agent=agent, real=config.real)
