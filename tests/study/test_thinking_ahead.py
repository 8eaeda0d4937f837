"""The study's claims about thinking ahead: what their numbers mean, on numbers that are known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from dfgym.diffusion.joint_sampler import Pass
from dfgym.evaluation.branches import SAMPLES, Branch, Branches
from dfgym.evaluation.rollout import Episode
from dfgym.frames import Codec
from dfgym.games.minatar import MinAtarEnv, palette
from dfgym.games.minigrid import GOAL, PALETTE
from dfgym.model.config import ModelConfig
from dfgym.planning.guidance import Guidance
from dfgym.study import (
    action,
    clocks,
    composition,
    horizon,
    luck,
    product,
    pyramid,
    reward,
    search,
    uncertainty,
)
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.card import Sampler
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights


def test_ages_are_counted_in_spans() -> None:
    age = np.array([[1, 2, 3, 4, 5], [1, 2, 1, 2, 3]])
    illegal = np.array([[0, 0, 1, 0, 1], [0, 1, 0, 0, 0]], bool)
    spans = horizon.count_by_age(age, illegal)
    assert [(s["first"], s["last"], s["transitions"]) for s in spans] == [
        (1, 1, 3),
        (2, 3, 5),
        (4, 5, 2),
    ]
    assert [s["illegal"] for s in spans] == [0, 2 / 5, 1 / 2]
    spans = horizon.count_by_age(age[:, :4], illegal[:, :4])  # one frame of age 4 is no span
    assert [(s["first"], s["last"], s["transitions"]) for s in spans] == [(1, 1, 3), (2, 4, 5)]


def test_gains_are_over_the_prior() -> None:
    none, more = np.array([[10.0, 10, 12], [8, 10, 10]]), np.array([[15.0, 15, 15], [15, 15, 15]])
    numbers = search.summarize({0: none, 32: more, 4: none + 1})
    assert numbers["gain"]["32"]["mean"] == pytest.approx(0.5)
    low, high = numbers["gain"]["32"]["interval"]
    assert 0.3 < low < 0.5 < high < 0.75 and numbers["spearman"] == pytest.approx(0.5)
    over = numbers["gain"]["32"]["by_prior"]
    assert over["gains"] == pytest.approx([45 / 32 - 1, 45 / 28 - 1])
    assert over["interval"][0] < over["gains"][0] and over["interval"][1] > over["gains"][1]
    assert next(c.holds(numbers) for c in search.CONDITIONS if c.holds)


def test_shares_are_joined_over_trainings() -> None:
    worlds = [
        [
            {
                kind: {"legal": share, "interval": (0, 1), "transitions": 10}
                for kind in composition.KINDS
            }
        ]
        for share in (0.9, 1.0, 1.0)
    ]
    joined = composition.over_trainings(worlds)[0]["new"]
    assert joined["legal"] == pytest.approx(29 / 30) and joined["transitions"] == 30
    low, high = joined["interval"]
    assert low == pytest.approx(29 / 30 - 4.3027 / 30, abs=1e-4) and high == 1
    assert composition.over_trainings(worlds[:1])[0]["all"]["interval"] == (0, 1)


def test_noise_in_the_weights_changes_the_matrices_alone() -> None:
    world = shelf.load(shelf.DEFAULT)
    spoiled = uncertainty.spoil(world)
    for name, weight in world.weights.items():
        change = (spoiled.weights[name] - weight).std()
        expected = uncertainty.NOISE * weight.std() if weight.dim() > 1 else 0.0
        assert change == pytest.approx(float(expected), rel=0.1), name


def test_gains_tell_exact_from_sampled_chance() -> None:
    none, exact = np.full((2, 3), 10.0), np.array([[15.0, 16, 17], [15, 16, 17]])
    numbers = search.summarize({0: none, 8: exact, 16: none}, {8: exact - 4, 16: none})
    assert numbers["exact_over_sampled"]["8"]["mean"] == pytest.approx(4)
    assert numbers["sampled"]["8"]["mean"] == pytest.approx(12)
    assert search._exact_is_better(numbers), "better in one, nowhere worse"
    numbers = search.summarize({0: none, 8: exact}, {8: exact + 4})
    assert not search._exact_is_better(numbers)


@pytest.mark.parametrize(
    ("player", "low", "high"), [(composition.Left, 0, 4), (composition.Right, 4, 9)]
)
def test_fenced_players_meet_in_one_column(
    player: Callable[[int], Callable[[np.ndarray], int]], low: int, high: int
) -> None:
    env, columns = MinAtarEnv(sticky_action_prob=0.0), set[int]()
    for seed in range(8):
        play = player(seed)
        frame, _ = env.reset(seed=seed)
        for _ in range(30):
            columns.add(int(composition.paddles(frame[None])[0]))
            frame, _, ends, *_ = env.step(play(frame))
            if ends:
                break
    assert {4, *columns} == columns and low <= min(columns) < max(columns) <= high


def test_windows_across_the_middle_hold_both_sides() -> None:
    columns = np.array([3, 4, 5, 5, 5, 4])
    assert composition.across(columns, 1).tolist() == [False] * 5
    assert composition.across(columns, 2).tolist() == [False, True, False, False, False]
    assert composition.across(columns, 3).tolist() == [False, True, True, False, False]


def test_a_transition_is_new_if_a_frame_or_the_action_is() -> None:
    frames = np.stack([MinAtarEnv().reset(seed=seed)[0] for seed in (0, 1)] * 2)
    frames[2, 9] = frames[2, 9, ::-1]  # the paddle elsewhere
    keys = composition.transitions(frames, np.array([1, 1, 2]))
    assert len(set(keys)) == 3
    assert keys[0] == composition.transitions(frames[:2], np.array([1]))[0]


def test_the_paths_of_the_cross_meet_in_the_middle() -> None:
    paths = [[composition.draw(rises, t) for t in range(7)] for rises in (False, True)]
    assert [bool((a == b).all()) for a, b in zip(*paths, strict=True)] == [t == 3 for t in range(7)]
    env = composition.Cross()
    first, _ = env.reset(seed=0)
    own = next(path for path in paths if (path[0] == first).all())
    steps = [env.step(0) for _ in range(6)]
    assert all((step[0] == frame).all() for step, frame in zip(steps, own[1:], strict=True))
    assert [step[3] for step in steps] == [False] * 5 + [True]


def test_a_chasing_player_goes_where_the_ball_is() -> None:
    frames = np.stack([MinAtarEnv().reset(seed=0)[0]] * 3)
    frames[:, 1:9] = 0
    colours = palette(4)
    for frame, column in zip(frames, (1, 4, 8), strict=True):  # the paddle is in column 4
        frame[5, column] = colours[2]
    assert pyramid.chase(frames).argmax(1).tolist() == [1, 0, 2]
    np.testing.assert_allclose(pyramid.chase(frames).sum(1), 1)


def test_coupled_actions_change_with_what_is_seen_alone() -> None:
    """Chosen twice from the same frames they are the same, and drawn anew mostly not all."""
    frames = np.stack([MinAtarEnv().reset(seed=seed)[0] for seed in range(64)])[:, None]
    uniforms = np.random.default_rng(0).random((64, 2, 3))
    view = Pass(0, torch.tensor([0, 1]), torch.ones(2), torch.tensor([False, True]), torch.ones(2))
    colours = tuple((int(r), int(g), int(b)) for r, g, b in palette(4))
    changed = []
    for generator in (None, np.random.default_rng(1)):
        past = np.zeros((64, 1), np.int64)
        player = pyramid.OnPolicy(past, frames, Codec(colours), uniforms, generator)
        first = player.choose(view)
        assert (player.choose(view)[:, 0] == first[:, 0]).all(), "known"
        changed.append(int(player.changed().sum()))
    assert changed[0] == 0 and changed[1] > 0


@pytest.mark.parametrize(("lower", "legal", "distance"), [("right", 1.0, 0.0), ("near", 0.5, 0.5)])
def test_two_dots_are_judged_by_both_rules(lower: str, legal: float, distance: float) -> None:
    class Played:
        """Plays the real game of two dots, as a dream would."""

        num_rows = 200

        def reset(self, rows: np.ndarray, seeds: np.ndarray, contexts: list[Any]) -> None:
            self.envs = [product.Pair("right", lower) for _ in rows]
            for env, seed, (frames, _) in zip(self.envs, seeds, contexts, strict=True):
                env.reset(seed=int(seed))
                env.columns = frames[0, [1, 5]].any(-1).argmax(1)

        def step(self, actions: np.ndarray) -> Any:
            return SimpleNamespace(frames=np.stack([env.step(0)[0] for env in self.envs]))

    numbers = product.judge(Played(), product.RULES["right"], 4)
    assert numbers["legal"] == pytest.approx(legal, abs=0.07)
    assert numbers["distance"] == pytest.approx(distance, abs=0.07)


def test_a_clock_is_judged_from_its_first_frame() -> None:
    """The real game keeps its pace; one that is joined midway does not, nor one without a dot."""
    env, films, paces = clocks.Clock(), [], []
    for seed in range(20):
        frames = [env.reset(seed=seed)[0]]
        films.append(np.stack(frames + [env.step(0)[0] for _ in range(25)]))
        paces.append(env.pace)
    games = np.stack(films)
    lawful, early = clocks.judge(games[:, :20])
    assert lawful.all() and early == 0
    midway, early = clocks.judge(games[:, 5:])
    assert midway.sum() < 10 and early == np.mean([6 % pace == 0 for pace in paces])
    games[0, 3] = 0
    games[1, 3] = games[1, 3].max(1, keepdims=True)
    assert clocks.judge(games[:, :20])[0].tolist() == [False, False, *[True] * 18]


def test_goals_in_view_are_counted_by_frame() -> None:
    """The first frame is not dreamt; the corner that is no part of the view does not count."""
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    goal = PALETTE[GOAL]
    frames[[0, 1, 3], 4, 4], frames[1, 7, 0], frames[2, 0, 7] = goal, goal, goal
    rewards, ends = np.array([0.0, 0.3, 0.6]), np.zeros(3, bool)
    episodes = [Episode(frames, np.zeros(3, int), rewards, ends, row, 0) for row in range(2)]
    sums = reward.count_frames(episodes, 2)
    assert sums == pytest.approx(np.array([[2, 1, 0.9, 3]] * 2))
    numbers = reward.summarize(sums, sums - [1, 0, 0, 0])
    means = {name: value["mean"] for name, value in numbers.items()}
    assert means == pytest.approx({"in_view": 2 / 3, "two": 1 / 3, "reward": 0.3})
    assert numbers["in_view"]["gain"] == pytest.approx((1 / 3, 1 / 3))
    assert numbers["two"]["gain"] == (0, 0)


@pytest.mark.parametrize("weight", [0.0, 0.5, 2.0])
def test_guidance_sticks_as_its_definition_says(weight: float) -> None:
    """By the joint odds of three equally likely actions, of which the last one was 0."""
    odds = np.eye(3) * 0.9
    odds[:, 0] += 0.1
    guided = odds * (odds / odds.mean(0)) ** weight
    guided /= guided.sum(1, keepdims=True)
    assert action.predict_sticking(weight) == pytest.approx(guided[1, 0])


def test_frames_obey_or_stick_or_do_neither() -> None:
    """Of the first moment one action counts, whose chance shows; of the second none does."""
    pictures = np.arange(4, dtype=np.uint8)[:, None, None, None] * np.ones((1, 2, 2, 3), np.uint8)

    def branch(**probabilities: float) -> Branch:
        places = [int(name[1:]) for name in probabilities]
        return Branch(pictures[places], np.array([*probabilities.values()]), 0.0, 0.0, None)

    real = [[branch(_0=0.1, _1=0.9), branch(_0=1.0)], [branch(_0=0.5, _1=0.5), branch(_2=1.0)]]
    dream = [[branch(_0=0.2, _1=0.5, _3=0.3), branch(_0=1.0)]] * 2
    branches = Branches(("still", "left"), pictures[:2], dream, real, 0)
    sums = action.split(branches)
    assert sums == pytest.approx(np.array([[0.5, 0.2, 0.3, 1], [0, 0, 0, 0]]))
    measured = {"illegal": {}, "apart": 0.5, "moments": sums.tolist()}
    none = {**measured, "moments": [[0.9, 0.1, 0, 1], [0.9, 0.1, 0, 1]]}
    numbers = action.summarize(measured, none)
    assert [numbers[name]["mean"] for name in action.MEASURES] == pytest.approx([0.5, 0.2, 0.3])
    same = action.summarize(none, none)
    assert same["sticks"]["gain"] == (0, 0) and same["sticks"]["mean"] == pytest.approx(0.1)


def test_verdicts_on_guidance_ask_for_gaps() -> None:
    def of_weight(low: float, high: float, gain: tuple[float, float]) -> dict[str, Any]:
        kept = {"interval": (0.05, 0.15), "gain": gain}
        return {"illegal": {"interval": (low, high)}, "neither": kept, "sticks": kept}

    none, better = of_weight(0.2, 0.3, (0, 0)), of_weight(0.1, 0.15, (-0.1, -0.01))
    even = of_weight(0.1, 0.25, (-0.1, 0.1))
    for others, answers in (([better], [True] * 3), ([better, even], [True, True, False])):
        game = {"weights": [none, *others]}
        assert [c.holds and c.holds(game) for c in action.CONDITIONS] == answers
    game = {"weights": [none, even]}
    assert [c.holds and c.holds(game) for c in action.CONDITIONS] == [False] * 3


def test_guided_rows_are_drawn_again_from_where_they_stand() -> None:
    card = toy_card(
        model=ModelConfig(16, 2, 1, patch=2, window=3, mixture=1, kind="transformer"),
        sampler=Sampler(denoising_steps=2, shift=1.0, context_mode="clean", context_noise=0.0),
        training={"action_dropout": 0.1},
    )
    tiny = World(card, "", Path(), toy_weights(card), toy_starts(card))
    rows = action.Redrawn(tiny, 2, Guidance(action=1.0), Settings(device="cpu"))
    frames, actions = tiny.starts.episode(0)
    rows.reset(np.arange(2), np.arange(2), [(frames[:2], actions[:1])] * 2)
    first, other, again = (rows.outcomes(np.full(2, a)) for a in (0, 1, 0))
    assert first.frames.shape[:2] == (2, SAMPLES) and first.probabilities.sum() == 2
    assert (first.frames == again.frames).all(), "no row moves"
    assert (first.frames != other.frames).any()
    assert (first.frames[0, 0] != first.frames[0]).any(), "draws differ"


def test_luck_is_summarized_over_agents() -> None:
    numbers = luck.summarize([{"dream": d, "real": r} for d, r in ((4, 4), (6, 5), (5, 6))])
    assert numbers["ratio"] == 1 and numbers["dream"]["mean"] == 5
    low, high = numbers["real"]["interval"]
    assert low == pytest.approx(5 - 4.303 / 3**0.5, abs=1e-3) and high - 5 == pytest.approx(5 - low)
    assert numbers["ratio_interval"][0] < 1 < numbers["ratio_interval"][1]


def test_a_rival_is_bound_to_its_length_if_it_errs_more_at_all_others() -> None:
    def rival(trained: bool, low: float, high: float) -> dict[str, Any]:
        return {"trained": trained, "illegal": (low + high) / 2, "interval": (low, high)}

    bound = {"1": rival(False, 0.5, 0.6), "4": rival(True, 0.1, 0.2)}
    assert horizon._is_bound({"rival": bound})
    assert not horizon._is_bound({"rival": bound | {"8": rival(False, 0.15, 0.3)}})
    assert horizon._is_bound({}) is None
