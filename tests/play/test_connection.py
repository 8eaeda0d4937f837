"""A game over a real socket: its pace, its recordings, and pages that misbehave."""

from __future__ import annotations

import asyncio
import socket

import pytest

from dfgym.play import connection
from toys.page import TOKEN, Running, RunTest

# --- Pace -----------------------------------------------------------------------------------------


def test_steps_are_on_the_beat_and_lateness_does_not_add_up() -> None:
    pace = connection.Pace(0.0)
    for beat in range(1, 50):
        assert pace.due(10, urgent=False) == pytest.approx(beat / 10)
        pace.step(beat / 10 + 0.03, 10)


def test_a_key_brings_the_step_forward_and_the_beat_counts_on_from_there() -> None:
    pace = connection.Pace(0.0)
    assert pace.due(10, urgent=True) == connection.MIN_INTERVAL_S
    pace.step(0.06, 10)
    assert pace.due(10, urgent=False) == pytest.approx(0.16)
    assert pace.due(10, urgent=True) == pytest.approx(0.06 + connection.MIN_INTERVAL_S)


def test_after_a_pause_no_step_is_made_up_for() -> None:
    pace = connection.Pace(0.0)
    pace.step(7.0, 10)
    assert pace.due(10, urgent=False) == pytest.approx(7.1)
    assert pace.due(0, urgent=False) < 7.0  # as fast as it goes


# --- Playing --------------------------------------------------------------------------------------


def test_a_game_over_the_wire(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            first = await page.frame()
            assert (first["t"], first["action"], first["real"]) == (0, None, None)
            assert page.hello["actions"][1] == {"name": "left", "keys": ["a"]}
            assert page.hello["idle_action"] == 0 and page.hello["fps"] == 15
            await page.send("act", action=2, input=1)
            obeyed = await page.until_input(1)
            assert obeyed["action"] == 2 and obeyed["pictures"][0].shape == (8, 8, 3)
            await page.send("pause", on=True)
            await page.send("step")
            while not page.state["paused"]:
                await page.receive()
            await page.send("seek", t=1)
            preview = await page.until(lambda frame: frame["preview"])
            assert preview["t"] == 1 and preview["length"] >= 2
            await page.send("step")
            branch = await page.until(lambda frame: not frame["preview"])
            assert (branch["t"], branch["length"], branch["branch"]) == (2, 2, 1)
            await page.send("reset", start=3)
            assert (await page.frame())["episode"] == 2
            assert page.errors == []

    play(test)


def test_a_key_does_not_wait_for_the_clock(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.frame()
            await page.send("speed", fps=0.001)  # a step in a quarter of an hour
            for number, action in enumerate([1, 2, 1, 0], 1):
                await page.send("act", action=action, input=number)
                frame = await page.until_input(number)
                assert frame["action"] == action

    play(test)


def test_as_fast_as_it_goes_to_the_end_and_on(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.send("speed", fps=0)
            last = await page.until(lambda frame: frame["truncated"])
            assert last["t"] == 60
            assert (await page.frame())["episode"] == 2

    play(test)


def test_recordings_are_downloaded(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.frame()
            query = f"?token={TOKEN}&session={page.hello['session']}"
            await page.send("pause", on=True)
            await page.send("reset", start=0)
            await page.until(lambda frame: frame["episode"] == 2)
            status, text, _ = await running.get(f"/save/episode{query}")
            assert status == 409 and "at least 2 steps" in text
            await page.send("step")
            await page.send("step")
            await page.until(lambda frame: frame["t"] == 2)
            for form, kind, start in [
                ("gif", "image/gif", b"GIF89a"),
                ("mp4", "video/mp4", b""),
                ("episode", "application/zip", b"PK"),
            ]:
                async with running.client.get(f"{running.base}/save/{form}{query}") as answer:
                    assert answer.status == 200 and answer.content_type == kind
                    assert (await answer.read()).startswith(start)
                    disposition = answer.headers["Content-Disposition"]
                    assert disposition.startswith('attachment; filename="toy-calm-v0')
        while running.server.connections:
            await asyncio.sleep(0.01)
        status, text, _ = await running.get(f"/save/gif{query}")
        assert status == 404 and "that game is over" in text

    play(test)


# --- Pages that misbehave -------------------------------------------------------------------------


def test_200_malformed_messages_leave_it_playing(play: RunTest) -> None:
    bad = ["", "{", "[]", '{"do":"fly"}', '{"do":"act","action":"x","input":0}', '{"do":"seek"}']
    bad += ['{"do":"act","action":9,"input":0}', '{"do":"seek","t":-5}', "\ud7ff" * 500]
    bad += ['{"do":"reset","start":99}', '{"do":"agent","name":"\\ud800"}', "[" * 4000]

    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.frame()
            for number in range(200):
                if number % 7:
                    await page.socket.send_str(bad[number % len(bad)])
                else:
                    await page.socket.send_bytes(b"\x00" * 100)
            await page.send("act", action=2, input=5)
            frame = await page.until_input(5)
            assert frame["action"] == 2
            assert 1 <= len(page.errors) <= 200 and all(page.errors)

    play(test)


def test_a_message_of_5_kb_is_refused(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.frame()
            longest = '{"do":"agent","name":"%s"}'
            await page.socket.send_str(longest % ("x" * (4096 - len(longest) + 2)))
            await page.until(lambda frame: bool(page.errors))
            assert "there is no agent 'xxx" in page.errors[0] and len(page.errors[0]) < 300
            await page.socket.send_str(longest % ("x" * 5000))
            assert await page.closed() == 1009

    play(test)


def test_the_number_of_games_is_limited(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as one, running.page() as two:
            await one.frame()
            await two.frame()
            assert one.hello["session"] != two.hello["session"]
            async with running.page() as three:
                assert await three.closed() == 1013
                assert "2 games are being played" in three.errors[0]
            await one.frame()
        while running.server.connections:
            await asyncio.sleep(0.01)
        async with running.page() as four:
            await four.frame()

    play(test, connections=2)


def test_a_page_that_draws_nothing(play: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "DRAW_TIMEOUT_S", 1.0)

    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.send("speed", fps=0)
            numbers = [(await page.frame(ack=False))["seq"] for _ in range(3)]
            assert numbers == [1, 2, 3]
            await page.send("act", action=1, input=1)  # a sign of life, but nothing is drawn
            assert await page.closed() == 4001

    play(test)


def test_a_player_who_is_gone(play: RunTest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "IDLE_TIMEOUT_S", 1.0)

    async def test(running: Running) -> None:
        async with running.page() as page:
            with pytest.raises(AssertionError, match="the player did nothing for"):
                await page.until(lambda frame: False)  # which goes on acknowledging
            assert page.socket.close_code == 4000

    play(test)


def test_a_client_that_stops_reading_does_not_grow_the_server(
    play: RunTest, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "DRAW_TIMEOUT_S", 1.5)

    async def test(running: Running) -> None:
        raw = socket.socket()
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        raw.setblocking(False)
        await asyncio.get_running_loop().sock_connect(raw, ("127.0.0.1", running.port))
        # With the default limit this side would hold back the flood.
        reader, writer = await asyncio.open_connection(sock=raw, limit=2)
        writer.write(
            f"GET /socket?token={TOKEN} HTTP/1.1\r\nHost: 127.0.0.1:{running.port}\r\n"
            f"Origin: {running.base}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
            "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
            .encode()
        )  # fmt: skip
        bad = b'{"do":"%s"}' % (b"x" * 100)
        message = bytes([0x81, 0x80 | len(bad)]) + bytes(4) + bad  # masked with zeros
        while not running.server.connections:
            await asyncio.sleep(0.01)
        (page,) = running.server.connections.values()
        transport, most = page._transport, 0
        assert transport is not None
        for _ in range(2000):
            writer.write(message * 10)
            most = max(most, transport.get_write_buffer_size())
            await asyncio.sleep(0)
            assert page._inbox.qsize() <= connection.MAX_QUEUED
            assert page._sent - page._acknowledged <= connection.MAX_IN_FLIGHT
            if not running.server.connections:
                break
        while running.server.connections:
            most = max(most, transport.get_write_buffer_size())
            await asyncio.sleep(0.01)
        assert most < 300_000  # it was sent two and a half megabytes
        assert transport.get_write_buffer_size() == 0
        writer.transport.abort()
        del reader

    play(test)


def test_a_page_that_vanishes_leaves_nothing(play: RunTest) -> None:
    async def test(running: Running) -> None:
        for _ in range(3):
            async with running.page() as page:
                await page.frame()
                page.socket._response.connection.transport.abort()  # type: ignore[union-attr]
            while running.server.connections:
                await asyncio.sleep(0.01)

    play(test)
