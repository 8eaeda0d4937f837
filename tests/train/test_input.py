"""Training refuses damaged and foreign runs and data, and stops where it diverges, with reasons."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
from pathlib import Path

import pytest
from safetensors.torch import save
from torch import nn

from dfgym.diffusion.corrupt import NoisedSequences
from dfgym.errors import ConfigError, DataError
from dfgym.files import lock_folder
from dfgym.train.batches import Batch
from dfgym.train.checkpoint import FILE, Checkpoint, metadata, read_checkpoint
from dfgym.train.loop import train
from dfgym.train.loss import Losses, diffusion_forcing
from dfgym.train.observe import LOG_FILE
from dfgym.train.pack import pack
from toys import ranks
from toys import walk as toy_walk
from toys.walk import tiny


@pytest.fixture
def walks(tmp_path: Path) -> Path:
    return toy_walk.record(tmp_path / "walk", episodes=30)


def rewrite(run: Path, saved: Checkpoint) -> None:
    (run / FILE).write_bytes(save(saved.tensors, metadata(saved.step, saved.origin, saved.tensors)))


def test_a_loss_that_is_not_finite_stops_before_anything_is_saved(
    walks: Path, tmp_path: Path
) -> None:
    config = tiny(walks, tmp_path / "run")

    def diverge(
        network: nn.Module, noised: NoisedSequences, batch: Batch, average: nn.Module
    ) -> Losses:
        losses = diffusion_forcing.loss(network, noised, batch, average)
        return losses._replace(frame=losses.frame * (math.nan if batch.step == 9 else 1))

    with pytest.raises(ConfigError, match=r"at step 9 the loss is nan .* lower learning_rate"):
        train(config, diffusion_forcing._replace(loss=diverge))
    tensors, step, *_ = read_checkpoint(config.out)
    assert step == 5 and all(value.isfinite().all() for value in tensors.values())
    assert len((config.out / LOG_FILE).read_text().splitlines()) == 9


def test_weights_that_are_not_finite_are_not_saved(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0, learning_rate=1e36, warmup=0)
    with pytest.raises(ConfigError, match=r"norm of the weights inf; .* \(now 1e\+36\)"):
        train(config)
    assert not (config.out / FILE).exists()


ONE_DIVERGES = """
import json, os, sys
from pathlib import Path
from dfgym.errors import DfgymError
from dfgym.train.config import from_table
from dfgym.train.loop import train
from dfgym.train.loss import diffusion_forcing
def diverge(*arguments):
    losses = diffusion_forcing.loss(*arguments)  # its gradient stays finite
    return losses._replace(
        frame=losses.frame + (float("inf") if os.environ["RANK"] == "1" else 0.0))
file = Path(sys.argv[1])
try:
    train(from_table(json.loads(file.read_text()), file.parent),
          diffusion_forcing._replace(loss=diverge))
except DfgymError as error:
    sys.exit(f"dfgym: {error}")
"""


def test_where_one_process_diverges_all_stop(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    first, second = ranks.train(config, ONE_DIVERGES)
    assert first.returncode and second.returncode and not (config.out / FILE).exists()
    assert "training has diverged: at step 0 the loss is inf" in first.stderr


def test_a_run_knows_its_data(walks: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = tiny(Path("walk"), tmp_path / "run", steps=1, image_steps=0)
    train(config)
    monkeypatch.chdir("/")
    config = dataclasses.replace(config, data=(walks,))
    train(config)  # the same folder
    pack(config.out, tmp_path / "toy-v0", "toy-v0")

    shutil.rmtree(walks)
    toy_walk.record(walks, episodes=30, seed=1)
    before = (config.out / FILE).read_bytes()
    for call in (lambda: train(config), lambda: pack(config.out, tmp_path / "toy-v1", "toy-v1")):
        with pytest.raises(DataError, match=r"on other data than .*walk holds now: 30 episodes"):
            call()
    assert (config.out / FILE).read_bytes() == before and not (tmp_path / "toy-v1").exists()


def test_damaged_data_are_neither_trained_on_nor_packed(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    train(config)
    with (walks / "frames.bin").open("r+b") as file:
        file.write(b"\x07")
    message = r"episode 0 .* is not as it was recorded"
    with pytest.raises(DataError, match=message):
        pack(config.out, tmp_path / "toy-v0", "toy-v0")
    with pytest.raises(DataError, match=message):
        train(dataclasses.replace(config, out=tmp_path / "other"))
    assert not (tmp_path / "other").exists() and not (tmp_path / "toy-v0").exists()


def test_one_training_at_a_time_in_a_folder(walks: Path, tmp_path: Path) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    config.out.mkdir()
    lock = lock_folder(config.out, "trained in", "")
    with pytest.raises(DataError, match=f"trained in by process {os.getpid()}.*another --out"):
        train(config)
    lock.release()
    train(config)
    train(config)


def test_an_out_that_is_a_file_is_named(walks: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match=r"file/run cannot be made"):
        train(tiny(walks, tmp_path / "file" / "run"))


@pytest.mark.parametrize(
    "missing", ["network.blocks", "average.module", "optimizer.0.0.exp_avg", "optimizer.1.0."]
)
def test_a_checkpoint_that_lacks_a_tensor_is_named(
    walks: Path, tmp_path: Path, missing: str
) -> None:
    config = tiny(walks, tmp_path / "run", steps=1, image_steps=0)
    train(config)
    saved = read_checkpoint(config.out)
    del saved.tensors[min(name for name in saved.tensors if name.startswith(missing))]
    rewrite(config.out, saved._replace(step=0))
    with pytest.raises(DataError, match=f"{FILE} (does not fit its network|lacks {missing})"):
        train(config)


@pytest.mark.parametrize("junk", ["junk", "{}", "5", '{"step": "x"}', "\xff"])
def test_junk_in_the_log_is_named(walks: Path, tmp_path: Path, junk: str) -> None:
    config = tiny(walks, tmp_path / "run", steps=2, image_steps=0)
    config.out.mkdir()
    (config.out / LOG_FILE).write_text(f"{junk}\n", encoding="latin-1")
    with pytest.raises(DataError, match=r"log.jsonl, line 1 is not a step's: .* delete that line"):
        train(config)
    assert (config.out / LOG_FILE).read_text("latin-1") == f"{junk}\n"
    (config.out / LOG_FILE).unlink()
    train(config)
