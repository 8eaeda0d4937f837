"""The player's server over real sockets: access, addresses, and the command."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import webbrowser
from pathlib import Path
from typing import Any

import aiohttp
import aiohttp.web
import pytest

from dfgym import cli
from dfgym.errors import ConfigError
from dfgym.play import command, server
from dfgym.play.command import Serve, stop_on_signals
from dfgym.play.server import AccessPolicy, Server
from toys.page import PATIENCE, TOKEN, Page, Running, RunTest

# --- Access ---------------------------------------------------------------------------------------


def test_the_page_and_its_headers(play: RunTest) -> None:
    async def test(running: Running) -> None:
        nonces = set()
        for _ in range(2):
            status, text, headers = await running.get(f"/?token={TOKEN}")
            assert status == 200 and text.lower().startswith("<!doctype html>")
            assert "{{NONCE}}" not in text
            policy = headers["Content-Security-Policy"]
            nonce = policy.split("script-src 'nonce-")[1].split("'")[0]
            nonces.add(nonce)
            assert f"style-src 'nonce-{nonce}'" in policy and "default-src 'none'" in policy
            assert "unsafe" not in policy and "frame-ancestors 'none'" in policy
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Referrer-Policy"] == "no-referrer"
            assert headers["Cache-Control"] == "no-store"
            assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert len(nonces) == 2

    play(test)


@pytest.mark.parametrize("path", ["/", "/socket", "/save/gif", "/nowhere"])
def test_every_request_needs_the_token(path: str, play: RunTest) -> None:
    async def test(running: Running) -> None:
        ours = {"Origin": running.base}
        for query in ("", "?token=", "?token=wrong", "?token=%C3%A4", f"?Token={TOKEN}"):
            status, text, headers = await running.get(path + query, **ours)
            assert status == 401 and "address that `dfgym play` printed" in text
            assert "script-src" in headers["Content-Security-Policy"]

    play(test)


@pytest.mark.parametrize("path", ["/", "/socket", "/save/gif", "/nowhere"])
def test_foreign_pages_and_names_are_refused(path: str, play: RunTest) -> None:
    async def test(running: Running) -> None:
        path_and_token = f"{path}?token={TOKEN}"
        strange = ["http://evil.example", "null", f"{running.base}.evil.example", "http://[", ""]
        for origin in [*strange, "http://127.0.0.1:1", running.base.replace("http", "ws")]:
            status, text, _ = await running.get(path_and_token, Origin=origin)
            assert status == 403 and "another page" in text
        for host in ("evil.example", f"evil.example:{running.port}", "127.0.0.1", "127.0.0.1:1"):
            status, text, _ = await running.get(path_and_token, Host=host)
            assert status == 403 and "this server is" in text

    play(test)


def test_a_socket_needs_its_page(play: RunTest) -> None:
    async def test(running: Running) -> None:
        status, text, _ = await running.get(f"/socket?token={TOKEN}")
        assert status == 403 and "which page" in text
        for origin in (None, "http://evil.example"):
            with pytest.raises(aiohttp.WSServerHandshakeError) as refused:
                await running.client.ws_connect(
                    f"{running.base}/socket?token={TOKEN}", origin=origin
                )
            assert refused.value.status == 403
        status, text, _ = await running.get(f"/socket?token={TOKEN}", Origin=running.base)
        assert status == 400  # our page, but no WebSocket

    play(test)


def test_there_is_nothing_else(play: RunTest) -> None:
    async def test(running: Running) -> None:
        for path in ("/page.html", "/save", "/save/exe", "/save/%2e%2e%2fetc", "/socket/", "//"):
            status, text, _ = await running.get(f"{path}?token={TOKEN}&session=x")
            assert status == 404 and text.strip()
        async with running.client.post(
            f"{running.base}/?token={TOKEN}", data=b"x" * 10_000
        ) as answer:
            assert answer.status == 405

    play(test)


def test_a_silent_connection_is_closed(play: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "MAX_SOCKETS", 3)
    monkeypatch.setattr(server, "REQUEST_TIMEOUT_S", 3.0)

    async def test(running: Running) -> None:
        silent = [await asyncio.open_connection("127.0.0.1", running.port) for _ in range(3)]
        silent[0][1].write(b"GET / HT")
        reader, writer = await asyncio.open_connection("127.0.0.1", running.port)
        assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        assert not any(reader.at_eof() for reader, _ in silent)
        for reader, _ in silent:
            assert await asyncio.wait_for(reader.read(), PATIENCE) == b""
        for stream in (writer, *(writer for _, writer in silent)):
            stream.close()
        assert (await running.get(f"/?token={TOKEN}"))[0] == 200

    play(test)


def test_what_is_no_request_is_not_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    async def test() -> None:
        listener = Serve().listen()
        port = listener.getsockname()[1]
        app = Server(
            AccessPolicy(Serve().hosts(port), TOKEN), lambda: pytest.fail("no game"), 4
        ).app()
        async with server.serving(app, listener):
            for request in (b"GET /?token=%s HTTP/9\r\n\r\n", b"\x16\x03 %s\r\n\r\n"):
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
                writer.write(request % TOKEN.encode())
                answer = await asyncio.wait_for(reader.read(), PATIENCE)
                assert answer.startswith(b"HTTP/1.") and b" 400 " in answer
                assert b"no request" in answer and TOKEN.encode() not in answer
                writer.close()

    asyncio.run(test())
    assert capfd.readouterr().err == ""


def test_a_page_gone_before_its_socket_is_no_error(
    play: RunTest,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    prepare = aiohttp.web.WebSocketResponse.prepare

    async def late(self: Any, request: Any) -> Any:
        request.transport.abort()
        await asyncio.sleep(0.05)
        return await prepare(self, request)

    async def test(running: Running) -> None:
        monkeypatch.setattr(aiohttp.web.WebSocketResponse, "prepare", late)
        with pytest.raises(aiohttp.ClientError):
            async with running.page():
                pass
        await asyncio.sleep(0.2)

    play(test)
    assert not caplog.records


# --- Where it is served ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("flags", "hosts"),
    [
        ({}, {"127.0.0.1:80", "localhost:80"}),
        ({"host": "::1"}, {"[::1]:80", "localhost:80"}),
        ({"host": "192.168.0.9"}, {"192.168.0.9:80"}),
        (
            {"host": "0.0.0.0", "allow_host": ("Game.example",)},
            {"game.example:80", "game.example"},
        ),
    ],
)
def test_only_named_hosts_are_served(flags: dict[str, Any], hosts: set[str]) -> None:
    assert Serve(**flags).hosts(80) == hosts


@pytest.mark.parametrize(
    ("flags", "error"),
    [
        ({"host": "0.0.0.0"}, "--allow-host"),
        ({"host": "::"}, "--allow-host"),
        ({"host": ""}, "--allow-host"),
        ({"port": 70_000}, "port is 70000; expected"),
        ({"max_connections": 0}, "max_connections is 0; expected"),
    ],
)
def test_impossible_addresses_are_refused(flags: dict[str, Any], error: str) -> None:
    with pytest.raises(ConfigError, match=error):
        Serve(**flags)


@pytest.mark.parametrize("host", ["0", "0x0", "00.0.0.0", "0.0"])
def test_every_spelling_of_every_address_is_refused(host: str) -> None:
    with pytest.raises(ConfigError, match=f"host is '{host}', which listens at every address"):
        Serve(host=host, port=0).listen()
    Serve(host=host, port=0, allow_host=("game.example",)).listen().close()


@pytest.mark.parametrize(
    ("name", "console"), [("lynx", True), ("/usr/bin/w3m", True), ("x", False)]
)
def test_no_browser_takes_the_terminal(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, console: bool
) -> None:
    monkeypatch.delenv("BROWSER", raising=False)
    opened: list[str] = []
    monkeypatch.setattr(command.webbrowser, "get", lambda: webbrowser.GenericBrowser(name))
    monkeypatch.setattr(command.webbrowser, "open", opened.append)
    command._open("http://127.0.0.1:1", str(tmp_path))
    assert bool(opened) != console
    monkeypatch.setenv("BROWSER", name)  # asked for
    command._open("http://127.0.0.1:1", str(tmp_path))
    assert opened


def test_the_end_of_the_terminal_ends_the_server() -> None:
    async def main() -> None:
        stop = asyncio.Event()
        stop_on_signals(stop)
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.wait_for(stop.wait(), 5)

    asyncio.run(main())


def test_a_full_disk_is_answered_in_words(play: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: Any) -> bytes:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(server, "_encode", full)

    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.frame()
            query = f"?token={TOKEN}&session={page.hello['session']}"
            status, text, _ = await running.get(f"/save/gif{query}")
            assert status == 507 and "No space left on device; make room and save again" in text

    play(test)


def test_the_page_names_no_path_from_the_root() -> None:
    """It may lie behind a proxy's path, /user/ann/proxy/8000/."""
    page = Path(server.PAGE).read_text()
    assert "`/save/" not in page and "/socket?" not in page and "`socket?" in page


def test_a_port_in_use_is_refused() -> None:
    with Serve().listen() as first, pytest.raises(ConfigError, match="another --port"):
        Serve(port=first.getsockname()[1]).listen()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["play", "nowhere-v0"], "nowhere-v0"),
        (["watch", "nobody"], "'nobody' is unknown"),
        (["watch", "scripted:0"], "no scripted player for "),
        (["watch", "sb3:ppo:nowhere.zip"], "there is no file nowhere.zip"),
        (["play", "--denoising-steps", "0"], "denoising_steps is 0"),
        (["play", "--context-mode", "noised"], "give context_noise too"),
        (["play", "--device", "abacus"], "'abacus'"),
    ],
)
def test_mistakes_are_one_line_and_come_before_the_address(
    arguments: list[str], error: str, calm_world: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = [] if "nowhere-v0" in arguments else [str(calm_world)]
    at = 2 if arguments[0] == "watch" else 1
    assert cli.main([*arguments[:at], *where, *arguments[at:], "--no-open"]) == 2
    printed = capsys.readouterr()
    assert printed.err.startswith("dfgym: error: ") and printed.err.count("\n") == 1
    assert error in printed.err and printed.out == ""


def test_without_aiohttp_its_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    assert cli.main(["play", "--no-open"]) == 2
    assert 'pip install "dfgym[play]"' in capsys.readouterr().err


@pytest.mark.parametrize("windows", [False, True])
def test_a_signal_stops_the_server_on_every_platform(
    windows: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any) -> None:
        raise NotImplementedError  # as the event loop of Windows does

    async def test() -> None:
        if windows:
            monkeypatch.setattr(asyncio.get_running_loop(), "add_signal_handler", refuse)
        stop = asyncio.Event()
        stop_on_signals(stop)
        signal.raise_signal(signal.SIGTERM)
        await asyncio.wait_for(stop.wait(), PATIENCE)

    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        asyncio.run(test())
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def test_the_command_opens_a_browser_and_serves_until_it_is_stopped(
    calm_world: Path, tmp_path: Path
) -> None:
    """The browser delays nothing, though it stays, and its command line has no token."""
    browser, number = tmp_path / "browser", tmp_path / "number"
    browser.write_text(
        f"#!/bin/sh\necho $$ $1 > {number}.new; mv {number}.new {number}\nexec sleep 600\n"
    )
    browser.chmod(0o755)
    command = [sys.executable, "-m", "dfgym.cli", "play", str(calm_world)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "BROWSER": f"{browser} %s"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        url = process.stdout.readline().strip()
        base, token = url.split("/?token=")
        assert base.startswith("http://127.0.0.1:") and len(token) == 32

        async def look() -> None:
            async with aiohttp.ClientSession() as client:
                address = f"{base}/socket?token={token}"
                async with client.ws_connect(address, origin=base) as socket:
                    page = Page(socket)
                    first = await page.frame()
                    assert first["pictures"][0].shape == (8, 8, 3)
                    assert (first["episode"], first["t"]) == (1, 0)
                    process.send_signal(signal.SIGINT)
                    assert await page.closed() == 1001

        try:
            while not number.exists():
                time.sleep(0.01)
            opened = Path(number.read_text().split()[1].removeprefix("file://"))
            assert url in opened.read_text() and opened.parent.stat().st_mode & 0o777 == 0o700
            asyncio.run(look())
            assert process.wait(PATIENCE) == 0 and not opened.exists()
        finally:
            process.kill()
            os.kill(int(number.read_text().split()[0]), signal.SIGKILL)  # it still runs
        assert "Traceback" not in process.stderr.read()
