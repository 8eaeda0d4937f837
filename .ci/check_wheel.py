"""Install a wheel where no checkout is near and use it from another folder.

The dependencies are those of the environment that runs this; only dfgym itself is installed anew.
"""

import os
import subprocess
import sys
import sysconfig
import tempfile
import venv
import zipfile
from pathlib import Path

MAX_BYTES = 20_000_000  # nearly all of it is worlds; 30 MB is what a wheel may have at most
USE = """
import sys
from pathlib import Path
import gymnasium as gym
env = gym.make("dfgym:DFWorld-v0")
import dfgym
assert Path(dfgym.__file__).is_relative_to(sys.prefix), dfgym.__file__
observation, info = env.reset(seed=0)
for _ in range(20):
    observation, reward, terminated, truncated, info = env.step(env.action_space.sample())
    assert observation in env.observation_space
    if terminated or truncated:
        env.reset()
env.close()
envs = gym.make_vec("DFWorld-v0", num_envs=3)
envs.reset(seed=0)
observations = envs.step(envs.action_space.sample())[0]
assert observations in envs.observation_space
envs.close()
from stable_baselines3 import PPO
PPO("CnnPolicy", dfgym.make_sb3("DFWorld-v0", num_envs=2), n_steps=8, batch_size=16, device="cpu")
import dfgym.games.breakout, dfgym.agents.ppo, dfgym.agents.dqn, dfgym.agents.evaluate
print("used", Path(dfgym.__file__).parent, observation.shape)
"""


def check_contents(wheel: Path) -> None:
    """One top-level name, every tracked file, a world, and no more than the size allows."""
    names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if ".dist-info/" not in name}
    assert top == {"dfgym"}, f"top-level names: {top}"
    tracked = subprocess.run(
        ["git", "ls-files", "dfgym", "agents", "envs_registry"],
        check=True, capture_output=True, text=True,
    ).stdout.splitlines()  # fmt: skip
    places = {"agents": "dfgym/agents", "envs_registry": "dfgym/worlds", "dfgym": "dfgym"}
    for file in tracked:
        room, rest = file.split("/", 1)
        assert f"{places[room]}/{rest}" in names, f"{file} is not in the wheel"
    worlds = {name.split("/")[2] for name in names if name.endswith("/world.toml")}
    assert worlds, "no world in the wheel"
    size = wheel.stat().st_size
    assert size <= MAX_BYTES, f"{wheel.name} has {size} bytes; allowed are {MAX_BYTES}"
    print(f"{wheel.name}: {size:,} bytes, {len(names)} files, worlds: {', '.join(sorted(worlds))}")


def check_use(wheel: Path) -> None:
    """Install it into a new environment that sees our dependencies, but not our checkout."""
    with tempfile.TemporaryDirectory() as folder:
        home, elsewhere = Path(folder, "venv"), Path(folder, "elsewhere")
        elsewhere.mkdir()
        venv.create(home, with_pip=True)
        variables = {"base": str(home), "platbase": str(home)}
        site = Path(sysconfig.get_path("purelib", "venv", variables))
        # A plain line in a .pth file adds the folder, but none of the .pth files in it, so that
        # the editable install of the checkout stays unseen.
        (site / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
        scripts = Path(sysconfig.get_path("scripts", "venv", variables))
        environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        for command in (
            [scripts / "python", "-m", "pip", "install", "--quiet", "--no-deps", wheel.resolve()],
            [scripts / "python", "-W", "error", "-c", USE],
            [scripts / "dfgym", "worlds"],
        ):
            subprocess.run(command, cwd=elsewhere, env=environment, check=True)


if __name__ == "__main__":
    check_contents(Path(sys.argv[1]))
    check_use(Path(sys.argv[1]))
