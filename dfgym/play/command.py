"""`dfgym play` and `dfgym watch`: their flags, and running the server until it is stopped."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import signal
import socket
import tempfile
import threading
import webbrowser
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dfgym.errors import ConfigError, MissingPackageError
from dfgym.world import shelf

if TYPE_CHECKING:
    from dfgym.play.session import Session

_LOADING = threading.Lock()
"""Two sessions that are made at once would both load the world."""


@dataclass(frozen=True)
class Dream:
    """How a world is run; what is left out is the card's."""

    device: str = "auto"
    """Where the dream runs: `auto`, `cpu` or `cuda`."""
    denoising_steps: int | None = None
    """Network passes for a frame."""
    context_mode: str | None = None
    """How finished frames are shown to the model."""
    context_noise: float | None = None
    """How noisy, in [0, 1)."""

    def keywords(self) -> dict[str, Any]:
        """What was not left out, as keywords."""
        return {name: value for name, value in vars(self).items() if value is not None}


@dataclass(frozen=True)
class Serve:
    """Where the page is served."""

    host: str = "127.0.0.1"
    """Address to listen at. The default one is reached from this machine alone."""
    port: int = 0
    """Port; 0: one that is free."""
    allow_host: tuple[str, ...] = ()
    """Names, besides the address, by which browsers may call this server."""
    max_connections: int = 4
    """Pages that can play at the same time."""
    open: bool = True
    """Open the page in the browser."""

    def __post_init__(self) -> None:
        """Refuse what cannot be served."""
        if not 0 <= self.port < 2**16:
            raise ConfigError(f"port is {self.port}; allowed is 0 (any) to {2**16 - 1}")
        if self.max_connections < 1:
            raise ConfigError(f"max-connections is {self.max_connections}; allowed is 1 or more")
        if not self.names:
            raise ConfigError(
                f"host {self.host!r} listens at every address of this machine, and a request must "
                "say by which of its names it came (against DNS rebinding): name them with "
                "--allow-host"
            )

    @property
    def names(self) -> list[str]:
        """The names by which browsers may call this server, as they stand in an address."""
        try:
            address = ipaddress.ip_address(self.host)
        except ValueError:
            own = [self.host] if self.host else []  # a name; nothing means every address
        else:
            if address.is_unspecified:
                own = []
            elif address.version == 6:
                own = [f"[{self.host}]"]
            else:
                own = [self.host]
            if address.is_loopback:
                own.append("localhost")
        return [*own, *self.allow_host]

    def hosts(self, port: int) -> frozenset[str]:
        """The `Host` headers that are ours; behind a proxy a name may go without our port."""
        ported = {f"{name}:{port}" for name in self.names}
        return frozenset(host.lower() for host in {*ported, *self.allow_host})

    def listen(self) -> socket.socket:
        """Open the port.

        Raises:
            ConfigError: it is in use, or the address is not this machine's.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family)
        except OSError as reason:
            raise ConfigError(
                f"cannot listen at {self.host} port {self.port}: {reason}; choose another --port, "
                "or leave it out"
            ) from reason


@dataclass(frozen=True)
class Play:
    """Play a learned game in the browser, beside the real one where that is installed."""

    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """Name on the shelf, or a folder's path."""
    real: bool = True
    """Begin with the real game beside the dream."""
    dream: Annotated[Dream, tyro.conf.arg(name="")] = Dream()
    serve: Annotated[Serve, tyro.conf.arg(name="")] = Serve()


@dataclass(frozen=True)
class Watch:
    """Watch an agent play a learned game in the browser, and take the controls from it."""

    agent: Annotated[str, tyro.conf.Positional]
    """random, scripted:<share of random actions> or sb3:<algorithm>:<zip file>. To load such a
    file is to run what its author put there: give none but your own."""
    world: Annotated[str, tyro.conf.Positional] = shelf.DEFAULT
    """Name on the shelf, or a folder's path."""
    real: bool = True
    """Begin with the real game beside the dream."""
    dream: Annotated[Dream, tyro.conf.arg(name="")] = Dream()
    serve: Annotated[Serve, tyro.conf.arg(name="")] = Serve()


def play(config: Play | Watch) -> None:
    """Serve the page until SIGINT or SIGTERM; prints its address, with the token.

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
    asyncio.run(_serve(config))


async def _serve(config: Play | Watch) -> None:
    from dfgym.play.server import Door, Server, serving

    serve, make, token = config.serve, partial(_make_session, config), secrets.token_urlsafe(24)
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    with serve.listen() as listener, tempfile.TemporaryDirectory(prefix="dfgym-") as private:
        port = listener.getsockname()[1]
        door = Door(serve.hosts(port), token)
        app = Server(door, make, serve.max_connections).app()
        async with serving(app, listener):
            url = f"http://{serve.names[0]}:{port}/?token={token}"
            print(url, flush=True)
            # The page comes while the game is being loaded; a flag that is wrong stops all.
            if serve.open:
                # Some openers come back only when the browser ends; nobody waits for this thread.
                threading.Thread(target=_open, args=(url, private), daemon=True).start()
            stopped = asyncio.create_task(stop.wait())
            loading = asyncio.create_task(asyncio.to_thread(_try, make))
            await asyncio.wait({stopped, loading}, return_when=asyncio.FIRST_COMPLETED)
            if not stop.is_set():
                await loading  # to raise what it raised
                await stopped


def _open(url: str, private: str) -> None:
    """Open the page by way of a file in a folder that nobody else can read.

    Every user of a machine sees the arguments of every process, and the address has the token.
    """
    page = Path(private) / "play.html"
    with contextlib.suppress(webbrowser.Error, OSError):  # the address was printed
        page.write_text(f'<!doctype html><meta http-equiv="refresh" content="0;url={url}">')
        webbrowser.open(page.as_uri())


def _make_session(config: Play | Watch) -> Session:
    settings = config.dream.keywords()
    device = settings.pop("device")
    agent = config.agent if isinstance(config, Watch) else None
    with _LOADING:
        import torch

        from dfgym.play.session import Session

        torch.set_num_threads(1)
        return Session(
            config.world,
            device=device,
            settings=settings,
            agents=() if agent is None else (agent,),
            agent=agent,
            real=config.real,
        )


def _try(make: partial[Session]) -> None:
    """Make a session and a step, so that all is loaded."""
    session = make()
    session.advance()
    session.close()
