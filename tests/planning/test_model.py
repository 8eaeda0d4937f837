"""The dream as a search's model: its tree's nodes are what stepping the dream there gives."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.model.config import ModelConfig
from dfgym.planning import model as planning_model
from dfgym.planning.model import DreamModel, Evaluate, evaluation_noise, rollouts
from dfgym.planning.nodes import NONE
from dfgym.planning.search import Evaluation, SearchConfig, search
from dfgym.world.bundle import World
from dfgym.world.cache import Batch
from dfgym.world.card import Actions, Sampler
from dfgym.world.conditions import Conditions
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import merge as merge_outcomes
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

WINDOW, GAMES, K = 3, 4, 5


def toy(
    kind: str = "transformer",
    mixture: int = 5,
    steps: int = 1,
    memory: str = "none",
    size: int = 0,
) -> World:
    past: Any = {"memory": memory, "memory_size": size}
    model = ModelConfig(16, 2, 1, patch=2, window=WINDOW, mixture=mixture, kind=kind, **past)  # type: ignore[arg-type]
    card = toy_card(
        model=model,
        sampler=Sampler(denoising_steps=steps, shift=1.0, context_mode="clean", context_noise=0.0),
    )
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


def begin(world: World) -> Dynamics:
    run = Dynamics(world, GAMES, Settings(device="cpu"))
    frames, actions = world.starts.episode(0)
    contexts = [(frames[: 1 + row], actions[:row]) for row in range(GAMES)]
    run.reset(np.arange(GAMES), np.arange(GAMES) + 7, contexts)
    return run


def judge(frames: np.ndarray, batch: Batch | None = None) -> Evaluation:
    """Logits and a value that any change of a frame changes."""
    flat = frames.reshape(len(frames), -1).astype(float)
    values = np.sin(flat @ np.arange(1, flat.shape[1] + 1))
    return Evaluation(np.outer(values, [1.0, 2.0, 3.0]), values)


@pytest.mark.parametrize("kind", ["transformer", "recurrent"])
def test_nodes_are_what_stepping_to_them_gives(kind: str) -> None:
    """Random trees, deeper than the window: every expansion against the dream's own outcomes."""
    world = toy(kind)
    run, walker = begin(world), begin(world)
    tree = DreamModel(run, judge, K, 0.0, merge=False)
    before = run.get_state(np.arange(GAMES))
    random = np.random.default_rng(0)
    for _ in range(2):  # the second search reuses what the first has allocated
        root = tree.root()
        assert np.array_equal(root.value, judge(run.frames()).value)
        alive = np.zeros((GAMES, 1 + 12 * K), bool)
        alive[:, 0] = True
        states = {0: run.get_state(np.arange(GAMES))}
        for number in range(12):
            first = 1 + number * K
            parents = np.array([random.choice(np.flatnonzero(row)) for row in alive])
            if number > 3:  # go deep too
                parents = np.array([np.flatnonzero(row)[-1] for row in alive])
            actions = random.integers(3, size=GAMES)
            expansion = tree.expand(parents, actions, first)
            for game in range(GAMES):
                parent = {name: states[parents[game]][name][[game]] for name in before}
                walker.set_state(np.array([game]), parent)
            outcomes = walker.outcomes(actions)
            weights, order = merge_outcomes(outcomes.probabilities, outcomes.frames, K, 0.0)
            rows = np.arange(GAMES)[:, None]
            assert np.allclose(np.exp(expansion.log_weights), weights, atol=1e-4)
            there = weights > 0
            alive[:, first : first + K] = there & (expansion.nodes == first + np.arange(K))
            values = judge(outcomes.frames[rows, order].reshape(-1, 8, 8, 3)).value
            assert np.array_equal(
                expansion.evaluation.value[there], values.reshape(GAMES, K)[there]
            )
            assert np.allclose(
                expansion.reward[there], outcomes.rewards[rows, order][there], atol=1e-4
            )
            ends = outcomes.termination_probability[rows, order][there]
            assert np.allclose(1 - expansion.survival[there], ends, atol=1e-4)
            for i in range(K):
                states[first + i] = {
                    name: value[np.arange(GAMES), order[:, i]]
                    for name, value in outcomes.state.items()
                }
    after = run.get_state(np.arange(GAMES))
    assert all(np.array_equal(before[name], after[name]) for name in before)


def test_what_is_kept_between_moves_changes_no_decision(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each game goes to an outcome of its action, to another frame, or begins anew."""
    world = toy()
    runs, walker = [begin(world), begin(world)], begin(world)
    models = [DreamModel(run, judge, K, 0.0, merge=False) for run in runs]
    rows: list[list[int]] = [[], []]
    for passed, run in zip(rows, runs, strict=True):
        predict = run.predict

        def count(conditions, batch, step=None, predict=predict, passed=passed):  # type: ignore[no-untyped-def]
            passed.append(len(batch.time))
            return predict(conditions, batch, step)

        monkeypatch.setattr(run, "predict", count)
    for move in range(5):
        decisions = [
            search(model, SearchConfig(24, gumbel_scale=0), np.random.default_rng(0))
            for model in models
        ]
        for a, b in zip(*decisions, strict=True):
            assert np.allclose(a, b, atol=1e-4)
        actions = decisions[0].action
        outcomes = walker.outcomes(actions)
        frames = outcomes.frames[np.arange(GAMES), outcomes.probabilities.argmax(1)]
        frames[2] = world.starts.episode(0)[0][move % 3]  # perhaps no outcome of it
        for run in (*runs, walker):
            run.observe(actions, frames)
            if move == 2:
                run.reset(np.array([3]), np.array([9]), [(frames[3][None], actions[:0])])
        begun = np.where((np.arange(GAMES) == 3) & (move == 2), NONE, actions)
        models[0].advance(begun)
    assert sum(rows[0]) < 0.95 * sum(rows[1]), (sum(rows[0]), sum(rows[1]))
    assert sum(rows[1]) <= 5 * 24 * GAMES
    runs[0].observe(actions, frames)
    models[0].advance(actions)  # a move later than the last search knows of
    assert (models[0]._kept == NONE).all()


def test_the_same_two_frames_by_the_same_action_are_one_node(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of a game that shows one frame for ever: a node below each action, and one below all."""
    tree = DreamModel(begin(toy()), judge, num_outcomes=1)
    frames = np.zeros((GAMES, 8, 8, 3), np.uint8)
    clean = tree.dynamics.codec.encode(torch.from_numpy(frames))

    def imagine(conditions: Conditions, rows: Batch) -> tuple[np.ndarray, np.ndarray, Tensor]:
        b = len(rows.time)
        return np.ones((b, 1)), frames[:b, None], clean[:b, None]

    monkeypatch.setattr(tree, "_imagine", imagine)
    tree.root()
    root = np.zeros(GAMES, int)
    left, right, again = (
        tree.expand(root, root + action, first).nodes[:, 0]
        for first, action in enumerate((0, 1, 0), start=1)
    )
    assert (left == 1).all() and (right == 2).all() and (again == 1).all()
    deeper = [
        tree.expand(nodes, root + 2, first).nodes[:, 0] for first, nodes in ((4, left), (5, right))
    ]
    assert (deeper[0] == 4).all() and (deeper[1] == 4).all()
    assert tree.nodes.size == GAMES * 4  # a root, one below each of two actions, one below both


def test_a_world_without_outcomes_gives_samples() -> None:
    tree = DreamModel(begin(toy(mixture=1, steps=2)), judge, num_outcomes=3)
    tree.root()
    expansion = tree.expand(np.zeros(GAMES, int), np.zeros(GAMES, int), 1)
    assert np.allclose(np.exp(expansion.log_weights), 1 / 3)
    again = tree.expand(np.array([1, 2, 3, 1]), np.ones(GAMES, int), 4)
    assert again.reward.shape == (GAMES, 3)


@given(
    st.lists(st.integers(0, 3), min_size=4, max_size=4),
    st.lists(st.floats(0.01, 1), min_size=4, max_size=4),
    st.integers(1, 6),
    st.floats(0, 0.3),
)
def test_equal_frames_are_one_outcome(
    colours: list[int], raw: list[float], count: int, least: float
) -> None:
    weights = np.array([raw]) / np.sum(raw)
    frames = np.array(colours, np.uint8).reshape(1, 4, 1, 1, 1)
    merged, order = merge_outcomes(weights, frames, count, least)
    assert merged.shape == order.shape == (1, count) and np.isclose(merged.sum(), 1)
    assert (np.diff(merged[0]) <= 0).all()
    totals = {
        c: sum(w for w, d in zip(weights[0], colours, strict=True) if c == d) for c in colours
    }
    best = sorted(totals.values(), reverse=True)[:count]
    expected = np.array([best[0], *(w for w in best[1:] if w >= least)])
    there = merged[0] > 0
    assert np.allclose(merged[0][there], expected / expected.sum())
    assert len({colours[i] for i in order[0][there]}) == there.sum()


def test_a_search_that_does_not_fit_names_what_would(monkeypatch: pytest.MonkeyPatch) -> None:
    tree = DreamModel(begin(toy()), judge)
    tree.check_memory(100)
    monkeypatch.setattr(planning_model, "available_bytes", lambda device: 10_000_000)
    with pytest.raises(ConfigError, match="the most that would fit"):
        tree.check_memory(4096)


def test_a_dream_that_commits_nothing_is_refused() -> None:
    run = Dynamics(toy(), 2, Settings(device="cpu", denoising_steps=4, context_mode="kept"))
    with pytest.raises(ConfigError, match="kept"):
        DreamModel(run, judge)


@pytest.mark.parametrize(
    ("memory", "size"), [("archive", 8), ("state_space", 3), ("spatial_map", 15)]
)
def test_a_memory_is_refused(memory: str, size: int) -> None:
    with pytest.raises(ConfigError, match=f"memory '{memory}'"):
        DreamModel(Dynamics(toy(memory=memory, size=size), 2, Settings(device="cpu")), judge)


def test_rollouts_are_what_stepping_brings() -> None:
    """One step: the value is the mean of expected reward and survival over actions and outcomes."""
    world, rows = toy(), 600
    run = Dynamics(world, rows, Settings(device="cpu"))
    frames, actions = world.starts.episode(0)
    run.reset(np.arange(rows), np.arange(rows), [(frames[:2], actions[:1])] * rows)
    exact = np.zeros(rows)  # the rows differ by their noise alone
    for action in range(3):
        outcomes = run.outcomes(np.full(rows, action))
        returns = outcomes.rewards + 0.9 * (1 - outcomes.termination_probability)
        exact += (outcomes.probabilities * returns).sum(1) / 3
    generator = np.random.default_rng(0)
    frames = run.frames()
    evaluation = rollouts(run, 1, 0.9, generator)(frames, run.batch.repeat(1))
    error = np.std(evaluation.value) / np.sqrt(rows)
    assert 0 < error < 0.02 and abs(evaluation.value.mean() - exact.mean()) < 4 * error
    assert (evaluation.logits == 0).all()
    none = rollouts(run, 0, 0.9, generator)(frames, run.batch.repeat(1))
    assert (none.value == 1).all()


def test_actions_that_cannot_be_tried_one_by_one_are_refused() -> None:
    card = toy_card(actions=Actions(kind="box", shape=(1,), low=(-1.0,), high=(1.0,), keys={}))
    world = World(card, "", Path(), toy_weights(card), toy_starts(toy_card()))
    with pytest.raises(ConfigError, match="kind 'box'"):
        DreamModel(Dynamics(world, 1, Settings(device="cpu")), judge)


def test_the_noise_of_an_evaluation_is_how_far_it_contradicts_itself() -> None:
    """Values that follow from the frame alone differ by chance; constant ones hardly do."""
    run = Dynamics(toy(), 32, Settings(device="cpu"))
    random = np.random.default_rng(0)

    def constant(value: float, deviation: float) -> Evaluate:
        def evaluate(frames: np.ndarray, batch: Batch) -> Evaluation:
            values = value + deviation * random.normal(size=len(frames))
            return Evaluation(np.zeros((len(frames), 3)), values)

        return evaluate

    # Without rewards: (1 - discount) times the value; and noise twice, of one deviation each.
    run._rewards = np.zeros_like(run._rewards)
    sure = evaluation_noise(run, constant(5.0, 0.0), 0.98, random)
    assert sure == pytest.approx(1.4826 * 0.1)
    unsure = evaluation_noise(run, constant(0.0, 0.3), 1.0, random)
    assert 0.3 < unsure < 0.7  # 0.3 times the root of 2, from the few steps until games end
