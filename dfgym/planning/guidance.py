"""Guidance: dreams that are bent toward their action, their past, or reward.

Two predictions of the same frame, of which one knows less, show what the knowledge changes, and
that change can be exaggerated (classifier-free guidance, Ho and Salimans 2022):

    log q = log p + weight (log p - log p_less) + constant.

What the weaker prediction lacks is the action, or the past (history guidance, Song et al. 2025):
all of it (vanilla), its detail, where it sees the past noisier than it was (fractional), or what is
longer ago, where it sees the last frames alone (temporal). For colours this
is a distribution in closed form; for others, whose denoising steps follow a mean, the means are
extrapolated, which is exact for Gaussians of equal variance.

A frame that takes several denoising steps can also be pulled toward reward by the gradient of what
the dream promises of its estimate, and of futures that are sampled of it: the score of the tilted
distribution is that of the world plus the gradient, see `dfgym.planning.reward`. Where a world
tells outcomes apart no gradient is needed: the setting `luck` tilts their probabilities, see
`dfgym.world.luck`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
import torch
from msgspec import Meta
from torch import Tensor

from dfgym import checks
from dfgym.diffusion.sampler import Denoise, sample
from dfgym.errors import ConfigError
from dfgym.model.transformer import FramePrediction
from dfgym.planning.reward import check_futures, log_tilt, look_ahead
from dfgym.world.bundle import World
from dfgym.world.conditions import Conditioner, Conditions
from dfgym.world.dynamics import Dynamics
from dfgym.world.outcomes import Transition
from dfgym.world.settings import Settings

Weight = Annotated[float, Meta(ge=0, le=100)]


@dataclass(frozen=True)
class Guidance:
    """How far a dream is bent; 0 leaves out a kind."""

    action: Weight = 0.0
    """How much what the action changes is exaggerated. For worlds that were trained with
    `action_dropout`, which know what comes without an action."""
    history: Weight = 0.0
    """How much what the past changes is exaggerated."""
    history_noise: Annotated[float, Meta(gt=0, le=1)] = 1.0
    """How noisy the weaker prediction sees the past: 1 not at all (vanilla), else fractional."""
    history_frames: Annotated[int, Meta(ge=0)] = 0
    """How many of the last frames the weaker prediction sees (temporal); 0: see `history_noise`."""
    reward: Weight = 0.0
    """How much a unit of reward counts, in nats. For worlds that take several denoising steps."""
    survival: Weight = 1.0
    """How many units of reward a game counts as that goes on behind the last frame; 0 where an
    episode ends with what is sought."""
    futures: Annotated[int, Meta(ge=0)] = 0
    """How many futures of random play are sampled of each estimate of a frame (Monte-Carlo
    guidance); 0: what it promises on arrival alone counts."""
    horizon: Annotated[int, Meta(ge=1)] = 1
    """How many frames the futures reach behind the estimate."""

    def __post_init__(self) -> None:
        """Refuse what is no guidance."""
        checks.check(self, ConfigError, "guidance")
        if not (self.action or self.history or self.reward):
            raise ConfigError("guidance is 0 for action, history and reward; give one of them")
        if self.history_frames and (self.history_noise < 1 or not self.history):
            raise ConfigError(
                f"guidance.history_frames is {self.history_frames}, history {self.history} and "
                f"history_noise {self.history_noise}; history_frames needs history above 0, and "
                "the past that it leaves without noise"
            )
        if not self.reward and (self.survival != 1 or self.futures):
            raise ConfigError(
                f"guidance.survival is {self.survival} and guidance.futures {self.futures}, which "
                "are of no effect without guidance.reward; give it, or leave them out"
            )
        if not self.futures and self.horizon != 1:
            raise ConfigError(
                f"guidance.horizon is {self.horizon}, which is of no effect without "
                "guidance.futures; give how many, 4 for instance, or leave it out"
            )


class GuidedDream:
    """Rows of a learned game whose frames are guided; its `step` is a `Dynamics`' own but for that.

    Args:
        world: the loaded world.
        num_rows: b, at least 1.
        guidance: how frames are bent.
        settings: how the world is run.

    Attributes:
        world: the world.
        num_rows: b.
        dynamics: the dream, which follows the guided frames.

    Raises:
        ConfigError: the guidance means nothing in this world.
    """

    def __init__(
        self, world: World, num_rows: int, guidance: Guidance, settings: Settings = Settings()
    ) -> None:
        if settings.luck or settings.compile:
            raise ConfigError(
                f"luck is {settings.luck} and compile {settings.compile}, which are of no effect "
                "on a guided dream; leave them out"
            )
        self.world, self.num_rows = world, num_rows
        self.dynamics = Dynamics(world, num_rows, settings)
        check_guidance(self.dynamics, guidance)
        self.guidance, self._blurred = guidance, self.dynamics
        if guidance.history and guidance.history_noise < 1:
            noisy = replace(
                settings, context_mode="told_noisy", context_noise=guidance.history_noise
            )
            self._blurred = Dynamics(world, num_rows, noisy)
        if guidance.history_frames:
            self._blurred = Dynamics(world, num_rows, settings)
        self._recent = [(np.zeros(0), np.zeros(0))] * num_rows  # of each row: frames and actions
        # Anew, since those of the dynamics are tensors that no gradient can pass.
        levels, space = self.dynamics.levels, world.card.actions
        with torch.no_grad():
            self._condition = Conditioner(
                self.dynamics.network, space, {*levels, 1.0}, self.dynamics.device
            )
        self._nothing = space.fill(num_rows)

    def reset(
        self,
        rows: np.ndarray,
        seeds: np.ndarray,
        contexts: Sequence[tuple[np.ndarray, np.ndarray]],
    ) -> None:
        """Begin new episodes in some rows, see `Dynamics.reset`."""
        for dynamics in {self.dynamics, self._blurred}:
            dynamics.reset(rows, seeds, contexts)
        for row, context in zip(rows.tolist(), contexts, strict=True):
            self._recent[row] = context

    def frames(self) -> np.ndarray:
        """Return the current frames of every row, uint8 `(b, h, w, 3)`."""
        return self.dynamics.frames()

    def step(self, actions: np.ndarray) -> Transition:
        """Step every row; rewards are the expected ones, since the frame alone is drawn."""
        uniforms = self.dynamics.uniforms(self.dynamics.batch).cpu().numpy()
        if count := self.guidance.history_frames:
            short = [(f[-count:], a[len(a) - len(f[-count:]) + 1 :]) for f, a in self._recent]
            self._blurred.reset(np.arange(self.num_rows), np.arange(self.num_rows), short)
        with self.dynamics.threads, torch.no_grad():  # not inference mode, for gradients
            frames = self._generate(actions)
        if count:
            self._recent = [
                (np.concatenate([f[-count:], frames[i : i + 1]]), np.append(a[-count:], actions[i]))
                for i, (f, a) in enumerate(self._recent)
            ]
        elif self._blurred is not self.dynamics:
            self._blurred.observe(actions, frames)
        transition = self.dynamics.observe(actions, frames)
        ended = uniforms[:, 1] < transition.termination_probability
        return transition._replace(terminated=ended)

    def _generate(self, actions: np.ndarray) -> np.ndarray:
        dynamics, guidance = self.dynamics, self.guidance
        batch, conditions = dynamics.batch.copy(), self._condition(actions)
        draws = dynamics.uniforms(batch)[:, 2:]

        def denoise(x: Tensor, tau: float, i: int) -> Tensor:
            prediction = self._predict(x, i, conditions)
            return prediction.sample(draws[:, i]) if i < draws.shape[1] else prediction.mean

        def energy(clean: Tensor) -> Tensor:
            arrival, horizon = (clean, conditions), guidance.horizon if guidance.futures else 0
            heads = look_ahead(dynamics, self._condition, arrival, guidance.futures, horizon)
            values = clean.new_tensor(dynamics.world.card.rewards.values)
            return log_tilt(heads, values, guidance.reward, guidance.survival)

        bent: Denoise = pull(denoise, energy) if guidance.reward else denoise
        first_order = draws.shape[1] > 0
        frames = sample(bent, dynamics.start(batch), dynamics.levels, first_order=first_order)
        return np.asarray(dynamics.codec.round(frames)[0].cpu().numpy())

    def _predict(self, x: Tensor, i: int, conditions: Conditions) -> FramePrediction:
        """Predict frames in denoising step i, guided by action and history."""
        guidance, nothing = self.guidance, self._condition(self._nothing)

        def predict(of: Dynamics, condition: Conditions, begins: bool = False) -> FramePrediction:
            batch = of.batch.copy()  # since the pass writes into it
            if begins:
                batch = batch._replace(time=torch.zeros_like(batch.time))
            return of.predict(condition, batch, None, (x, i, of.position(condition, batch)))[0]

        prediction = full = predict(self.dynamics, conditions)
        if guidance.action:
            less = predict(self.dynamics, nothing)
            prediction = extrapolate(prediction, full, less, guidance.action)
        if guidance.history and self._blurred is not self.dynamics:
            less = predict(self._blurred, conditions)
            prediction = extrapolate(prediction, full, less, guidance.history)
        elif guidance.history:  # an episode's first frame, to which no action leads
            less = predict(self.dynamics, nothing, begins=True)
            prediction = extrapolate(prediction, full, less, guidance.history)
        return prediction


def check_guidance(dynamics: Dynamics, guidance: Guidance) -> None:
    """Refuse guidance where it means nothing.

    Raises:
        ConfigError: names the reason, and what to do.
    """
    card, steps = dynamics.world.card, len(dynamics.levels)
    if not dynamics.commits:
        raise ConfigError(
            "context_mode is 'kept', in which no finished frame is committed, so that a guided one "
            "would be forgotten; take another context_mode"
        )
    if guidance.action and not card.training.get("action_dropout"):
        raise ConfigError(
            f"action is {guidance.action}, and {card.name} has never learned what comes without an "
            "action; train one with action_dropout, 0.1 for instance"
        )
    if guidance.history_frames >= card.model.window:
        raise ConfigError(
            f"history_frames is {guidance.history_frames}, and {card.name} sees the last "
            f"{card.model.window} frames; a weaker prediction must see fewer"
        )
    if guidance.reward and card.model.mixture > 1:
        raise ConfigError(
            f"reward is {guidance.reward}, and {card.name} tells outcomes apart, whose "
            "probabilities can be tilted exactly; use the setting luck"
        )
    if guidance.reward and steps == 1:
        raise ConfigError(
            f"reward is {guidance.reward}, and a frame takes one denoising step, which leaves "
            "nothing to pull at; set denoising_steps to 4 or more"
        )
    if guidance.futures:
        check_futures(dynamics, guidance.futures, guidance.horizon)


def extrapolate(
    prediction: FramePrediction, full: FramePrediction, less: FramePrediction, weight: float
) -> FramePrediction:
    """Return a prediction to which `weight` times what `full` knows more than `less` is added.

    Of colours that is q proportional to p (p_full / p_less)^weight, over outcomes and cells
    together: an outcome's weight takes up what its cells' distributions sum to.
    """
    scores = prediction.scores + weight * (full.scores - less.scores)
    if not prediction.categorical:
        return prediction._replace(scores=scores)
    parts = [p.scores.log_softmax(-1) for p in (prediction, full, less)]
    log_cells = parts[0] + weight * (parts[1] - parts[2])
    sums = log_cells.logsumexp(-1).flatten(-2).sum(-1)
    weights = [p.log_weights.log_softmax(-1) for p in (prediction, full, less)]
    log_weights = weights[0] + weight * (weights[1] - weights[2]) + sums
    return prediction._replace(scores=log_cells, log_weights=log_weights.log_softmax(-1))


def pull(denoise: Denoise, energy: Callable[[Tensor], Tensor]) -> Denoise:
    """Pull a sampler's estimates of the clean x toward a high energy of them.

    The tilted distribution p(x) exp(energy(x)) has the score of p plus the gradient of
    log E[exp(energy(clean)) | x], here taken as the energy of the mean; that is exact for linear
    energies of Gaussian data. The estimate follows from the score. At signal 0 there is nothing to
    pull at.

    Args:
        denoise: estimates the mean of the clean x.
        energy: `(n, ...) -> (n,)`, in nats.
    """

    def pulled(x: Tensor, tau: float, i: int) -> Tensor:
        if tau == 0:
            return denoise(x, tau, i)
        with torch.inference_mode(False), torch.enable_grad():
            noisy = x.clone().requires_grad_()
            clean = denoise(noisy, tau, i)
            (slope,) = torch.autograd.grad(energy(clean).sum(), noisy)
        return clean.detach() + (1 - tau) ** 2 / tau * slope

    return pulled
