"""The documentation says what is so: its code runs, and the commands it names exist.

`mkdocs build --strict` (a step of .ci/run) checks its links and the names of its reference.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from stable_baselines3 import PPO

from dfgym import cli
from dfgym.evaluation.subject import Subject
from dfgym.world import bundle
from toys import fresh

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
# The diaries keep the words of their day, and a command writes the study.
WRITTEN_ELSEWHERE = {"lab", "study"}
PAGES = sorted(page for page in DOCS.rglob("*.md") if page.parent.name not in WRITTEN_ELSEWHERE)
PAGES += [ROOT / "README.md"]
TUTORIALS = sorted((DOCS / "tutorials").glob("*.py"))
INTEGRATIONS = sorted((DOCS / "integrations").glob("*.py"))
LIGHT = {"cleanrl_ppo": "torch", "sb3_contrib_qrdqn": "sb3_contrib", "minari_dataset": "minari"}
WITH_CODE = ("first_dream", "vector_and_sb3", "branch_and_restore", "plan", "speed")


@pytest.mark.slow
@pytest.mark.parametrize("tutorial", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_runs(tutorial: Path, tmp_path: Path) -> None:
    done = fresh.run(tutorial, folder=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout
    if tutorial.stem == "make_a_world":
        frames, rewards = re.findall(r"real ones: +(\d+)%", done.stdout)
        assert int(frames) > 80 and int(rewards) > 80


@pytest.mark.slow
@pytest.mark.parametrize("name", LIGHT)
def test_the_example_of_a_light_library_runs(name: str, tmp_path: Path) -> None:
    """The others have a command of their own, .ci/integrations.py."""
    pytest.importorskip(LIGHT[name])
    test_a_tutorial_runs(DOCS / "integrations" / f"{name}.py", tmp_path)


def test_every_integration_says_what_it_needs_and_stands_in_the_guide() -> None:
    page = (DOCS / "guide" / "other_libraries.md").read_text()
    assert len(INTEGRATIONS) == 9
    for script in INTEGRATIONS:
        head = re.match(r'# /// script\n# dependencies = \["dfgym', script.read_text())
        assert head and f"`{script.name}`" in page, script


def test_the_code_of_the_guide_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """One page after the other, as a reader would: later blocks use what earlier ones made."""
    learn = PPO.learn
    monkeypatch.setattr(PPO, "learn", lambda self, steps: learn(self, min(steps, 1)))
    scope: dict[str, object] = {}
    for name in WITH_CODE:
        page = (DOCS / "guide" / f"{name}.md").read_text()
        for block in re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S):
            if "import play" in block:  # needs a screen
                continue
            if "PPO(" in block:
                block = block.replace("device=", "n_steps=2, batch_size=32, device=")
            exec(compile(block, f"{name}.md", "exec"), scope)


def test_the_examples_for_contributors_run(random_world: Path, tmp_path: Path) -> None:
    page = (DOCS / "CONTRIBUTING.md").read_text()
    player, measurement, _ = re.findall(r"^```python\n(.*?)^```$", page, re.M | re.S)
    game: dict[str, Any] = {}
    exec(compile(player, "CONTRIBUTING.md", "exec"), game)
    policy, frames = game["GAME"].policy(0.1, seed=0), np.zeros((2, 8, 8, 3), np.uint8)
    assert policy(frames[0]) in range(3) and len(policy.plan(frames, 4)) == 4
    question: dict[str, Any] = {"__name__": "question"}
    exec(compile(measurement, "CONTRIBUTING.md", "exec"), question)
    result = question["measure"](Subject(bundle.load(random_world), tmp_path, quick=True))
    assert "A step pays" in question["section"](result).verdict
    assert question["findings"]({"dream": 0.0, "real": 0.1})[0].level == "fault"
    assert question["card_entries"](result) == {}


def commands() -> Iterator[tuple[str, str]]:
    """Every `dfgym ...` and `python -m dfgym...` in the pages, with the page it stands in."""
    for page in PAGES:
        text = page.read_text().replace("\\\n", " ")
        code = re.findall(r"^```\w*\n(.*?)^```$", text, re.M | re.S) + re.findall(
            r"`([^`\n]+)`", text
        )
        for line in "\n".join(code).splitlines():
            command = line.partition("#")[0].partition(" && ")[0].strip()
            command = re.sub(r"^(?:[A-Z_]+=\S+ )+", "", command)
            if re.match(r"(?:dfgym|python -m dfgym\.\S+) ", command):
                yield page.name, command


def test_the_commands_that_are_named_exist(capsys: pytest.CaptureFixture[str]) -> None:
    wrong = []
    for page, command in sorted(set(commands())):
        words = command.split()
        if words[0] == "python":
            if importlib.util.find_spec(words[2]) is None:
                wrong.append(f"{page}: {command}")
        elif words[1] in cli.COMMANDS:
            with pytest.raises(SystemExit):
                cli.main([words[1], "--help"])
            usage = capsys.readouterr().out
            flags = [word for word in words if word.startswith("--")]
            wrong += [f"{page}: {command} ({flag})" for flag in flags if flag not in usage]
        elif words[1].islower() and not words[1].startswith("-"):
            wrong.append(f"{page}: {command}")
    assert not wrong
