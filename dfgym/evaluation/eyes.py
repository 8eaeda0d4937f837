"""What agents see of clips: the features of the agents that `dfgym.evaluation.transfer` trained.

Their zip files hold pickles, which are not touched: the weights alone are read.

Legend: n clips of t frames, h w a frame of the model's size, d features.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from torch import Tensor

from dfgym.errors import ConfigError
from dfgym.frames import upscale

Eyes = Callable[[np.ndarray], np.ndarray]
"""From clips uint8 `(n, t, h, w, 3)` to their features, float64 `(n, d)`."""
PREFIX = "features_extractor."
SIDES = {"real": "the real game", "dream": "the dream"}
"""Where agents learned, the better judges of pictures first, and its name."""


def find_eyes(folder: Path, scale: int) -> tuple[Eyes, str] | None:
    """Return the features of the first agent that was trained in an evaluation's folder.

    Args:
        folder: of the evaluation; agents are in its `transfer`.
        scale: by how much the agents' frames are enlarged.

    Returns:
        The features, and in words whose they are; None if there is no such agent.
    """
    for side, game in SIDES.items():
        for path in sorted((folder / "transfer").glob(f"{side}-*/agent.zip")):
            words = f"an agent's that learned in {game} ({path.parent.name})"
            return load_eyes(path, scale), words
    return None


def load_eyes(path: Path, scale: int) -> Eyes:
    """Read the features of an agent of `dfgym.agents.ppo`.

    An observation is several frames of the clip where the agent learned from several; the features
    of all observations of a clip stand side by side.

    Args:
        path: its zip; its `config.json` lies beside it.
        scale: by how much its frames are enlarged.

    Raises:
        ConfigError: one of the two files is missing or damaged.
    """
    try:
        config = json.loads((path.parent / "config.json").read_text())
        with zipfile.ZipFile(path) as file:
            content = io.BytesIO(file.read("policy.pth"))
        weights = torch.load(content, map_location="cpu", weights_only=True)  # noqa: TID251  # no code
        stacked, network = int(config["frame_stack"]), None
    except Exception as reason:  # whatever zip, JSON and torch make of damage
        raise ConfigError(
            f"{path} is no agent of dfgym.agents.ppo ({type(reason).__name__}: {reason}); delete "
            "its folder, and dfgym.evaluation.transfer trains it again"
        ) from reason

    @torch.inference_mode()
    def read_clips(clips: np.ndarray) -> np.ndarray:
        nonlocal network
        n, t = clips.shape[:2]
        large = upscale(clips.reshape(n * t, *clips.shape[2:]), scale)
        frames = torch.from_numpy(np.ascontiguousarray(large)).movedim(-1, 1)
        frames = frames.unflatten(0, (n, t)).float() / 255  # n t c h w
        if network is None:
            network = _build(weights, config, tuple(frames.shape[2:]))
        features = [
            network(frames[:, last + 1 - stacked : last + 1].flatten(1, 2))
            for last in range(stacked - 1, t)
        ]
        return torch.cat(features, 1).double().numpy()

    return read_clips


def _build(
    weights: Mapping[str, Tensor], config: Mapping[str, Any], shape: tuple[int, ...]
) -> torch.nn.Module:
    """Build the network for frames of `shape`, `(c, h, w)`."""
    from dfgym.agents.sb3 import WholeFrameCNN  # Stable-Baselines3 takes a second to import

    own = {
        name.removeprefix(PREFIX): value
        for name, value in weights.items()
        if name.startswith(PREFIX)
    }
    space = gym.spaces.Box(0, 255, (shape[0] * config["frame_stack"], *shape[1:]), np.uint8)
    size = own["net.linear.0.weight"].shape[0]
    network = WholeFrameCNN(space, size, bool(config["standardize"]))
    network.load_state_dict(own)
    return network
