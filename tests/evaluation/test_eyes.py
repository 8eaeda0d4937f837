"""What an agent sees of clips is what its own network makes of its observations."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

from dfgym.agents.sb3 import WholeFrameCNN
from dfgym.errors import ConfigError
from dfgym.evaluation.eyes import PREFIX, find_eyes

SCALE, STACKED, SIDE = 4, 2, 10


def save(folder: Path, seed: int) -> WholeFrameCNN:
    """Write the part of an agent that is read, with weights of its own."""
    torch.manual_seed(seed)
    space = gym.spaces.Box(0, 255, (3 * STACKED, SCALE * SIDE, SCALE * SIDE), np.uint8)
    network = WholeFrameCNN(space, 16, standardize=True)
    content = io.BytesIO()
    torch.save({PREFIX + name: value for name, value in network.state_dict().items()}, content)
    folder.mkdir(parents=True)
    with zipfile.ZipFile(folder / "agent.zip", "w") as file:
        file.writestr("policy.pth", content.getvalue())
        file.writestr("data", b"a pickle that nobody reads")
    config = {"frame_stack": STACKED, "standardize": True}
    (folder / "config.json").write_text(json.dumps(config))
    return network


def test_an_agents_features_are_its_networks(tmp_path: Path) -> None:
    assert find_eyes(tmp_path, SCALE) is None
    save(tmp_path / "transfer" / "dream-0", 0)
    network = save(tmp_path / "transfer" / "real-1", 1)
    eyes = find_eyes(tmp_path, SCALE)
    assert eyes is not None
    read_clips, words = eyes
    assert words == "an agent's that learned in the real game (real-1)"
    clips = np.random.default_rng(0).integers(0, 256, (2, 3, SIDE, SIDE, 3), dtype=np.uint8)
    features = read_clips(clips)
    assert features.shape == (2, 2 * 16) and features.dtype == np.float64
    # Observations as the agents have them: the newest frame last, (c, h, w) in [0, 1].
    newest = np.concatenate([clips[1, 1], clips[1, 2]], -1).repeat(SCALE, 0).repeat(SCALE, 1)
    with torch.no_grad():
        expected = network(torch.from_numpy(newest).movedim(-1, 0)[None].float() / 255)[0]
    assert features[1, 16:] == pytest.approx(expected.double().numpy(), abs=1e-6)


@pytest.mark.parametrize("name", ["agent.zip", "config.json"])
def test_a_damaged_agent_is_named(tmp_path: Path, name: str) -> None:
    save(tmp_path / "transfer" / "dream-0", 0)
    (tmp_path / "transfer" / "dream-0" / name).write_bytes(b"PK damaged")
    with pytest.raises(ConfigError, match=r"agent\.zip is no agent of dfgym.* delete its folder"):
        find_eyes(tmp_path, SCALE)
