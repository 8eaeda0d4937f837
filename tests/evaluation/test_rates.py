"""Rates of dreams that are right, and of dreams in which something does not come any more."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.evaluation import next_frame, rates
from dfgym.evaluation.blobs import find_scenery, follow, name_colour
from dfgym.evaluation.counting import Sample, find_reward_kinds
from dfgym.evaluation.rollout import Episode
from dfgym.evaluation.verdict import Level, conclude
from dfgym.games.minatar import MinAtarEnv, env_id
from dfgym.statistics import ratio_interval
from dfgym.world.card import Actions, Card, Frames, Source
from toys.breakout import FrozenDynamics, rows_of
from toys.things import BAD, GOOD, PADDLE, Catch, DoctoredDynamics, Pong
from toys.world import toy_card


def compare(card: Card, make: Callable[[], gym.Env[Any, Any]], **options: Any) -> dict[str, Any]:
    """Compare a doctored dream with the real game, by few steps of few rows."""
    change = options.pop("change", None)
    dream: Any = functools.partial(DoctoredDynamics, card, make, change=change)
    return rates.compare_players(lambda rows: dream(num_rows=rows), card, 3200, 8, **options)


def words(result: dict[str, Any], level: Level) -> str:
    return "\n".join(item.words for item in rates.findings(result) if item.level == level)


@pytest.mark.parametrize(("name", "game"), [("catch", Catch), ("pong", Pong)])
def test_the_real_game_has_its_own_rates(
    thing_cards: dict[str, Card], name: str, game: Callable[[], gym.Env[Any, Any]]
) -> None:
    result = compare(thing_cards[name], game, seed=3)
    assert not words(result, "fault") + words(result, "flaw")
    assert "at 0.8 to 1.25 times" in words(result, "merit")
    table = result["players"]["random"]["measures"]
    assert table["appearances"]["verdict"] == table["rewards"]["verdict"] == "right"
    assert table["length"]["real"] > 10 and table["ends"]["real_events"] > 20
    section = rates.section(result)
    assert "random" in section.table.rows[0]  # type: ignore[union-attr]
    for player in result["players"].values():
        again, still = player["again"], player["copy"]
        assert again["right"] == again["judged"] > 6 and still["right"] < still["judged"] / 2
    (rung,) = section.rungs
    dream, real, copy = (cell.split(" of ") for cell in (rung.figure, rung.real, rung.copy))
    assert dream[0] == dream[1] and real[0] == real[1] and int(copy[0]) < int(copy[1]) / 2


def test_a_slow_game_is_not_played_again(
    thing_cards: dict[str, Card], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rates, "SECONDS", 0.0)
    result = compare(thing_cards["catch"], Catch)
    assert all(player["again"] is None for player in result["players"].values())
    (rung,) = rates.section(result).rungs
    assert rung.real == "" and " of " in rung.copy
    for player in result["players"].values():
        del player["again"], player["copy"]  # as in an older result
    assert rates.section(result).rungs[0].copy == ""


def test_an_empty_catch_is_caught(thing_cards: dict[str, Card]) -> None:
    result = compare(thing_cards["catch"], functools.partial(Catch, things=False))
    faults = words(result, "fault")
    assert "nothing new appears" in faults.splitlines()[0]
    assert "rewards" in faults and "ends never come in the dream" in faults
    assert not words(result, "merit")
    assert "Nothing new appears" in rates.section(result).verdict


def test_a_catch_that_empties_late_says_after_how_many_frames(thing_cards: dict[str, Card]) -> None:
    class Late(Catch):
        def reset(self, **options: Any) -> Any:
            self.age, self.things = 0, True
            return super().reset(**options)

        def step(self, action: Any) -> Any:
            self.age += 1
            self.things = self.age < 40
            return super().step(action)

    result = compare(thing_cards["catch"], Late)
    after = result["players"]["random"]["stops_after"]
    assert after is not None and 22 <= after <= 40
    assert f"nothing new appears after {after} frames" in words(result, "fault")


class Empty(Catch):
    """Nothing falls: the sky is empty, which is nearly every pixel of it."""

    def _serve(self) -> None:
        self.row = None


class Swaying(Catch):
    """Things fall and are caught, but sway by a column in each step, so that none is in place."""

    def step(self, action: Any) -> Any:
        sway = self.column + self.np_random.choice([-1, 1])
        self.column = int(np.clip(sway, 0, self.SIZE - 1))
        return super().step(action)


class ContinuedDynamics(DoctoredDynamics):
    """A dream of Catch that goes on from the frame that it is given."""

    def reset(self, rows: Any, seeds: Any, contexts: Any) -> None:
        super().reset(rows, seeds, contexts)
        for row, (frames, _) in zip(rows, contexts, strict=True):
            game: Any = self.games[row]
            game.paddle = int((frames[-1][-1] == PADDLE).all(-1).nonzero()[0].mean())
            for good, colour in ((True, GOOD), (False, BAD)):
                for y, x in np.argwhere((frames[-1] == colour).all(-1)).tolist():
                    game.good, game.column = good, x
                    game.row = None if isinstance(game, Empty) else y
            self.current[row] = frames[-1]


def test_an_empty_sky_is_worse_than_a_playable_game_though_its_next_frames_are_better(
    thing_cards: dict[str, Card],
) -> None:
    card = thing_cards["catch"]
    scores, overall = {}, {}
    for game in (Empty, Swaying):
        make: Any = functools.partial(ContinuedDynamics, card, game)
        frames = next_frame.compare(make, card, 512)
        counts = rates.compare_players(make, card, 3200, 8)
        scores[game] = frames["dream"]
        overall[game] = conclude([*next_frame.findings(frames), *rates.findings(counts)])
    assert scores[Empty]["psnr"] > scores[Swaying]["psnr"] + 1
    assert scores[Empty]["ssim"] > scores[Swaying]["ssim"]
    assert overall[Empty].overall.startswith("not fit to play or to train in: nothing new appears")
    assert not overall[Swaying].overall.startswith("not fit")


def test_a_pong_without_a_ball_is_caught(thing_cards: dict[str, Card]) -> None:
    """Its rewards, ends and pictures are right, but for one pixel in 1,024."""
    result = compare(thing_cards["pong"], functools.partial(Pong, ball=False))
    table = result["players"]["random"]["measures"]
    assert table["ends"]["verdict"] == table["rewards"]["verdict"] == "right"
    assert table["appearances"]["verdict"] == "never"
    assert "nothing new appears in the dream" in words(result, "fault")


def test_a_space_invaders_without_bombs_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    def disarm(env: gym.Env[Any, Any]) -> None:
        game: Any = env.unwrapped
        game.game.e_bullet_map[:] = 0

    game = functools.partial(MinAtarEnv, "space_invaders")
    colours = tuple(tuple(map(int, colour)) for colour in game().palette)
    card = toy_card(
        frames=Frames(10, 10, 4, 10, colours),  # type: ignore[arg-type]
        source=Source(env_id("space_invaders"), {}, {}, "minatar", "GPL-3.0"),
        actions=Actions(4, ("noop", "left", "right", "fire"), keys={}),
    )
    # The scripted player takes long.
    wanderers = {name: rates.players(card)[name] for name in ("random", "sticky-random")}
    monkeypatch.setattr(rates, "players", lambda card: wanderers)
    result = compare(card, game, change=disarm)
    bomb = name_colour(colours[-1])  # type: ignore[arg-type]
    # A bomb is drawn once, in the frame in which it is dropped, and then it is gone.
    wrong = words(result, "fault") + words(result, "flaw")
    assert f"pixels of {bomb}" in wrong and "ends never come" in wrong
    assert not words(compare(card, game, seed=4), "fault")


def test_a_frozen_dream_is_caught(breakout_card: Card) -> None:
    result = rates.compare_players(rows_of(FrozenDynamics, breakout_card), breakout_card, 1600, 8)
    faults = words(result, "fault")
    assert "nothing new appears in the dream" in faults and "ends never come" in faults


def test_blobs_come_move_and_go() -> None:
    frames = np.zeros((5, 12, 12, 3), np.uint8)
    frames[1:4, 0:2, 3] = GOOD  # comes, and stays for three frames
    frames[1, 5, 5] = BAD  # moves one cell: no event
    frames[2, 6, 6] = BAD
    frames[3, 6, 11] = BAD  # leaps: one goes, one comes
    frames[4, 7, 11] = BAD
    frames[4, 0, 0] = BAD  # a second one
    scenery = find_scenery(frames, Catch.palette)
    assert scenery.colours == Catch.palette[1:] and scenery.reach == 1
    events = follow(frames, scenery)
    assert events.appearances[:, 1].tolist() == [1, 0, 0, 0]
    assert events.disappearances[:, 1].tolist() == [0, 0, 0, 1]
    assert events.appearances[:, 2].tolist() == [1, 0, 1, 1]
    assert events.disappearances[:, 2].tolist() == [0, 0, 1, 0]
    assert events.count[:, 2].tolist() == [1, 1, 1, 2]
    assert events.pixels[0, 1] == 2 / 144 and not events.count[:, 0].any()


def test_rgb_blobs_stand_out_from_the_median_and_flicker_does_not() -> None:
    rng = np.random.default_rng(0)
    frames = rng.integers(90, 110, (40, 20, 20, 3), np.uint8)
    frames[10:20, 4, 4] = 255
    scenery = find_scenery(frames, ())
    assert scenery.kinds == 1 and scenery.reach == 2
    events = follow(frames, scenery)
    assert events.appearances.sum() == events.disappearances.sum() == 1
    assert events.appearances[9, 0] == 1


def test_colours_have_names() -> None:
    assert name_colour((220, 30, 30)) == "red (#dc1e1e)"
    assert name_colour((8, 8, 8)).startswith("black")


@pytest.mark.parametrize(
    ("dream", "real", "expected"),
    [
        ([0.0] * 8, [0.0] * 8, "not tested"),
        ([0.0] * 8, [1.0] * 8, "never"),
        ([1.0] * 8, [0.0] * 8, "only in the dream"),
        ([0.0] * 8, [1.0] + [0.0] * 7, "too few to tell"),
        ([5.0, 6.0] * 4, [10.0, 11.0] * 4, "too little"),
        ([10.0, 11.0] * 4, [5.0, 6.0] * 4, "too much"),
        ([10.0, 11.0] * 4, [11.0, 10.0] * 4, "right"),
        ([1.0, 0.0] * 4, [2.0, 0.0] * 4, "too few to tell"),
    ],
)
def test_a_measure_is_wrong_only_if_its_interval_is(
    dream: list[float], real: list[float], expected: str
) -> None:
    of_dream, of_real = (Sample(values, int(sum(values))) for values in (dream, real))
    ratio = float(np.mean(dream) / np.mean(real)) if any(real) else None
    interval = ratio_interval(dream, real, paired=False)
    assert rates.judge(of_dream, of_real, ratio, interval) == expected


def test_rewards_are_compared_as_a_card_holds_them() -> None:
    """A card holds -0.15 in single precision, the real game pays it in double."""
    real = np.array([-0.15, 0.575, -0.15, 1.6])
    frames, nothing = np.zeros((5, 2, 2, 3), np.uint8), np.zeros(4, bool)
    games = [
        [Episode(frames, np.zeros(4, int), rewards, nothing, 0, 0)]
        for rewards in (real.astype(np.float32).astype(float), real)
    ]
    kinds = find_reward_kinds(*games)
    assert list(kinds) == ["rewards", "rewards of 0.575", "rewards of 1.6"]
    for kind, paid in zip(kinds.values(), ([1, 3], [1], [3]), strict=True):
        for (episode,) in games:
            assert np.flatnonzero(kind(episode.rewards)).tolist() == paid
