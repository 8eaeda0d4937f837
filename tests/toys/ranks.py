"""Two processes that know each other, as torchrun starts them, but not the seconds of imports."""

from __future__ import annotations

from subprocess import CompletedProcess

from dfgym.files import write_json
from dfgym.train.config import TrainConfig, to_table
from dfgym.train.launch import find_free_port
from toys import fresh

TRAIN = "import runpy; runpy.run_module('dfgym.train', run_name='__main__')"
"""What `python -m dfgym.train` does."""


def run(code: str, *arguments: object) -> list[CompletedProcess[str]]:
    """Run code in two processes that know each other; return their ends and words."""
    common = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(find_free_port())}
    ranks = [common | {"RANK": rank, "LOCAL_RANK": rank} for rank in "01"]
    return fresh.run_together(code, *arguments, environments=ranks)


def train(config: TrainConfig, code: str = TRAIN) -> list[CompletedProcess[str]]:
    """Train in two processes, as `run` does."""
    file = config.out / "config.json"
    write_json(file, to_table(config))
    return run(code, file)
