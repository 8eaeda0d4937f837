"""Many environments over several processes, one for each device, as `torchrun` starts them."""

from __future__ import annotations

import json
from pathlib import Path

import gymnasium as gym
import numpy as np
import pytest
import torch

import dfgym  # noqa: F401  registers the ids
from dfgym.device import pick_device
from toys import ranks

SCRIPT = """
import json, os, sys
from pathlib import Path
import gymnasium as gym, numpy as np, torch
import dfgym

torch.set_num_threads(1)
world, out = sys.argv[1:]
rank, size, own = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"]), 3
envs = gym.make_vec("DFWorld-v0", num_envs=own, world=world)
envs.reset(seed=7 + rank * own)
actions = np.random.default_rng(0).integers(0, 3, (6, size * own))[:, rank * own : (rank + 1) * own]
played = [envs.step(each) for each in actions]
frames, rewards, *_ = zip(*played)
found = {"frames": np.stack(frames).tolist(), "rewards": np.stack(rewards).tolist()}
Path(out, f"{rank}.json").write_text(json.dumps(found))
"""


def test_processes_play_what_one_batch_would(random_world: Path, tmp_path: Path) -> None:
    for process in ranks.run(SCRIPT, random_world, tmp_path):
        assert not process.returncode, process.stderr
    parts = [json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2)]

    envs = gym.make_vec("DFWorld-v0", num_envs=6, world=random_world)
    envs.reset(seed=7)
    for t, actions in enumerate(np.random.default_rng(0).integers(0, 3, (6, 6))):
        frames, rewards, *_ = envs.step(actions)
        split = np.concatenate([share["frames"][t] for share in parts])
        # A batch of another size may round another way, and a colour that is a toss-up may tip.
        assert (frames == split).mean() > 0.99
        assert rewards.tolist() == [reward for share in parts for reward in share["rewards"][t]]
    envs.close()


def test_each_process_takes_its_own_cuda_device(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    for rank, index in ((0, 0), (1, 1), (3, 1)):
        monkeypatch.setenv("LOCAL_RANK", str(rank))
        assert pick_device("auto") == torch.device("cuda", index)
        assert pick_device("cuda") == torch.device("cuda", index)
        assert pick_device("cuda:1") == torch.device("cuda", 1)
        assert pick_device("cpu") == torch.device("cpu")
    monkeypatch.delenv("LOCAL_RANK")
    assert pick_device("auto") == torch.device("cuda")
