"""The order of what a page receives: a state comes after the frame that it belongs to."""

from __future__ import annotations

from typing import Any

from dfgym.play import connection
from toys.page import Running, RunTest


def test_paused_comes_after_the_last_frame(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            kinds = [reply["type"] for reply in await page.receive_until("state")]
            assert kinds == ["hello", "frame", "state"]
            (server,) = running.server.connections.values()
            game = server.session
            assert game is not None
            last = 0
            pauses: list[dict[str, Any]] = [
                {"do": "step"},
                {"do": "pause", "on": True},
                {"do": "seek", "t": 0},
            ]
            for message in pauses:
                await page.send("pause", on=False)
                while page.state["paused"]:
                    last = (await page.receive()).get("t", last)
                await page.send(**message)
                while not page.state["paused"]:
                    last = (await page.receive()).get("t", last)
                assert last == game.timeline.cursor

    play(test)


def test_a_state_waits_for_its_frame(play: RunTest) -> None:
    async def test(running: Running) -> None:
        async with running.page() as page:
            await page.send("speed", fps=0)
            while page.state.get("speed") != 0:
                await page.receive()
            undrawn = [await page.frame(ack=False) for _ in range(connection.MAX_IN_FLIGHT)]
            await page.send("pause", on=True)
            (state,) = await page.receive_until(
                "state", ack=False
            )  # no frame waits, so it comes at once
            assert state["paused"]
            await page.send("step")
            settings = {"device": "cpu", "denoising_steps": 1}
            await page.send("settings", settings=settings)
            await page.send("agent", name="random")
            for _ in range(2):  # errors do not wait; a state would come before the second
                await page.send("seek", t=-1)
                (error,) = await page.receive_until("error", ack=False)
                assert "-1" in error["message"]
            await page.send("ack", seq=undrawn[0]["seq"])
            frame, state = await page.receive_until("state", ack=False)
            assert (frame["type"], frame["t"]) == ("frame", undrawn[-1]["t"] + 1)
            assert state["agent"] == "random" and state["settings"]["denoising_steps"] == 1

    play(test)
