"""Cached equals recomputed: in every context mode and network, through resets, rolls and copies."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from dfgym.diffusion import noise
from dfgym.diffusion.context import CONTEXT_MODES, NOISELESS_MODES
from dfgym.diffusion.corrupt import visibility
from dfgym.model.config import ModelConfig
from dfgym.model.recurrent import Recurrent
from dfgym.model.transformer import FramePrediction, NetworkOutput
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.settings import Settings
from toys.world import toy_card, toy_starts, toy_weights

ROWS, WINDOW = 3, 2


@dataclass
class Turn:
    """Rows that begin anew, each with how many given frames; then every row's action."""

    begun: dict[int, int]
    actions: tuple[int, ...]


@dataclass
class Past:
    """What later frames of a row see; one list of frames and of levels for each context level."""

    seed: int
    frames: list[list[Tensor]]
    levels: list[list[float]]
    actions: list[int] = field(default_factory=list)

    def add(self, run: Dynamics, clean: Tensor, action: int, last: Tensor | None) -> None:
        """Add a frame as the plan shows it; `last` is what its last denoising pass saw, if any."""
        time = torch.tensor([len(self.actions)])
        eps = noise.normal(torch.tensor([self.seed]), time, noise.CONTEXT, clean.numel())
        for level, (applied, stated) in enumerate(run._plan.levels):
            frame = applied * clean + (1 - applied) * eps.view_as(clean)
            if run._plan.kept and last is not None:
                frame, stated = last, run.levels[-1]
            self.frames[level].append(frame)
            self.levels[level].append(stated)
        self.actions.append(action)


def toy(kind: str) -> World:
    scales = {"patch": 4, "fine_patch": 2, "fine_dim": 8} if kind == "multiscale" else {"patch": 2}
    sizes: dict[str, Any] = {"kind": kind} | scales
    if kind in MEMORIES:
        sizes |= {"kind": "transformer", "memory": kind, "memory_size": MEMORIES[kind]}
    model = ModelConfig(16, 2, heads=1, window=WINDOW, **sizes)
    card = toy_card(model=model)
    return World(card, "", Path(), toy_weights(card), toy_starts(card))


MEMORIES = {"archive": 4, "state_space": 4, "spatial_map": 15}
"""The archive fills, so that frames are replaced."""
WORLDS = {kind: toy(kind) for kind in ("transformer", "recurrent", "multiscale", *MEMORIES)}

# Row 0 begins once, so that its window rolls over twice; the others begin anew at any time.
turns = st.lists(
    st.builds(
        Turn,
        begun=st.dictionaries(st.integers(1, ROWS - 1), st.integers(1, WINDOW + 2), max_size=2),
        actions=st.tuples(*[st.integers(0, 2)] * ROWS),
    ),
    min_size=2 * WINDOW + 2,
    max_size=2 * WINDOW + 4,
)


def empty_past(seed: int, run: Dynamics) -> Past:
    """A row's past before any frame: one list for each context level."""
    return Past(seed, [[] for _ in run._caches], [[] for _ in run._caches])


def begin(run: Dynamics, begun: dict[int, int], turn: int) -> dict[int, Past]:
    """Reset these rows, each from as many given frames; their pasts from there."""
    starts, pasts, contexts = run.world.starts, {}, []
    for row, given_frames in begun.items():
        frames, actions = starts.episode((row + turn) % len(starts))
        contexts.append((frames[:given_frames], actions[: given_frames - 1]))
        past = pasts[row] = empty_past(100 * turn + row, run)
        history = run.world.card.model.history
        encoded = run.codec.encode(torch.from_numpy(frames[:given_frames][-history:]))
        before = [
            run.world.card.actions.n,
            *actions[: given_frames - 1][1 - len(encoded) :].tolist(),
        ]
        for frame, action in zip(encoded, before[: len(encoded)], strict=True):
            past.add(run, frame, action, None)
    seeds = np.array([past.seed for past in pasts.values()], np.int64)
    run.reset(np.array([*begun], np.int64), seeds, contexts)
    return pasts


def recompute(
    run: Dynamics, past: Past, level: int, x: Tensor, tau: float, action: int
) -> NetworkOutput:
    """Predict a frame from all its past at once."""
    frames = torch.stack([*past.frames[level], x])[None]
    t = frames.shape[1]
    taus, actions = (
        torch.tensor([[*past.levels[level], tau]]),
        torch.tensor([[*past.actions, action]]),
    )
    inputs = [frames, taus, actions, torch.arange(t)[None]]
    mask = visibility(torch.zeros(1, t), WINDOW)
    if not isinstance(run.network, Recurrent) and not run.world.card.model.memory_places:
        mask = mask[:, :t, :t]
    else:  # all frames from the reset on, each as context and as target
        inputs = [torch.cat((tensor, tensor), 1) for tensor in inputs]
    whole = run.network(*inputs, mask)  # type: ignore[operator]
    (scores, log_weights, categorical, _), *transition = whole
    prediction = FramePrediction(scores[0, -1], log_weights[0, -1], categorical)
    return NetworkOutput(prediction, *(tensor[0, -1] for tensor in transition))


MEMORY_MODES = ("dynamic", "kept")  # the rest of a memory's network is a transformer's


@pytest.mark.parametrize(
    ("kind", "mode"),
    [(k, m) for k in WORLDS for m in (MEMORY_MODES if k in MEMORIES else CONTEXT_MODES)],
)
@settings(max_examples=4)
@given(turns=turns, cloned=st.integers(0, 2 * WINDOW + 1))
@torch.inference_mode()
def test_cached_equals_recomputed_and_rows_and_copies_are_their_own(
    kind: str, mode: str, turns: list[Turn], cloned: int
) -> None:
    """One row a turn is recomputed; the copy takes over the state of a turn and lives on."""
    context_noise = None if mode in NOISELESS_MODES else 0.3
    steps = 4 if mode == "kept" else 2  # kept reads reward and end in a late pass
    sampler = Settings("cpu", steps, mode, context_noise)  # type: ignore[arg-type]
    run, copy = (Dynamics(WORLDS[kind], ROWS, sampler) for _ in range(2))
    rows, passes = np.arange(ROWS), []

    def spy(frames: Tensor, *rest: Any) -> Tensor:
        tokens = run.network.step(frames, *rest)
        passes.append((frames, tokens))
        return tokens

    run._step = spy
    begin(copy, {row: 2 for row in rows.tolist()}, 7)  # another game, which it forgets
    copy.step(rows)
    pasts = begin(run, {row: 1 + row for row in rows.tolist()}, 0)
    for number, turn in enumerate(turns):
        before = run.get_state(rows)
        pasts |= begin(run, turn.begun, number)
        others = np.array([row for row in rows if row not in turn.begun])
        after = run.get_state(others)
        assert all(after[name].tobytes() == before[name][others].tobytes() for name in after)
        if number == cloned:
            copy.set_state(rows, run.get_state(rows))
        elif number > cloned:
            begin(copy, turn.begun, number)
        passes.clear()
        transition = run.step(np.array(turn.actions))
        if number >= cloned:
            again = copy.step(np.array(turn.actions))
            pairs = zip(transition[:5], again[:5], strict=True)
            assert all(one.tobytes() == other.tobytes() for one, other in pairs)

        row = number % ROWS
        past, action = pasts[row], turn.actions[row]
        for (frames, tokens), tau, level in zip(passes, run.levels, run._plan.reads, strict=False):
            predicted = recompute(run, past, level, frames[row], tau, action)
            close(run.network.predict_frame(tokens).mean[row], predicted.prediction.mean)
        clean = run.codec.encode(torch.from_numpy(transition.frames))
        if not run._plan.kept:  # the last commit pass predicts reward and end
            assert len(passes) == steps + len(run._plan.levels)
            added = empty_past(past.seed, run)
            added.actions = [0] * len(past.actions)
            added.add(run, clean[row], action, None)
            predicted = recompute(run, past, -1, added.frames[-1][0], added.levels[-1][0], action)
        reward, termination = run.network.predict_transition(passes[-1][1])
        close(reward[row], predicted.reward)
        close(termination[row], predicted.termination)
        assert transition.termination_probability[row] == pytest.approx(
            termination[row].sigmoid().item()
        )
        for i in rows:
            pasts[i].add(run, clean[i], turn.actions[i], passes[steps - 1][0][i])  # type: ignore[index]


def close(one: Tensor, other: Tensor) -> None:
    torch.testing.assert_close(one, other, rtol=0, atol=3e-5)
