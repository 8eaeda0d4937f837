"""An agent of Stable-Baselines3 as an ONNX file: what it does on seeing a world's frames.

Loading such an agent runs what its author put into its file (`dfgym.agents.saved`); the ONNX file
that comes of it is nothing but arithmetic.

Legend: b rows, h w a frame at model size, s the frames that the agent sees at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from dfgym.agents import flat, players, saved
from dfgym.agents.saved import SavedAgent
from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError
from dfgym.games.spaces import describe
from dfgym.play.session import label
from dfgym.world import shelf


@dataclass(frozen=True)
class AgentFile:
    """An agent as a file, and what a host of it must know."""

    label: str
    """Its name, without the folder of its file."""
    frame_stack: int
    """s: how many frames it sees at once."""
    model: bytes
    """The ONNX file: `frames` uint8 `(b, h, w, 3 s)`, newest last, to `action`, a row each."""


def export_agent(name: str, world: str, rows: int = 1) -> AgentFile:
    """Write the greedy play of an agent as ONNX.

    Args:
        name: `sb3:<algorithm>:<zip file>`. The file is unpickled: only your own.
        world: a name on the shelf, or a folder's path.
        rows: b.

    Raises:
        ConfigError: it is no such agent, it learned from other frames or actions than the world's,
            or it does what ONNX cannot express.
        MissingPackageError: a package that it needs is missing.
    """
    player = players.parse(name) if name.startswith("sb3:") else None
    if player is None or player.wrappers:
        raise ConfigError(
            f"agent is {name!r}; only agents of Stable-Baselines3 without wrappers of their own, "
            "sb3:<algorithm>:<zip file>, can be written as ONNX; every page has random already"
        )
    env, card = DreamEnv(world), shelf.card(world)
    try:
        agent = saved.load(player.algorithm, player.file, env.observation_space)
        flat.find_reader(agent.model.action_space, env.action_space, "the world")
    except ConfigError as reason:
        raise ConfigError(f"agent {name!r}: {reason}") from reason
    own = describe(agent.model.action_space, "the agent")
    if agent.remembers or own.parts != card.actions.parts:
        cause = "remembers" if agent.remembers else "chooses numbers that stand for the world's"
        raise ConfigError(f"agent {name!r} {cause}, which is not written as ONNX yet")
    from dfgym.tracing.record import record

    size = card.frames.height, card.frames.width
    example = torch.zeros(rows, *size, 3 * agent.frame_stack, dtype=torch.uint8)
    greedy = _Greedy(agent, card.frames.observation_scale)
    doc = f"{label(name)}, an agent that plays {card.name}"
    return AgentFile(label(name), agent.frame_stack, record(greedy, {"frames": example}, doc))


class _Greedy:
    """What SB3's `predict(deterministic=True)` does, on tensors alone.

    Args:
        agent: the agent.
        scale: by how much the world's observations are larger than its frames.
    """

    def __init__(self, agent: SavedAgent, scale: int) -> None:
        self._policy: Any = agent.model.policy
        self._policy.set_training_mode(False)
        self._scale = scale * agent.scale
        self._space: Any = agent.model.action_space

    def __call__(self, frames: Tensor) -> dict[str, Tensor]:
        """Choose each row's action, int64 `(b,)` or float32 `(b, parts)`."""
        b, h, w, c = frames.shape
        n = self._scale
        x = frames[:, :, None, :, None].expand(b, h, n, w, n, c).reshape(b, h * n, w * n, c)
        if self._policy.observation_space.shape != x.shape[1:]:
            x = x.permute(0, 3, 1, 2)  # as SB3 keeps images
        actions = self._policy._predict(x, deterministic=True)
        if not self._space.shape:
            return {"action": actions.long()}
        if hasattr(self._space, "low"):
            low, high = map(torch.from_numpy, (self._space.low, self._space.high))
            if self._policy.squash_output:
                actions = low + 0.5 * (actions + 1) * (high - low)
            actions = torch.minimum(torch.maximum(actions, low), high)
        return {"action": actions.float().flatten(1)}
