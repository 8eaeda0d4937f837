"""Recording refuses what cannot be recorded, by name, before anything is written."""

import builtins
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import pytest

from dfgym.agents.players import make_factory
from dfgym.data import record as recorder
from dfgym.errors import ConfigError, DataError, DfgymError, MissingPackageError
from toys.recordings import record

BREAKOUT = "DFSource/MinAtar-Breakout-v0"
pytestmark = pytest.mark.usefixtures("counter_ids")
ENDLESS, WORDS = gym.spaces.Box(-1, np.inf, (2,)), gym.spaces.Text(3)


@pytest.mark.parametrize(
    ("env", "arguments", "message"),
    [
        ("DFTest/Counter-v0", {"env_kwargs": {"space": ENDLESS}}, "finite bounds"),
        ("DFTest/Counter-v0", {"env_kwargs": {"space": WORDS}}, "Text.*: expected Discrete"),
        (
            "DFTest/Dark-v0",
            {"env_kwargs": {"images": False}},
            r"shows no frames: .* \(2,\).* without",
        ),
        ("DFTest/None-v0", {}, "'DFTest/None-v0' with"),
        ("DFTest/Counter-v9", {}, "'DFTest/Counter-v9' with"),
        ("DFTest/Counter-v0", {"env_kwargs": {"speed": 3}}, "unexpected keyword argument 'speed'"),
        ("a:b:c", {}, "`env` is 'a:b:c'; expected id, module:id"),
        (
            "DFTest/Counter-v0",
            {"env_kwargs": {"max_episode_steps": 0}},
            "`max_episode_steps` is 0 in env_kwargs; expected at least 1",
        ),
        ("DFTest/Counter-v0", {"frames": 1}, "frames is 1; expected int >= 2"),
        (
            "DFTest/Counter-v0",
            {"max_episode_steps": 0},
            "max_episode_steps is 0; expected int",
        ),
        ("DFTest/Counter-v0", {"seed": -1}, "seed is -1; expected int >= 0"),
        ("DFTest/Counter-v0", {"resize": (0, 5)}, "resize.*0.* is 0; expected int >= 1"),
        ("DFTest/Counter-v0", {"policies": {}}, "policies is an empty table"),
        ("DFTest/Counter-v0", {"policies": {"random": 0}}, "policies"),
        ("DFTest/Counter-v0", {"policies": {"random": np.nan}}, "policies"),
        (
            "DFTest/Counter-v0",
            {"policies": {"best": 1}},
            "'best' is unknown; allowed are random",
        ),
        ("DFTest/Counter-v0", {"policies": {"scripted:0.1": 1}}, "no scripted player for"),
        (BREAKOUT, {"policies": {"scripted:much": 1}}, "could not convert .*much"),
        (BREAKOUT, {"policies": {"scripted:2": 1}}, "`epsilon` is 2.0; expected a number in"),
        (BREAKOUT, {"policies": {"sb3:ppo:/none.zip": 1}}, "there is no file /none.zip"),
        (
            BREAKOUT,
            {"policies": {"sb3:her:/none.zip": 1}},
            "is 'her'; allowed are a2c, ddpg, ",
        ),
        (BREAKOUT, {"policies": {f"sb3:ppo:{__file__}": 1}}, "wasn't a zip-file"),
    ],
)
def test_bad_input_is_named_and_nothing_is_written(
    tmp_path: Path, env: str, arguments: dict[str, Any], message: str
) -> None:
    if env == BREAKOUT:
        pytest.importorskip("minatar")
    with pytest.raises(ConfigError, match=message):
        record(env, tmp_path / "data", **{"frames": 100, **arguments})
    assert not (tmp_path / "data").exists()


def test_a_policy_that_the_recording_does_not_know_is_named(tmp_path: Path) -> None:
    path = tmp_path / "data"
    record("DFTest/Counter-v0", path, 20)
    lines = path / "episodes.jsonl"
    lines.write_text(lines.read_text().replace("random", "stranger", 1))
    (path / "index.json").unlink()  # which would tell
    before = lines.read_bytes()
    with pytest.raises(DataError, match=r"episode 0 was played by 'stranger', .* names random"):
        record("DFTest/Counter-v0", path, 60)
    assert lines.read_bytes() == before


def test_a_size_that_training_will_refuse_is_named_before_the_recording(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("WARNING"):
        record("DFTest/Counter-v0", tmp_path / "odd", 20, env_kwargs={"size": (37, 53)})
        record("DFTest/Counter-v0", tmp_path / "resized", 20, resize=(38, 55), filter="nearest")
    for size, better in (("37 x 53", "32 48"), ("38 x 55", "32 48")):
        assert f"frames of {size} into few patches" in caplog.text
        assert f"--resize {better}" in caplog.text
    caplog.clear()
    record("DFTest/Counter-v0", tmp_path / "even", 20)
    assert "patches" not in caplog.text


@pytest.mark.parametrize("env", [lambda: 3, lambda: None])
def test_a_function_that_makes_no_environment_is_named(tmp_path: Path, env: Any) -> None:
    with pytest.raises(ConfigError, match="expected an environment of Gymnasium"):
        recorder.record(recorder.Recording("Mine", 20), tmp_path / "data", make_factory, env=env)
    assert not (tmp_path / "data").exists()


def test_missing_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gym.register("DFTest/Missing-v0", "no_such_package.game:Game")
    try:
        with pytest.raises(MissingPackageError, match=r"needs a package .* .no_such_package"):
            record("DFTest/Missing-v0", tmp_path / "data", 100)
    finally:
        del gym.registry["DFTest/Missing-v0"]
    real = builtins.__import__

    def no_cv2(name: str, *arguments: Any, **keywords: Any) -> Any:
        if name == "cv2":
            raise ImportError("libGL.so.1: cannot open shared object file")
        return real(name, *arguments, **keywords)

    monkeypatch.setattr(builtins, "__import__", no_cv2)
    with pytest.raises(
        MissingPackageError, match=r"libGL\.so\.1.*pip install opencv-python"
    ) as caught:
        record("DFTest/Counter-v0", tmp_path / "data", 100, resize=(6, 6), filter="area")
    assert isinstance(caught.value, DfgymError) and not (tmp_path / "data").exists()
