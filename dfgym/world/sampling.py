"""How a world is sampled: its card's choice, or the caller's, checked."""

from __future__ import annotations

from typing import NamedTuple, NoReturn

from dfgym.diffusion.context import NOISELESS_MODES, ContextPlan, plan_context
from dfgym.diffusion.levels import TRANSITION_SIGNAL, denoising_levels
from dfgym.errors import ConfigError
from dfgym.world.card import Card
from dfgym.world.settings import MAX_DENOISING_STEPS, Settings


class Sampling(NamedTuple):
    """How frames are made.

    Attributes:
        levels: signal levels that a frame passes through.
        context: how finished frames are shown meanwhile.
    """

    levels: list[float]
    context: ContextPlan


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
    levels = denoising_levels(steps, own.shift)
    if plan.kept and levels[-1] < TRANSITION_SIGNAL:
        _refuse_kept(card, steps, levels[-1])
    return Sampling(levels, plan)


def _refuse_kept(card: Card, steps: int, last: float) -> NoReturn:
    """Refuse to read reward and end in a last denoising pass that sees too noisy a frame."""
    enough = (
        n
        for n in range(steps + 1, MAX_DENOISING_STEPS + 1)
        if denoising_levels(n, card.sampler.shift)[-1] >= TRANSITION_SIGNAL
    )
    more = f"at least {n} denoising_steps" if (n := next(enough, None)) else "another world"
    raise ConfigError(
        "context_mode is 'kept', which reads reward and end in the last denoising pass; with "
        f"denoising_steps = {steps} it sees the frame at a signal of {last:.2g}, and they are "
        f"learned from {TRANSITION_SIGNAL} up; take {more} (a world with a smaller sampler.shift "
        "needs fewer), or another context_mode"
    )
