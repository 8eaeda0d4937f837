"""The README says what is so: its code runs, its numbers are the cards', its file tree exists."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from stable_baselines3 import PPO

from dfgym import cli
from dfgym.world import shelf

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()


def test_its_code_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    learn = PPO.learn
    monkeypatch.setattr(PPO, "learn", lambda self, steps: learn(self, min(steps, 1)))
    scope: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```$", README, re.M | re.S):
        if "PPO(" in block:
            block = block.replace("device=", "n_steps=2, batch_size=32, device=")
        exec(compile(block, "README.md", "exec"), scope)


def test_its_numbers_are_what_dfgym_worlds_prints(capsys: pytest.CaptureFixture[str]) -> None:
    cli.main(["worlds"])
    printed = capsys.readouterr().out.strip()
    assert printed in README, "paste the output of `dfgym worlds` into the README"
    moved = shelf.card(shelf.DEFAULT).measured["transfer"]
    times = moved["dream_trained_in_real"]["mean"] / moved["random_in_real"]
    assert f"reaches {100 * moved['ratio']:.0f} % of" in README
    assert f"and {times:.0f} times random play" in README
    younger = shelf.card("cartpole-pixels-v0").measured["transfer"]
    assert f"reaches {100 * younger['ratio']:.0f} % of" in README.replace("\n", " ")


def test_its_file_tree_and_links_exist() -> None:
    tree = README.split("## Files")[1].split("```")[1]
    listed = re.findall(r"[a-z_]+/|[a-z_]+\.py", tree.split("tests/")[0])
    folders = [ROOT, ROOT / "dfgym"]
    for name in listed:
        assert any((folder / name).exists() for folder in folders), name
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
