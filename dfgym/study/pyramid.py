"""Pyramids on policy: what it costs to choose actions from frames that are still noise (D15)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from dfgym.diffusion.joint_sampler import Pass
from dfgym.evaluation.legality import judge
from dfgym.evaluation.rollout import Episode, find_game
from dfgym.frames import Codec
from dfgym.games.breakout import BALL, PADDLE
from dfgym.games.minatar import palette, red_table
from dfgym.planning.futures import couple, future_entropy
from dfgym.statistics import bootstrap_interval
from dfgym.study import blocks, composition
from dfgym.study.blocks import RolloutSpec, StudyModel
from dfgym.study.figures import lines
from dfgym.study.games import RECIPES
from dfgym.study.methods.delays import count_cost
from dfgym.study.runner import StudyRunner
from dfgym.study.verdict import Condition, Numbers
from dfgym.study.write import Finding, table
from dfgym.world import shelf
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

GAMES = ("breakout",)
STEPS, NEW, CONTEXT, ROWS, QUICK_ROWS = 4, 8, 6, 64, 4
SCHEDULES = ("autoregressive", "pyramid:2", "pyramid:1", "full_sequence")
DRAWS = ("coupled", "naive")
BOLD = 0.8
"""How likely the player goes where the ball is."""
HORIZON = 5
PLANS = {"left and right": (1, 2, 1, 2, 1), "no action": (0,) * HORIZON}
LEAST, MOST = 1.0, 0.05
_CODE = red_table(palette(4))


def _is_coupled_better(game: Numbers) -> bool:
    """Whether fewer actions change in every pyramid, with gaps."""
    return all(
        of["coupled"]["changed"]["interval"][1] < of["naive"]["changed"]["interval"][0]
        for name, of in game["schedules"].items()
        if name.startswith("pyramid")
    )


def _is_as_legal(game: Numbers) -> bool:
    first = game["schedules"]["autoregressive"]["coupled"]["illegal"]["interval"]
    return any(
        of["coupled"]["illegal"]["interval"][0] <= first[1]
        for name, of in game["schedules"].items()
        if name.startswith("pyramid")
    )


CONDITIONS = (
    Condition(
        f"the entropy of a future with chance rises, to {LEAST} nats and more after {HORIZON} "
        "frames",
        lambda game: game["entropy"]["left and right"][-1] >= LEAST,
    ),
    Condition(
        f"that of a future without chance stays under {MOST} nats after the first frame",
        lambda game: game["entropy"]["no action"][-1] - game["entropy"]["no action"][0] < MOST,
    ),
    Condition(
        "along pyramids fewer actions change after their frame has begun if their draws share "
        "their chance",
        _is_coupled_better,
    ),
    Condition("a pyramid makes no more illegal transitions than frame by frame", _is_as_legal),
)


def measure(runner: StudyRunner, games: Sequence[str]) -> Finding:
    """Dream on policy along pyramids; and measure how open futures are."""
    numbers: dict[str, Any] = {}
    rows, sentences, groups = [], [], {}
    count = QUICK_ROWS if runner.scale.horizon < 100 else ROWS
    for game in games:
        model = runner.model(game, composition.MODEL)
        schedules: dict[str, Any] = {}
        for name in SCHEDULES:
            spec = RolloutSpec(name, NEW, CONTEXT, steps=STEPS)
            cost = count_cost(blocks.matrix(model, spec, CONTEXT)).calls
            schedules[name] = {draw: dream(model, spec, count, draw == "coupled") for draw in DRAWS}
            for draw, of in schedules[name].items():
                shares = [_share(of[measured]) for measured in ("changed", "illegal")]
                rows.append([game, name, draw, f"{cost:.1f}", *shares])
        entropy = {name: open_futures(game, plan, count).tolist() for name, plan in PLANS.items()}
        numbers[game] = {"schedules": schedules, "entropy": entropy}
        groups[game] = ([float(h) for h in range(1, HORIZON + 1)], entropy)
        random, still = (entropy[name] for name in PLANS)
        steep = schedules["pyramid:1"]
        sentences.append(
            f"{game}: {random[0]:.2f} nats after a frame and {random[-1]:.2f} after {HORIZON} "
            f"where actions may stick, {still[0]:.2f} and {still[-1]:.2f} where they cannot; along "
            f"a pyramid {steep['coupled']['changed']['share']:.0%} of coupled actions and "
            f"{steep['naive']['changed']['share']:.0%} of others change after the fact"
        )
    header = ("game", "schedule", "draws", "passes a frame", "changed actions", "illegal")
    return Finding(
        "Open futures",
        "the near future is certain and the far one open, so that a plan can be denoised like a "
        "pyramid and acted on as it becomes clear.",
        "; ".join(sentences) + ".",
        numbers,
        f"Entropy: of all frames up to a horizon, in the shipped world, from an episode's first "
        "frame, which hides from which side the ball comes. A player that goes left and right in "
        "turn is at the mercy of actions that stick, one that does nothing is not. Changed: the "
        "player looks at the frame before, as it is while it is denoised, and goes to the ball "
        f"with probability {BOLD:g}; its action is chosen again in every pass, and the last may "
        "not be the first, by which the frame was begun. Coupled: all draws of an action share "
        "their chance; naive: each has its own. An illegal transition is one that the rules do "
        f"not allow for the last action. {count} blocks of {NEW} frames with {CONTEXT} known ones "
        f"before, {STEPS} denoising steps each, in the world of "
        "Composition, which was trained once; intervals are over blocks.\n\n" + table(header, rows),
        lines(groups, "entropy of the future", "frames", "nats"),
    )


def open_futures(game: str, plan: Sequence[int], futures: int) -> np.ndarray:
    """Return the entropy of the frames up to each step of a plan, from an episode's first."""
    dynamics = Dynamics(shelf.load(RECIPES[game]), futures, Settings(device="cpu"))
    frames, _ = dynamics.world.starts.episode(0)
    start = (frames[:1], np.zeros(0, np.int64))
    dynamics.reset(np.arange(futures), np.arange(futures), [start] * futures)
    return np.asarray(future_entropy(dynamics, np.array(plan)).cumsum())


def chase(frames: np.ndarray) -> np.ndarray:
    """Choose on seeing frames `(b, 10, 10, 3)`: probabilities `(b, 3)` that go to the ball."""
    cells = _CODE[frames[..., 0]]
    ball, paddle = (cells == BALL).any(1), (cells[:, -1] == PADDLE)
    aims = np.sign(ball.argmax(1) - paddle.argmax(1))
    best = np.where(ball.any(1) & paddle.any(1), np.array([1, 0, 2])[aims + 1], 0)
    probabilities = np.full((len(frames), 3), (1 - BOLD) / 2)
    probabilities[np.arange(len(frames)), best] = BOLD
    return probabilities


class OnPolicy:
    """Chooses the actions of a block from its frames as they are, see `blocks.block`.

    Args:
        past: int64 `(b, k)`, the actions that led to the known frames.
        clean: uint8 `(b, k, h, w, 3)`, those frames.
        codec: of frames.
        uniforms: `(b, k + new, 3)`, the chance that draws of an action share.
        generator: for draws that share nothing; None couples them.
    """

    def __init__(
        self,
        past: np.ndarray,
        clean: np.ndarray,
        codec: Codec,
        uniforms: np.ndarray,
        generator: np.random.Generator | None = None,
    ) -> None:
        self.codec, self.uniforms, self.generator = codec, uniforms, generator
        (b, total, _), k = uniforms.shape, past.shape[1]
        self.actions = np.zeros((b, total), np.int64)
        self.actions[:, :k] = past
        self.first, self.begun = self.actions.copy(), np.zeros(total, bool)
        self.frames = np.zeros((b, total, *clean.shape[2:]), np.uint8)
        self.frames[:, :k] = clean
        self.num_past = k

    def choose(self, view: Pass) -> Tensor:
        """Return the actions that lead to the frames of a pass, `(b, n)`."""
        for frame in view.frames[view.wanted].tolist():
            uniforms = self.uniforms[:, frame]
            if self.generator is not None:
                uniforms = self.generator.random(uniforms.shape)
            self.actions[:, frame] = couple(chase(self.frames[:, frame - 1]), uniforms)
            if not self.begun[frame]:
                self.first[:, frame], self.begun[frame] = self.actions[:, frame], True
        return torch.from_numpy(self.actions[:, view.frames.numpy()])

    def watch(self, estimate: Tensor, view: Pass) -> None:
        """See what a pass makes of its frames."""
        some = view.frames[view.wanted].numpy()
        self.frames[:, some] = self.codec.decode(estimate[:, view.wanted]).numpy()

    def changed(self) -> np.ndarray:
        """Say which actions are not those of their frame's first pass, bool `(b, new)`."""
        return np.asarray(self.actions != self.first)[:, self.num_past :]


@torch.inference_mode()
def dream(model: StudyModel, spec: RolloutSpec, count: int, coupled: bool) -> dict[str, Any]:
    """Make blocks on policy; the shares of changed actions and of illegal transitions."""
    card, random = model.world.card, np.random.default_rng(0)
    starts = [blocks.context(model.world, random, CONTEXT) for _ in range(count)]
    clean = np.stack([frames for frames, _ in starts])
    none = np.full((count, 1), card.actions.count)
    past = np.concatenate([none, np.stack([actions for _, actions in starts])], 1)
    codec = Codec(card.frames.palette)
    uniforms = random.random((count, CONTEXT + spec.new, 3))
    player = OnPolicy(past, clean, codec, uniforms, None if coupled else random)
    keys = torch.arange(count)
    encoded = codec.encode(torch.from_numpy(clean))
    new = blocks.block(model, spec, encoded, player, keys, keys * 0)
    frames = np.concatenate([clean, codec.decode(new).numpy()], 1)
    game = find_game(card)
    assert game is not None
    illegal = []
    for row in range(count):
        episode = Episode(
            frames[row],
            player.actions[row, 1:],
            np.zeros(frames.shape[1] - 1),
            np.zeros(frames.shape[1] - 1, bool),
            row,
            0,
        )
        illegal.append(~judge(game, episode).legal[CONTEXT - 1 :])
    return {"changed": _summarize(player.changed()), "illegal": _summarize(np.stack(illegal))}


def _summarize(events: np.ndarray) -> dict[str, Any]:
    shares = events.mean(1)
    interval = bootstrap_interval(shares, lambda s: s.mean(-1))
    return {"share": float(shares.mean()), "interval": interval}


def _share(numbers: dict[str, Any]) -> str:
    low, high = numbers["interval"]
    return f"{numbers['share']:.1%} ({low:.1%} to {high:.1%})"
