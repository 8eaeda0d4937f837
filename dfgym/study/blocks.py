"""Closed loops for every method: a player who sees only the dream chooses each block's actions.

A method that makes `new` frames at once needs their actions beforehand. Its player plans them: what
it would do if the game followed its rules (`plan` of the scripted players). So every method is
played by the same player, and what the blocks cost in control is the method's own loss.

Legend: b rows, t frames, n new frames of a block, k known frames before it, h w c a frame.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
from torch import Tensor

from dfgym import games
from dfgym.diffusion import noise
from dfgym.diffusion.context import plan_context
from dfgym.diffusion.joint_sampler import Pass, sample_jointly
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.schedules import Schedule, parse
from dfgym.evaluation import rollout
from dfgym.evaluation.rollout import Dream, Episode
from dfgym.frames import Codec
from dfgym.games import ScriptedPolicy
from dfgym.study.methods.objectives import Method
from dfgym.study.methods.shortcut import jump_of
from dfgym.study.methods.targets import predict_clean
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings

MIN_REST = 24
"""Frames that an episode goes on after the context, if one is as long."""


class Player(Protocol):
    """Chooses the actions of a block while it is made."""

    def choose(self, view: Pass) -> Tensor:
        """Return the actions that lead to the frames of a pass, int64 `(b, n)`."""
        ...

    def watch(self, estimate: Tensor, view: Pass) -> None:
        """See what the pass makes of its frames, `(b, n, h, w, c)`."""
        ...


class StudyModel(NamedTuple):
    """A trained model of the study, and the method that it was trained by."""

    world: World
    method: Method


class RolloutSpec(NamedTuple):
    """How a model is dreamed with.

    Attributes:
        schedule: the schedule of a block, see `diffusion.schedules`. Autoregressive ones of one
            frame are stepped by `Dynamics`, through its cache, as an environment does; but models
            of another target, or of jumps, are dreamt here in blocks of one frame, whose past is
            the window alone.
        new: the frames of a block.
        known: the frames before it that it sees, k; 0 stands for the window.
        causal: whether frames see only earlier ones.
        mode: the context mode, how finished frames are shown.
        noise: the context noise.
        steps: the denoising steps; 0 stands for the card's.
    """

    schedule: str = "autoregressive"
    new: int = 1
    num_context: int = 0
    causal: bool = True
    mode: str = "clean"
    noise: float = 0.0
    steps: int = 0

    @property
    def key(self) -> str:
        """A name for files, without what is as usual."""
        unusual = [
            f"{name}={value}"
            for (name, value), usual in zip(self._asdict().items(), RolloutSpec(), strict=True)
            if value != usual
        ]
        return ",".join(unusual) or "usual"


def context(
    world: World, generator: np.random.Generator, num_context: int
) -> tuple[np.ndarray, np.ndarray]:
    """Return the first frames of a held-out episode, and the actions between them.

    The episode goes on for `MIN_REST` frames at least, if one is as long: games that are lost
    already, as most of random players soon are, show little.
    """
    lengths = np.diff(world.starts.offsets)
    long = np.flatnonzero(lengths >= min(num_context + MIN_REST, lengths.max()))
    frames, actions = world.starts.episode(int(generator.choice(long)))
    return frames[:num_context], actions[: num_context - 1]


def play(model: StudyModel, spec: RolloutSpec, rows: int, horizon: int, seed: int) -> list[Episode]:
    """Have the scripted player play `rows * horizon` transitions; an episode that ends begins anew.

    Returns:
        Episodes, those of one row in order; of at most `horizon` transitions.
    """
    world, card = model.world, model.world.card
    seeds = np.random.SeedSequence(seed).spawn(rows)
    source_game = games.find(card.source.env)
    assert source_game is not None  # the study's games are known
    players = [source_game.policy(0.0, item) for item in seeds]
    num_context = spec.num_context or card.model.window
    if spec.new == 1 and spec.schedule == "autoregressive" and model.method.is_steppable:
        sampler: dict[str, Any] = {"context_mode": spec.mode}
        sampler |= {"denoising_steps": spec.steps} if spec.steps else {}
        sampler |= {"context_noise": spec.noise} if spec.mode not in ("clean", "kept") else {}
        begin = functools.partial(context, num_context=num_context)
        game = Dream(Dynamics(world, rows, Settings(**sampler)), seed, begin)
        return rollout.roll(game, players, rows * horizon, horizon)
    return _play_blocks(model, spec, players, horizon, seed)


def _generators(seed: int, count: int) -> list[np.random.Generator]:
    return [
        np.random.default_rng(sequence) for sequence in np.random.SeedSequence(seed).spawn(count)
    ]


def block(
    model: StudyModel,
    spec: RolloutSpec,
    clean: Tensor,
    actions: Tensor | Player,
    keys: Tensor,
    counts: Tensor,
) -> Tensor:
    """Make one block of frames.

    Args:
        model: a model whose network is a transformer.
        spec: how the block is made; the actions of its `new` frames are known.
        clean: the `k` encoded frames before it, `(b, k, h, w, c)`.
        actions: `(rows of the matrix, b, k + new)` or `(1, b, k + new)`: the action that led to
            each frame, as known when that row of the matrix is denoised. Or who chooses them.
        keys: int64 `(b,)` seeds of the noise.
        counts: int64 `(b,)`, blocks before this one.

    Returns:
        Encoded frames `(b, new, h, w, c)`, rounded.
    """
    card, network, target = model.world.card, _network(model), model.method.target
    codec = Codec(card.frames.palette)
    b, k = clean.shape[:2]
    schedule, jump = matrix(model, spec, k), _jump(model, spec)
    shape = (b, spec.new, *clean.shape[2:])
    total = (b, k + spec.new, *clean.shape[2:])
    eps = noise.normal(keys, counts, noise.FRAME, math.prod(shape[1:])).view(shape)
    context_eps = noise.normal(keys, counts, noise.CONTEXT, math.prod(total[1:])).view(total)

    def denoise(x: Tensor, view: Pass) -> Tensor:
        n = len(view.frames)
        tau = view.tau.to(x).expand(b, n)
        if isinstance(actions, Tensor):
            actions_to = actions[min(view.row, len(actions) - 1)][:, view.frames]
        else:
            actions_to = actions.choose(view)
        times, mask = view.frames.expand(b, n), view.visible.expand(b, n, n)
        jumps = (jump * view.wanted.expand(b, n),) if model.method.finest else ()
        output = network(x, tau, actions_to, times, mask, *jumps).prediction.mean
        estimate = predict_clean(output, x, tau.clamp(max=1 - 1e-3), target)
        if not isinstance(actions, Tensor):
            actions.watch(estimate, view)
        return estimate

    steps = spec.steps or card.sampler.denoising_steps
    frames = sample_jointly(
        denoise,
        eps,
        clean,
        schedule,
        plan_context(spec.mode, spec.noise, steps),
        context_eps,
        first_order=jump > 0,
        finish=lambda x: codec.encode(codec.decode(x)),
    )
    return frames[:, k:]


def _jump(model: StudyModel, spec: RolloutSpec) -> int:
    """The jump of each denoising step; 0 where the model knows none of that length."""
    return jump_of(spec.steps or model.world.card.sampler.denoising_steps, model.method.finest)


def matrix(model: StudyModel, spec: RolloutSpec, num_context: int) -> Schedule:
    """Return the scheduling matrix of a block."""
    card = model.world.card
    # Jumps go over equal parts of the path.
    shift = 1.0 if _jump(model, spec) else card.sampler.shift
    levels = denoising_levels(spec.steps or card.sampler.denoising_steps, shift)
    window = (
        max(card.model.window, num_context + spec.new - 1) if not spec.causal else card.model.window
    )
    return parse(
        spec.schedule, spec.new, levels, context=num_context, window=window, causal=spec.causal
    )


@functools.lru_cache(maxsize=4)
def _network(model: StudyModel) -> torch.nn.Module:
    network = model.method.build(model.world.card.model, model.world.card.game_spec)
    assert model.world.card.model.kind == "transformer"  # the recurrent one makes a frame at a time
    network.load_state_dict(model.world.weights)
    return network.eval().requires_grad_(False)


def _ends(
    model: StudyModel, clean: Tensor, actions: Tensor, keys: Tensor, counts: Tensor
) -> np.ndarray:
    """Draw whether the game ended on arrival at each frame, bool `(b, t)`."""
    b, t = actions.shape
    age = torch.arange(t)[:, None] - torch.arange(t)
    mask = ((age >= 0) & (age <= model.world.card.model.window)).expand(b, t, t)
    times = torch.arange(t).expand(b, t)
    ones = torch.ones(b, t)
    jumps = (torch.zeros_like(actions),) if model.method.finest else ()
    output = _network(model)(clean, ones, actions, times, mask, *jumps)
    chance = noise.uniform(keys, counts, noise.HEADS, t)
    return (chance < output.termination.sigmoid()).numpy()


class _Row:
    """One row of a dream in blocks: its episode so far."""

    def __init__(self, world: World, num_context: int, generator: np.random.Generator) -> None:
        frames, actions = context(world, generator, num_context)
        self.key = int(generator.integers(2**63))
        self.past = list(frames)  # what the model may see
        self.actions_to = [world.card.actions.count, *map(int, actions)]
        self.frames, self.actions = [frames[-1]], list[int]()  # of the episode
        self.unseen = list(frames)  # by the player
        self.blocks, self.over = 0, False

    def observe(self) -> np.ndarray:
        """Return the frames since the player last chose, `(t, h, w, 3)`."""
        frames, self.unseen = np.stack(self.unseen), []
        return frames

    def add(self, frame: np.ndarray, action: int, ended: bool) -> None:
        """Go on by one frame."""
        for frames in (self.frames, self.past, self.unseen):
            frames.append(frame)
        self.actions.append(action)
        self.actions_to.append(action)
        self.over = ended

    def episode(self, row: int) -> Episode:
        count = len(self.actions)
        ended = np.zeros(count, bool)
        ended[-1] = self.over
        return Episode(
            np.stack(self.frames), np.array(self.actions), np.zeros(count), ended, row, 0
        )


@torch.inference_mode()
def _play_blocks(
    model: StudyModel,
    spec: RolloutSpec,
    players: Sequence[ScriptedPolicy],
    horizon: int,
    seed: int,
) -> list[Episode]:
    world, card = model.world, model.world.card
    codec = Codec(card.frames.palette)
    num_context = spec.num_context or card.model.window
    generators = _generators(seed, len(players))
    finished: list[list[Episode]] = [[] for _ in players]
    played = [0] * len(players)

    def begin(row: int) -> _Row:
        players[row].reset()
        return _Row(world, num_context, generators[row])

    rows = [begin(row) for row in range(len(players))]
    while min(played) < horizon:
        plans = [
            [int(action) for action in play.plan(row.observe(), spec.new)]
            for play, row in zip(players, rows, strict=True)
        ]
        clean = codec.encode(torch.from_numpy(np.stack([row.past[-num_context:] for row in rows])))
        actions_to = torch.tensor(
            [row.actions_to[-num_context:] + plan for row, plan in zip(rows, plans, strict=True)]
        )
        keys = torch.tensor([row.key for row in rows])
        counts = torch.tensor([row.blocks for row in rows])
        frames = block(model, spec, clean, actions_to[None], keys, counts)
        ends = _ends(model, torch.cat((clean, frames), 1), actions_to, keys, counts)[
            :, num_context:
        ]
        decoded = codec.decode(frames).numpy()
        for number, row in enumerate(rows):
            row.blocks += 1
            for frame, action, ended in zip(
                decoded[number], plans[number], ends[number], strict=True
            ):
                if row.over or played[number] == horizon:
                    break
                row.add(frame, action, bool(ended))
                played[number] += 1
            if row.over or played[number] == horizon:
                if row.actions:  # none in a row that waits for the others
                    finished[number].append(row.episode(number))
                rows[number] = begin(number)
    return [episode for row in finished for episode in row]
