"""The order of what a page is sent: a state comes after the frame that it belongs to."""

from __future__ import annotations

from collections.abc import Callable

from dfgym.play import connection
from toys.page import Here


def test_who_is_told_paused_has_been_sent_the_last_frame(play: Callable[..., None]) -> None:
    async def test(here: Here) -> None:
        async with here.page() as page:
            kinds = [said["type"] for said in await page.hear_until("state")]
            assert kinds == ["hello", "frame", "state"]
            (server,) = here.server._connections.values()
            game = server._session
            assert game is not None
            last = 0
            for do, values in [("step", {}), ("pause", {"on": True}), ("seek", {"t": 0})]:
                await page.say("pause", on=False)
                while page.state["paused"]:
                    last = (await page.hear()).get("t", last)
                await page.say(do, **values)
                while not page.state["paused"]:
                    last = (await page.hear()).get("t", last)
                assert last == game.timeline.cursor

    play(test)


def test_a_state_waits_for_its_frame(play: Callable[..., None]) -> None:
    async def test(here: Here) -> None:
        async with here.page() as page:
            await page.say("speed", fps=0)
            while page.state.get("speed") != 0:
                await page.hear()
            unseen = [await page.frame(ack=False) for _ in range(connection.MAX_UNSEEN)]
            await page.say("pause", on=True)
            (told,) = await page.hear_until("state", ack=False)  # nothing waits, nor shall this
            assert told["paused"]
            await page.say("step")
            await page.say("settings", denoising_steps=1, context_mode="clean", context_noise=0)
            await page.say("agent", name="random")
            for _ in range(2):  # an error waits for nothing; a state would come before the second
                await page.say("seek", t=-1)
                (error,) = await page.hear_until("error", ack=False)
                assert "-1" in error["message"]
            await page.say("ack", seq=unseen[0]["seq"])
            frame, told = await page.hear_until("state", ack=False)
            assert (frame["type"], frame["t"]) == ("frame", unseen[-1]["t"] + 1)
            assert told["agent"] == "random" and told["settings"]["denoising_steps"] == 1

    play(test)
