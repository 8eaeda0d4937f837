"""What a player can choose from: settings, agents, starts."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from dfgym.agents.players import Policy, make_policy
from dfgym.diffusion.context import NOISELESS_MODES
from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError
from dfgym.games.source import Source
from dfgym.play.messages import Settings
from dfgym.world.bundle import Starts
from dfgym.world.card import Card
from dfgym.world.sampling import choose_sampling

STARTS = 12


def settle(
    card: Card,
    denoising_steps: int | None = None,
    context_mode: str | None = None,
    context_noise: float | None = None,
) -> Settings:
    """Fill settings up with the card's.

    Raises:
        ConfigError: they are not allowed.
    """
    choose_sampling(card, denoising_steps, context_mode, context_noise)
    mode = card.sampler.context_mode if context_mode is None else context_mode
    noise = card.sampler.context_noise if context_noise is None else context_noise
    return Settings(
        card.sampler.denoising_steps if denoising_steps is None else denoising_steps,
        mode,
        0.0 if mode in NOISELESS_MODES else float(noise),
    )


def find_agents(card: Card, dream: DreamEnv, more: Sequence[str]) -> dict[str, Policy]:
    """Find the agents that know a game.

    Args:
        card: of the world.
        dream: in which they will play.
        more: others to find, by the names that `dfgym.agents.players` gives them.

    Returns:
        By label: `random`, `scripted` where there is one, and `more`.

    Raises:
        ConfigError: one of `more` is not there, or does not fit.
    """
    source = Source(dream, renders=False, size=None)
    found = {"random": make_policy("random", card.name, source)}
    try:
        found["scripted"] = make_policy("scripted:0", card.name, source)
    except ConfigError:
        pass  # scripted players know some games only
    return found | {label(name): make_policy(name, card.name, source) for name in more}


def label(agent: str) -> str:
    """An agent's name for the page: without the folder of its file."""
    kind, _, path = agent.rpartition(":")
    return f"{kind}:{Path(path).name}" if agent.startswith("sb3:") else agent


def spread(starts: Starts) -> list[tuple[int, int]]:
    """Choose about a dozen starts, as (episode, frame).

    The first is where an episode begins, the others lie evenly over all the frames.
    """
    chosen = {(0, 0): None}
    offsets = starts.offsets.tolist()
    for position in np.linspace(0, offsets[-1], STARTS, endpoint=False)[1:].astype(int).tolist():
        episode = int(np.searchsorted(starts.offsets, position, side="right")) - 1
        length = offsets[episode + 1] - offsets[episode]
        # Nothing follows an episode's last frame.
        chosen[episode, min(position - offsets[episode], max(length - 2, 0))] = None
    return list(chosen)
