"""The real game as its own judge: it forbids none of its own frames, and every doctored one."""

from __future__ import annotations

from collections import Counter
from types import SimpleNamespace
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.errors import NotMeasuredError
from dfgym.games import RandomPolicy, breakout
from dfgym.games.decisions import Decisions, walk
from dfgym.games.minatar import MinAtarEnv
from dfgym.games.outcomes import Outcome
from dfgym.games.rules import judge_by
from dfgym.games.source import Opening, open_source
from dfgym.games.twin import Lifetime, follow, open_twin

PAST = 12


def play(opening: Opening, seed: int, steps: int) -> tuple[SimpleNamespace, int]:
    """Play a game at random; returns the episode, and a place in its first half."""
    source = open_source(opening)
    policy = RandomPolicy(source.actions, seed, 0.5)
    frames = [source.frame(source.env.reset(seed=seed)[0])]
    actions, rewards, terminated = [], [], []
    for _ in range(steps):
        actions.append(policy(frames[-1]))
        observation, reward, ends, _, _ = source.env.step(source.to_env(actions[-1]))
        frames.append(source.frame(observation))
        rewards.append(float(reward))
        terminated.append(bool(ends))
        if ends:
            break
    source.env.close()
    episode = SimpleNamespace(
        frames=np.stack(frames),
        actions=np.array(actions),
        rewards=np.array(rewards),
        terminated=np.array(terminated),
    )
    return episode, min(PAST, len(actions) // 2)


def after(episode: SimpleNamespace, at: int) -> Any:
    """Return the episode from a place on."""
    return SimpleNamespace(
        frames=episode.frames[at:].copy(),
        actions=episode.actions[at:],
        rewards=episode.rewards[at:],
        terminated=episode.terminated[at:],
    )


@pytest.mark.parametrize(
    ("package", "opening", "transitions"),
    [
        ("minatar", Opening("DFSource/MinAtar-Breakout-v0"), 20),
        ("minatar", Opening("DFSource/MinAtar-SpaceInvaders-v0"), 100),
        ("minatar", Opening("DFSource/MinAtar-Freeway-v0"), 70),
        ("minatar", Opening("DFSource/MinAtar-Asterix-v0"), 60),
        ("minatar", Opening("DFSource/MinAtar-Seaquest-v0"), 60),
        pytest.param("ale_py", Opening("ALE/Pong-v5", size=(64, 64)), 50, marks=pytest.mark.slow),
        pytest.param("ale_py", Opening("ALE/Breakout-v5"), 50, marks=pytest.mark.slow),
        ("minigrid", Opening("MiniGrid-FourRooms-v0", {"tile_size": 4}), 70),
        ("pygame", Opening("CartPole-v1", size=(64, 64)), 30),
    ],
    ids=lambda value: value.env if isinstance(value, Opening) else "",
)
def test_no_frame_of_the_real_game_is_illegal(
    package: str, opening: Opening, transitions: int
) -> None:
    pytest.importorskip(package)
    twin = open_twin(opening)
    total, ends = 0, Counter[str]()
    for seed in range(100, 140):
        episode, at = play(opening, seed, PAST + 60)
        lifetime = follow(twin, seed, episode.actions[:at], after(episode, at))
        ends[lifetime.end] += 1
        total += lifetime.lawful
        assert lifetime.wrong == 0
        if total >= transitions:
            break
    assert total >= transitions and set(ends) == {"cut"}


@pytest.mark.parametrize(
    "env",
    ["DFSource/MinAtar-SpaceInvaders-v0", pytest.param("ALE/Pong-v5", marks=pytest.mark.slow)],
)
def test_a_doctored_frame_is_the_first_illegal_one(env: str) -> None:
    pytest.importorskip("minatar" if "MinAtar" in env else "ale_py")
    opening = Opening(env)
    twin = open_twin(opening)
    episode, at = play(opening, 7, 40)
    dream = after(episode, at)
    count = len(dream.actions)
    dream.frames[11] = dream.frames[10]  # it stands still for a step
    lifetime = follow(twin, 7, episode.actions[:at], dream)
    assert count > 12 and lifetime.end == "illegal" and lifetime.lawful == 10
    dream = after(episode, at)
    dream.rewards[4] += 1
    lifetime = follow(twin, 7, episode.actions[:at], dream)
    assert (lifetime.end, lifetime.lawful, lifetime.wrong) == ("cut", count, 1)
    dream = after(episode, at)
    dream.frames[11] = np.clip(dream.frames[11].astype(int) + 3, 0, 255)  # within the tolerance
    assert follow(twin, 7, episode.actions[:at], dream, tolerance=3).end == "cut"


def test_other_actions_than_the_dream_obeyed_are_illegal() -> None:
    pytest.importorskip("minatar")
    opening = Opening("DFSource/MinAtar-Breakout-v0", {"sticky_action_prob": 0.0})
    twin = open_twin(opening)
    episode, _ = play(opening, 3, 20)
    assert len(episode.actions) > 5
    moved = SimpleNamespace(**vars(episode))
    moved.actions = (episode.actions + 1) % 3
    assert follow(twin, 3, [], after(episode, 0)).end == "cut"
    assert follow(twin, 3, [], after(moved, 0)).end == "illegal"


def test_the_twin_agrees_with_breakouts_rule_book() -> None:
    """On doctored episodes, up to the first fault: the same transition, by both."""
    pytest.importorskip("minatar")
    opening, palette = Opening("DFSource/MinAtar-Breakout-v0"), MinAtarEnv().palette
    twin, rng, counts = open_twin(opening), np.random.default_rng(0), Counter[bool]()
    judge_breakout = judge_by(breakout.RuleBook)
    for seed in range(60):
        episode, at = play(opening, seed, 40)
        dream = after(episode, at)
        if seed % 2 and len(dream.actions) > 2:
            t = int(rng.integers(1, len(dream.actions)))
            y, x, colour = rng.integers(0, 10), rng.integers(0, 10), rng.integers(5)
            dream.frames[t, y, x] = palette[colour]
        frames = np.concatenate([episode.frames[:at], dream.frames])
        verdicts = judge_breakout(frames, episode.actions, episode.rewards, episode.terminated)
        lifetime = follow(twin, seed, episode.actions[:at], dream)
        legal = verdicts.legal[at:]
        first = int(np.argmin(legal)) if not legal.all() else len(legal)
        assert lifetime.lawful == first, seed
        assert (lifetime.end == "illegal") == (not legal.all())
        assert lifetime.sticky == verdicts.sticky[at:][:first].sum()
        counts[lifetime.end == "illegal"] += 1
    assert counts[True] > 10 and counts[False] > 25


def test_a_game_that_does_not_come_back_is_not_judged() -> None:
    pytest.importorskip("minatar")
    opening = Opening("DFSource/MinAtar-Breakout-v0")
    episode, at = play(opening, 3, 20)
    dream = after(episode, at)
    dream.frames[0] += 1
    with pytest.raises(NotMeasuredError, match="does not come back"):
        follow(open_twin(opening), 3, episode.actions[:at], dream)


def test_a_chance_too_wide_ends_the_judgement() -> None:
    pytest.importorskip("pygame")
    pytest.importorskip("Box2D")
    opening = Opening("LunarLander-v3", size=(32, 48))
    episode, at = play(opening, 1, 20)
    lifetime = follow(open_twin(opening), 1, episode.actions[:at], after(episode, at))
    assert lifetime == Lifetime(0, "wide", 0, 0)


def outcome(value: Any) -> Outcome:
    return Outcome(value, value, np.zeros((1, 1, 3), np.uint8), 0.0, False, False)


def test_every_way_of_chance_is_walked_once() -> None:
    def draw(chance: Decisions) -> Outcome:
        coin = chance.randint(2)
        return outcome((coin, chance.choice([5, 6, 7]) if coin else chance.rand() < 0.5))

    states = [item.state for item in walk(draw)]
    assert states == [(0, True), (0, True), (0, False), (1, 5), (1, 6), (1, 7)]
    assert [item.state for item in walk(lambda chance: outcome(9))] == [9]
    with pytest.raises(NotMeasuredError, match="more than 10 ways"):
        list(walk(lambda chance: outcome(chance.integers(0, 50)), 10))
    with pytest.raises(NotMeasuredError, match="by `normal`"):
        list(walk(lambda chance: outcome(chance.normal())))
    with pytest.raises(NotMeasuredError, match="many numbers"):
        list(walk(lambda chance: outcome(chance.rand(8))))
    assert [item.state for item in walk(lambda c: outcome(c.choice(3, p=[0.5, 0, 0.5])))] == [0, 2]


def test_ways_of_chance_have_their_probabilities() -> None:
    def draw(chance: Decisions) -> float:
        if chance.integers(4):
            chance.choice([5, 6], p=[0.25, 0.75])
        return chance.probability

    assert list(walk(draw)) == pytest.approx([1 / 4, *[1 / 16, 3 / 16] * 3])

    def draw_number(chance: Decisions) -> float:
        chance.random()
        return chance.probability

    assert all(np.isnan(list(walk(draw_number))))


def test_odds_are_how_often_the_game_draws() -> None:
    """By the twin's draws, which use the game's own generator: 400 of them, within 4 deviations."""
    pytest.importorskip("minatar")
    opening = Opening("DFSource/MinAtar-Breakout-v0", {"sticky_action_prob": 0.3})
    twin = open_twin(opening)
    episode, at = play(opening, 7, 40)
    belief, frame = twin.begin(7, episode.actions[:at].tolist())
    assert np.array_equal(frame, episode.frames[at])
    assert sum(weight for _, weight in belief) == pytest.approx(1)
    ((state, _),) = belief
    action = (int(episode.actions[at - 1]) + 1) % 3
    ways = list(twin.outcomes(state, action))
    assert sorted(way.probability for way in ways) == pytest.approx([0.3, 0.7])
    draws = [twin.draw(state, action, seed) for seed in range(400)]
    assert np.mean([way.sticky for way in draws]) == pytest.approx(0.3, abs=0.092)
    pictures = {way.frame.tobytes() for way in draws}
    assert pictures == {way.frame.tobytes() for way in ways}


def test_what_no_frame_has_shown_is_a_matter_of_odds() -> None:
    """Where Breakout's ball will fly, before it has moved: either way, equally likely."""
    pytest.importorskip("minatar")
    twin = open_twin(Opening("DFSource/MinAtar-Breakout-v0"))
    belief, _ = twin.begin(7, [])
    assert [weight for _, weight in belief] == pytest.approx([1 / len(belief)] * len(belief))


class Coin(gym.Env[np.ndarray, Any]):
    """Draws one of two grey levels a step, by Gymnasium's generator or by one of its own."""

    observation_space = gym.spaces.Box(0, 255, (4, 4, 3), np.uint8)
    action_space = gym.spaces.Discrete(2)

    def __init__(self, own: bool, tosses: bool = True) -> None:
        self.own, self.tosses = own, tosses

    def reset(self, *, seed: int | None = None, options: Any = None) -> tuple[np.ndarray, Any]:
        super().reset(seed=seed)
        self.rng = np.random.default_rng(seed)
        self.rng.random()
        return np.zeros((4, 4, 3), np.uint8), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, Any]:
        generator = self.rng if self.own else self.np_random
        level = int(generator.integers(1, 3)) if self.tosses else 1
        return np.full((4, 4, 3), level, np.uint8), 0.0, False, False, {}


gym.register("toys/Coin-v0", lambda **keywords: Coin(**keywords))


def test_chance_of_the_games_own_generator_is_refused() -> None:
    """It would fall as the seed has it, so that the other side of the coin would seem illegal."""
    with pytest.raises(NotMeasuredError, match=r"toys/Coin-v0 .* generator of its own \(rng\)"):
        open_twin(Opening("toys/Coin-v0", {"own": True}))
    for own, tosses in ((False, True), (True, False)):  # held, and not used to step
        opening = Opening("toys/Coin-v0", {"own": own, "tosses": tosses})
        episode, at = play(opening, 3, 30)
        dream = after(episode, at)
        count = len(dream.actions)
        life = follow(open_twin(opening), 3, episode.actions[:at], dream)
        assert life == Lifetime(count, "cut", 0, 0, count * tosses)
        dream.frames[5] = 3 - dream.frames[5]
        life = follow(open_twin(opening), 3, episode.actions[:at], dream)
        assert life.end == ("cut" if tosses else "illegal")


def test_an_emulator_in_wrappers_that_repeats_actions_is_refused() -> None:
    pytest.importorskip("ale_py")
    wrappers = ("gymnasium.wrappers:AtariPreprocessing",)
    quiet = {"frameskip": 1, "repeat_action_probability": 0.0}
    opening = Opening("ALE/Pong-v5", quiet, wrappers=wrappers)
    episode, at = play(opening, 1, 15)
    assert follow(open_twin(opening), 1, episode.actions[:at], after(episode, at)).end == "cut"
    with pytest.raises(NotMeasuredError, match="repeats actions by chance"):
        open_twin(Opening("ALE/Pong-v5", {"frameskip": 1}, wrappers=wrappers))
