"""`dfgym export`: what it writes, and what it refuses."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from dfgym.env.env import DreamEnv
from dfgym.errors import ConfigError, WorldError
from dfgym.export.command import Export, export
from dfgym.world import shelf
from dfgym.world.onnx import open_session
from dfgym.world.settings import Settings


def npm_package(folder: Path) -> Path:
    """A folder with the names of onnxruntime-web's files."""
    (folder / "dist").mkdir(parents=True)
    (folder / "dist/ort.wasm.bundle.min.mjs").write_text("export {};")
    (folder / "dist/ort-wasm-simd-threaded.wasm").write_bytes(bytes(1000))
    return folder


def test_a_host_needs_nothing_but_the_folder(random_world: Path, tmp_path: Path) -> None:
    """A dozen lines of NumPy and onnxruntime dream what `gym.make` dreams."""
    export(Export(str(random_world), tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} == {"out"}  # no draft is left
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        "step.onnx", "world.json", "starts.bin.gz",
    }  # fmt: skip
    about = json.loads((tmp_path / "out/world.json").read_text())
    session = open_session((tmp_path / "out/step.onnx").read_bytes())
    starts = np.frombuffer(gzip.decompress((tmp_path / "out/starts.bin.gz").read_bytes()), np.uint8)
    frames = starts.reshape(-1, 8, 8, 3)
    assert sum(start["count"] for start in about["episodes"] + about["starts"]) == len(frames)

    env = DreamEnv(random_world, device="cpu")
    _, info = env.reset(seed=3)
    seed = env._open().dynamics._seeds.numpy()
    rings = [np.zeros(shape, np.float32) for shape in about["caches"]]

    def step(action: int, time: int, observed: np.ndarray | None) -> dict[str, np.ndarray]:
        inputs = {
            "action": np.array([action]),
            "seed": seed,
            "time": np.array([time]),
            "observed": np.zeros_like(frames[:1]) if observed is None else observed[None],
            "is_observed": np.array([observed is not None]),
            **{f"cache.{i}": ring for i, ring in enumerate(rings)},
        }
        names = [output.name for output in session.get_outputs()]
        results = dict(zip(names, session.run(None, inputs), strict=True))
        for i, ring in enumerate(rings):
            ring[:, time % ring.shape[1]] = results[f"slot.{i}"]
        return results

    step(about["no_action"], 0, frames[info["start_episode"]])
    for time in range(1, 9):
        observation, reward, terminated, _, _ = env.step(time % 3)
        results = step(time % 3, time, None)
        assert (results["frame"][0] == observation[::5, ::5]).all()
        assert (results["reward"][0], results["terminated"][0]) == (reward, terminated)
        if terminated:
            break


def test_a_page_has_all_it_loads(random_world: Path, tmp_path: Path) -> None:
    package = npm_package(tmp_path / "npm")
    for name in ("a", "b"):
        export(Export(str(random_world), tmp_path / name, page=True, onnxruntime_web=package))
    index = (tmp_path / "a/index.html").read_text()
    assert index.index("tab.js") < index.index('"use strict"') and "{{" not in index
    assert gzip.decompress((tmp_path / "a/ort.wasm.gz").read_bytes()) == bytes(1000)
    for path in (tmp_path / "a").iterdir():  # the same bytes every time
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()


@pytest.mark.parametrize(
    "changes, error, words",
    [
        ({"world": "no-world-v9"}, WorldError, "no-world-v9"),
        ({"page": True}, ConfigError, "run `npm install onnxruntime-web` here"),
        ({"page": True, "rows": 2}, ConfigError, "rows is 2, and a page plays one game"),
        ({"onnxruntime_web": Path("web")}, ConfigError, "onnxruntime_web is a page's"),
        ({"rows": 0}, ConfigError, "rows is 0"),
        ({"rows": 10**9}, ConfigError, "a batch of 1000000000 needs about"),
        ({"settings": {"luck": 1.0}}, ConfigError, "luck is 1.0, which an ONNX file cannot"),
        ({"settings": {"context_mode": "kept"}}, ConfigError, "context_mode is 'kept'"),
    ],
)
def test_it_refuses(
    changes: dict[str, object],
    error: type[Exception],
    words: str,
    random_world: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)  # where no npm package lies
    flags = {"world": str(random_world), "out": tmp_path / "out", **changes}
    if "settings" in flags:
        flags["settings"] = Settings(**flags["settings"])  # type: ignore[arg-type]
    with pytest.raises(error, match=words):
        export(Export(**flags))  # type: ignore[arg-type]
    assert not list(tmp_path.iterdir())  # nothing is half written


def test_what_is_there_stays(random_world: Path, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("mine")
    with pytest.raises(ConfigError, match="exists; an export is written to a new folder"):
        export(Export(str(random_world), tmp_path))
    assert [path.name for path in tmp_path.iterdir()] == ["mine.txt"]
    assert shelf.card(str(random_world)).name == "toy-random-v0"
