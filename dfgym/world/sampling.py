"""How a world is sampled: its card's choice, or the caller's, checked."""

from __future__ import annotations

from typing import NamedTuple

from dfgym.diffusion.context import NOISELESS_MODES, ContextPlan, plan_context
from dfgym.diffusion.interactive import require_interactive
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.schedules import parse
from dfgym.diffusion.shortcut import jump_of
from dfgym.errors import ConfigError
from dfgym.world.card import Card

MAX_DENOISING_STEPS = 128
OUTCOME_SIGNAL = 0.7
"""Reward and end are learned from frames at this signal level and above, see `train.loss`."""


class Sampling(NamedTuple):
    """How frames are made.

    Attributes:
        levels: signal levels that a frame passes through.
        context: how finished frames are shown meanwhile.
        jump: what the network is told of the denoising steps' length, see `diffusion.shortcut`; 0
            where they are none that it has learned to jump.
    """

    levels: list[float]
    context: ContextPlan
    jump: int


def choose_sampling(
    card: Card,
    denoising_steps: int | None,
    context_mode: str | None,
    context_noise: float | None,
    schedule: str = "autoregressive",
) -> Sampling:
    """How frames are made; None leaves it to the card.

    Of `schedule` only those are allowed that finish a frame before they begin the next (see
    `diffusion.interactive`): one at a time they are all the same.

    Raises:
        ConfigError: a value is not allowed, or would be without effect.
    """
    steps = card.sampler.denoising_steps if denoising_steps is None else denoising_steps
    if type(steps) is not int or not 1 <= steps <= MAX_DENOISING_STEPS:
        raise ConfigError(
            f"denoising_steps is {steps!r}; allowed is an int from 1 to {MAX_DENOISING_STEPS}"
        )
    mode = card.sampler.context_mode if context_mode is None else context_mode
    noise = card.sampler.context_noise if context_noise is None else context_noise
    plan = plan_context(mode, noise, steps)  # a mode that there is not is told first
    if mode in NOISELESS_MODES and context_noise:
        how = "as they are" if mode == "clean" else "as the last denoising step found them"
        raise ConfigError(
            f"context_noise is {context_noise!r} and context_mode {mode!r}, which shows frames "
            f"{how}; choose another context_mode, or leave context_noise out"
        )
    if context_mode not in (None, *NOISELESS_MODES) and context_noise is None and not noise:
        raise ConfigError(
            f"context_mode is {context_mode!r}, and this world has no context_noise of its own; "
            "give context_noise too, in [0, 1)"
        )
    jump = jump_of(steps, card.model.shortcut)
    shift = 1.0 if jump else card.sampler.shift  # jumps go over equal parts of the path
    levels, window = denoising_levels(steps, shift), card.model.window
    asked = parse(schedule, window + 1, levels, context=window, window=window, causal=False)
    require_interactive(asked)
    if plan.kept:
        _require_outcome(card, steps, levels, jump)
    return Sampling(levels, plan, jump)


def _require_outcome(card: Card, steps: int, levels: list[float], jump: int) -> None:
    """Refuse to read reward and end in a last denoising pass that cannot tell them.

    Raises:
        ConfigError: it is told of a jump, or sees too noisy a frame.
    """
    shortcut, shift = card.model.shortcut, card.sampler.shift
    told = "context_mode is 'kept', which reads reward and end in the last denoising pass; with"
    if jump:
        raise ConfigError(
            f"{told} denoising_steps = {steps} this world is told of a jump there, and it has "
            f"learned them without; take {shortcut} denoising_steps or a number that does not "
            f"divide {shortcut}, or another context_mode"
        )
    if levels[-1] < OUTCOME_SIGNAL:
        enough = (
            n
            for n in range(steps + 1, MAX_DENOISING_STEPS + 1)
            if denoising_levels(n, shift)[-1] >= OUTCOME_SIGNAL and not jump_of(n, shortcut)
        )
        more = f"at least {n} denoising_steps" if (n := next(enough, None)) else "another world"
        raise ConfigError(
            f"{told} denoising_steps = {steps} it sees the frame at a signal of {levels[-1]:.2g}, "
            f"and they are learned from {OUTCOME_SIGNAL} up; take {more} (a world with a smaller "
            "sampler.shift needs fewer), or another context_mode"
        )
