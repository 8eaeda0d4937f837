"""A product of worlds: dreams that obey what several worlds have learned beyond their common base.

Worlds that are fine-tuned from one base differ from it by what their own games do otherwise. The
product keeps what the base knows and multiplies what each has changed (Du and Kaelbling 2024):

    q proportional to p_base * product over worlds of (p_world / p_base).

A mixture's outcomes keep their places when it is fine-tuned, so that the product is taken over
outcomes and cells together, in closed form (`dfgym.planning.guidance.extrapolate`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from dfgym.errors import ConfigError
from dfgym.planning.guidance import extrapolate
from dfgym.world.bundle import World
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import Transition
from dfgym.world.settings import Settings


class ProductDream:
    """Rows of a product of worlds; its `step` is a `Dynamics`' own but for the frames.

    Args:
        base: what all worlds were fine-tuned from.
        worlds: at least one.
        num_rows: b, at least 1.
        settings: how they are run.

    Raises:
        ConfigError: the worlds have other networks, frames or actions than the base, or frames that
            are not colours named in one denoising step.
    """

    def __init__(
        self,
        base: World,
        worlds: Sequence[World],
        num_rows: int,
        settings: Settings = Settings(),
    ) -> None:
        if not worlds:
            raise ConfigError("worlds is empty; a product needs one world at least beside its base")
        for world in worlds:
            for field in ("model", "frames", "actions"):
                if getattr(world.card, field) != getattr(base.card, field):
                    raise ConfigError(
                        f"{world.card.name} has other {field} than {base.card.name}; a product "
                        "takes worlds that were trained with from_world, the same for all"
                    )
        self.dynamics = [Dynamics(world, num_rows, settings) for world in (base, *worlds)]
        first = self.dynamics[0]
        if not base.card.frames.palette or len(first.levels) > 1 or not first.commits:
            raise ConfigError(
                f"{base.card.name} does not name its frames' colours in one denoising step and "
                "commit them, as a product of worlds needs"
            )
        self.world, self.num_rows = base, num_rows

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin new episodes in some rows, see `Dynamics.reset`."""
        for dynamics in self.dynamics:
            dynamics.reset(rows, seeds, contexts)

    def frames(self) -> np.ndarray:
        """Return the current frames of every row, uint8 `(b, h, w, 3)`."""
        return self.dynamics[0].frames()

    @torch.inference_mode()
    def step(self, actions: np.ndarray) -> Transition:
        """Step every row; rewards and ends are those that the base expects of the frame."""
        base, *others = self.dynamics
        uniforms = base.uniforms(base.batch)
        own = product = base.predict(base.condition(actions), base.batch)[0]
        for dynamics in others:
            theirs = dynamics.predict(dynamics.condition(actions), dynamics.batch)[0]
            product = extrapolate(product, theirs, own, 1.0)
        # Without a mixture nothing is drawn.
        chance = uniforms[:, 2] if uniforms.shape[1] > 2 else uniforms[:, 0]
        frames = base.codec.round(product.sample(chance))[0].cpu().numpy()
        for dynamics in others:
            dynamics.observe(actions, frames)
        transition = base.observe(actions, frames)
        ended = uniforms[:, 1].cpu().numpy() < transition.termination_probability
        return transition._replace(terminated=ended)
