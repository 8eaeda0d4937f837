"""How a world is sampled: its card's choice, or the caller's, checked."""

from __future__ import annotations

from typing import NamedTuple

from dfgym.diffusion.context import NOISELESS_MODES, ContextPlan, plan_context
from dfgym.diffusion.levels import denoising_levels
from dfgym.diffusion.shortcut import jump_of
from dfgym.errors import ConfigError
from dfgym.world.card import Card
from dfgym.world.settings import MAX_DENOISING_STEPS, Settings

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


def resolve_sampling(card: Card, settings: Settings) -> Sampling:
    """Work out how frames are made: as the settings demand, and else as the card does.

    Raises:
        ConfigError: a setting would be without effect, or cannot be with the others.
    """
    own, mode, given_noise = card.sampler, settings.context_mode, settings.context_noise
    steps = settings.denoising_steps or own.denoising_steps
    noise = own.context_noise if given_noise is None else given_noise
    plan = plan_context(mode or own.context_mode, noise, steps)
    if (mode or own.context_mode) in NOISELESS_MODES and given_noise:
        raise ConfigError(
            f"context_noise is {given_noise} and context_mode {mode or own.context_mode!r}, which "
            "adds no noise; choose another context_mode, or leave context_noise out"
        )
    if mode not in (None, *NOISELESS_MODES) and given_noise is None and not noise:
        raise ConfigError(
            f"context_mode is {mode!r}, and this world has no context_noise of its own; "
            "give context_noise too, in [0, 1)"
        )
    jump = jump_of(steps, card.model.shortcut)
    shift = 1.0 if jump else own.shift  # jumps go over equal parts of the path
    levels = denoising_levels(steps, shift)
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
