"""Causal uncertainty: the game's chance, and what the model does not know, told apart (row D15)."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import torch

from dfgym.evaluation.legality import judge
from dfgym.evaluation.rollout import Dream, StepResult, find_game, policies, roll
from dfgym.evaluation.uncertainty import auroc
from dfgym.games.breakout import BreakoutPolicy
from dfgym.games.minatar import MinAtarEnv
from dfgym.study.figures import bars
from dfgym.study.games import RECIPES, bundled
from dfgym.study.methods.objectives import Method
from dfgym.study.runner import StudyRunner, load_trained
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.train.loop import train
from dfgym.world import shelf
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
SCORES = ("epistemic", "outcome_entropy", "uncertainty")
NOISE = 0.15
"""Deviation of the noise in the weights of the world that has forgotten, in those of a matrix."""
SHARE = 10
"""A young world is trained for so small a part of the shipped one's steps."""
WORLDS = ("shipped", "spoiled", "young")
LEAST, MOST = 0.8, 0.01


def _auroc_is_high(game: Numbers, name: str) -> bool | None:
    value = game["worlds"][name]["auroc"]["epistemic"]
    return None if value is None else bool(value >= LEAST)


CONDITIONS = (
    Condition(
        f"where the game has no chance, the entropy of outcomes is under {MOST} nats on average",
        lambda game: game["entropy"]["no chance"]["mean"] < MOST,
    ),
    *(
        Condition(
            f"in the {name} world, `epistemic` tells illegal transitions from legal ones with an "
            f"AUROC of at least {LEAST}",
            partial(_auroc_is_high, name=name),
        )
        for name in WORLDS
    ),
)


class Played(NamedTuple):
    """Transitions of dreams, `(b, t)` each.

    Attributes:
        scores: fields of `Transition`.
        legal: by the game's rules.
        age: frames since the last real one.
    """

    scores: dict[str, np.ndarray]
    legal: np.ndarray
    age: np.ndarray


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Ask a world how sure it is, where chance is known, and where it errs."""
    numbers: dict[str, Any] = {}
    rows, shares, sentences = [], {}, []
    for game in games:
        world, steps = shelf.load(RECIPES[game]), runner.scale.horizon
        chance = entropies(world, rows=32, steps=max(8, steps // 4))
        judged: dict[str, dict[str, Any]] = {}
        worlds = (world, spoil(world), train_young(runner, game))
        for name, judged_world in zip(WORLDS, worlds, strict=True):
            played = play(judged_world, 64, max(8, steps // 2))
            illegal = ~played.legal
            judged[name] = {
                "transitions": int(illegal.size),
                "illegal": int(illegal.sum()),
                "auroc": {s: _auroc(played.scores[s].ravel(), illegal.ravel()) for s in SCORES},
            }
            rows += [
                [name, str(illegal.size), str(illegal.sum()), s, _number(judged[name]["auroc"][s])]
                for s in SCORES
            ]
        numbers[game] = {"entropy": chance, "worlds": judged}
        shares[game] = {name: values["mean"] for name, values in chance.items()}
        sentences.append(
            f"{game}: {shares[game]['no chance']:.2g} nats where there is no chance, and "
            "`epistemic` has an AUROC of "
            + ", ".join(f"{_number(judged[w]['auroc']['epistemic'])} ({w})" for w in WORLDS)
        )
    return Finding(
        "Causal uncertainty",
        "a world that is trained by diffusion forcing knows how open the next frame is.",
        "; ".join(sentences) + ".",
        numbers,
        "Entropy: the shipped world follows the real game, of which it is known whether the last "
        "action may be repeated instead of this one, to another effect (chance), or not (no "
        "chance). The first step of an episode counts apart, since its frame does not show from "
        "which side the ball comes: there the entropy should be that of a coin, 0.69 nats. Illegal "
        "transitions: in dreams of the scripted player, a fifth of whose actions are random. The "
        f"spoiled world is the shipped one with noise of {NOISE:.0%} in every matrix, the young "
        f"one is trained by its recipe for 1/{SHARE} of its steps, on the study's recordings. The "
        "AUROC is the probability that an illegal transition has a "
        "higher score than a legal one.\n\n"
        + table(("world", "transitions", "illegal", "score", "AUROC"), rows),
        bars(shares, "entropy of outcomes", "nats"),
    )


def entropies(world: World, rows: int, steps: int) -> dict[str, dict[str, float]]:
    """Follow the real game; returns the entropy of outcomes by whether there is chance."""
    dynamics = Dynamics(world, rows, Settings(device="cpu"))
    games = [MinAtarEnv() for _ in range(rows)]
    players = [BreakoutPolicy(0.3, seed, 0.5) for seed in range(rows)]
    frames = np.stack([game.reset(seed=seed)[0] for seed, game in enumerate(games)])
    values: dict[str, list[float]] = {"chance": [], "no chance": [], "first step": []}
    begins, age = np.ones(rows, bool), np.zeros(rows, int)
    for step in range(steps):
        index = np.flatnonzero(begins)
        contexts = [(frames[row][None], np.zeros(0, np.int64)) for row in index]
        dynamics.reset(index, index + step * rows, contexts)
        age[begins] = 0
        actions = np.array([play(frame) for play, frame in zip(players, frames, strict=True)])
        with torch.inference_mode():
            prediction, _ = dynamics.predict(dynamics.condition(actions), dynamics.batch)
        entropy = prediction.entropy.cpu().numpy()
        for row, game in enumerate(games):
            kind = "chance" if _is_open(game, actions[row]) else "no chance"
            values[kind if age[row] else "first step"].append(float(entropy[row]))
            frames[row], _, begins[row], _, _ = game.step(actions[row])
        dynamics.observe(actions, frames)
        age += 1
        for row in np.flatnonzero(begins).tolist():
            frames[row], _ = games[row].reset()
            players[row].reset()
    return {
        name: {"count": len(v), "mean": float(np.mean(v)), "median": float(np.median(v))}
        for name, v in values.items()
        if v
    }


def _is_open(env: MinAtarEnv, action: int) -> bool:
    """Whether the action and the one that may stick lead to different frames."""
    states = []
    for number in (env.action_set[action], env.last_action):
        game = copy.deepcopy(env.game)
        game.act(number)
        states.append(game.state())
    return not np.array_equal(*states)


def play(world: World, rows: int, steps: int, epsilon: float = 0.2) -> Played:
    """Let the scripted player play dreams, and judge every transition."""
    dream = _Recorder(Dynamics(world, rows, Settings(device="cpu")))
    episodes = roll(dream, policies(world.card, rows, epsilon=epsilon), rows * steps, steps)
    game = find_game(world.card)
    assert game is not None
    legal: list[list[np.ndarray]] = [[] for _ in range(rows)]
    ages: list[list[np.ndarray]] = [[] for _ in range(rows)]
    for episode in episodes:
        legal[episode.row].append(judge(game, episode).legal)
        ages[episode.row].append(1 + np.arange(len(episode)))
    scores = {name: np.stack([t[name] for t in dream.records], 1) for name in SCORES}
    return Played(
        scores, *(np.stack([np.concatenate(parts) for parts in p]) for p in (legal, ages))
    )


class _Recorder:
    """A dream that keeps the scores of its transitions."""

    def __init__(self, dynamics: Dynamics) -> None:
        self.dream, self.num_rows = Dream(dynamics), dynamics.num_rows
        self.reset, self.frames = self.dream.reset, self.dream.frames
        self.records: list[dict[str, np.ndarray]] = []

    def step(self, actions: np.ndarray) -> StepResult:
        transition = self.dream.dynamics.step(actions)
        self.records.append({name: getattr(transition, name) for name in SCORES})
        return transition


def train_young(runner: StudyRunner, game: str) -> World:
    """Return the world of the shipped recipe after few steps, trained if it is missing."""
    runner.data(game)
    small, recipe = runner.config(game), bundled(game).train
    config = replace(
        recipe,
        steps=recipe.steps // SHARE,
        image_steps=recipe.image_steps // SHARE,
        data=small.data,
        out=small.out.with_name("young"),
        device=runner.device,
    )
    if runner.scale.horizon < 100:
        sizes = replace(small.model, mixture=recipe.model.mixture)
        config = replace(small, model=sizes, sampler=recipe.sampler, out=config.out)
    train(config)
    return load_trained(config, Method()).world


def spoil(world: World, seed: int = 0) -> World:
    """Return a world whose matrices have noise."""
    random = torch.Generator().manual_seed(seed)
    weights = {
        name: w + NOISE * w.std() * torch.randn(w.shape, generator=random) if w.dim() > 1 else w
        for name, w in world.weights.items()
    }
    return replace(world, weights=weights)


def _auroc(scores: np.ndarray, faults: np.ndarray) -> float | None:
    return auroc(scores, faults) if faults.any() and not faults.all() else None


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.3f}"
