"""torchrun starts a training again where one of its processes dies."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from dfgym.files import write_json
from dfgym.train.checkpoint import FILE, read_checkpoint
from dfgym.train.config import to_table
from dfgym.train.loop import train
from dfgym.train.observe import LOG_FILE
from toys import walk as toy_walk

PATIENCE = 240


@pytest.mark.slow
def test_a_killed_process_costs_no_more_than_the_steps_since_the_checkpoint(tmp_path: Path) -> None:
    """Killed once and started again, it learns what it would have learned."""
    walks = toy_walk.record(tmp_path / "walk")
    config = toy_walk.tiny(walks, tmp_path / "torn", steps=30, image_steps=0, checkpoint_every=2)
    file = config.out / "config.json"
    write_json(file, to_table(config))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command = [sys.executable, *launch, "--max-restarts=1", "-m", "dfgym.train", str(file)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        deadline = time.monotonic() + PATIENCE
        while not (config.out / FILE).is_file():
            assert time.monotonic() < deadline and process.poll() is None
            time.sleep(0.01)
        ranks = psutil.Process(process.pid).children()
        next(rank for rank in ranks if rank.environ().get("RANK") == "1").kill()
        _, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == 0, errors.decode()[-2000:]
    assert errors.count(b"parameters on cpu") == 2, "it began twice"
    train(dataclasses.replace(config, out=tmp_path / "whole"))
    torn, whole = (
        {line["step"]: line["frame"] for line in map(json.loads, log.read_text().splitlines())}
        for log in (config.out / LOG_FILE, tmp_path / "whole" / LOG_FILE)
    )
    assert read_checkpoint(config.out).step == 30 == len(torn) and torn.keys() == whole.keys()
    assert list(torn.values()) == pytest.approx([whole[step] for step in torn], rel=1e-2)
