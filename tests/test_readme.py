"""The README says what is so: its code runs, its tables are the cards', its links exist."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from dfgym.world import shelf

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
SEVERAL_STEPS = {
    "minigrid-fourrooms-v0": 8,
    "minatar-asterix-v0": 4,
    "minatar-space-invaders-v0": 2,
}


def test_its_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = PPO.learn
    monkeypatch.setattr(PPO, "learn", lambda self, steps: learn(self, min(steps, 1)))
    scope: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S):
        if "PPO(" in block:
            block = block.replace("device=", "n_steps=2, batch_size=32, device=")
        exec(compile(block, "README.md", "exec"), scope)


def test_its_tables_are_made_from_the_cards() -> None:
    cards = runpy.run_path(str(ROOT / "docs" / "site" / "cards.py"))
    assert cards["with_tables"](README) == README, "run `python docs/site/cards.py`"


def test_it_names_the_returns_and_the_sampling_of_every_shipped_world() -> None:
    for name in shelf.names():
        card = shelf.card(name)
        table = README.split(f"**`{name}`**")[1].split("\n\n")[1]
        if transfer := card.measured.get("transfer"):
            for key in ("dream_trained_in_real", "real_trained_in_real"):
                assert f"| {transfer[key]['mean']:.3g} |" in table
            assert f"| {transfer['ratio']:.0%} |" in table
        else:
            assert f"No agent has learned in the real game of `{name}` yet" in README
        steps = SEVERAL_STEPS.get(name, 1)
        assert card.sampler.denoising_steps == steps, "the README says which takes how many"


def test_its_first_command_installs_and_dreams() -> None:
    first = re.findall(r"^```bash\n(.*?)^```$", README, re.M | re.S)[0]
    assert "pip install" in first and "dfgym demo" in first
    assert "git clone" in README.split("dfgym demo")[0]


def test_its_links_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", README):
        assert (ROOT / link).exists(), link
