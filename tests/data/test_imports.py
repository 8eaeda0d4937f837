"""Data sets from npz files and from videos with a table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dfgym import cli
from dfgym.data.imports import Import, import_files
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError

RNG = np.random.default_rng(0)
FRAMES = RNG.integers(0, 256, (10, 8, 9, 3), np.uint8)
ACTIONS = np.array([0, 1, 2, 0, 1, 2, 2, 1, 0, 1])
REWARDS = np.arange(10, dtype=np.float32)
ENDS = np.arange(10) == 3  # frame 4 is the first episode's last one


def write_npz(path: Path, **changes: Any) -> Path:
    columns = {"frames": FRAMES, "actions": ACTIONS, "rewards": REWARDS, "terminated": ENDS}
    columns |= changes
    np.savez(path, **{key: value for key, value in columns.items() if value is not None})
    return path


def test_rows_become_episodes(tmp_path: Path) -> None:
    file = write_npz(tmp_path / "a.npz")
    store = import_files(Import(file, tmp_path / "data", env="my:my/Game-v0", actions=5))
    store.verify()
    assert store.offsets.tolist() == [0, 5, 10] and (store.frames == FRAMES).all()
    assert store.actions.tolist() == [0, 1, 2, 0, 0, 2, 2, 1, 0, 0]
    assert store.rewards.tolist() == [0, 1, 2, 3, 0, 5, 6, 7, 8, 0]
    assert np.flatnonzero(store.terminated).tolist() == [3]
    assert np.flatnonzero(store.truncated).tolist() == [8]
    assert store.action_space.count == 5
    assert store.meta["env"] == "my/Game-v0" and store.meta["module"] == "my"


def test_one_row_a_step_repeats_the_last_frame(tmp_path: Path) -> None:
    ends = ENDS | (np.arange(10) == 9)
    file = write_npz(tmp_path / "a.npz", terminated=ends)
    with pytest.raises(DataError, match=r"row 9 has no frame after it.* --repeat-last"):
        import_files(Import(file, tmp_path / "data"))
    assert not (tmp_path / "data").exists()
    store = import_files(Import(file, tmp_path / "data", repeat_last=True))
    assert store.offsets.tolist() == [0, 5, 12]
    assert (store.frames[3] == store.frames[4]).all() and (store.frames[5] == FRAMES[4]).all()
    assert store.rewards.tolist() == [0, 1, 2, 3, 0, 4, 5, 6, 7, 8, 9, 0]
    assert np.flatnonzero(store.terminated).tolist() == [3, 10]


def test_other_forms_of_arrays(tmp_path: Path) -> None:
    """Floats, channels first, the names of others, n - 1 actions, actions of several parts."""
    obs = (FRAMES / np.float32(255)).transpose(0, 3, 1, 2)
    folder = tmp_path / "files"
    folder.mkdir()
    for name in ("a", "b"):
        changes = {"frames": None, "obs": obs, "actions": None, "action": RNG.normal(size=(9, 2))}
        write_npz(folder / f"{name}.npz", **changes, rewards=None, terminated=ENDS[:9])
    store = import_files(Import(folder, tmp_path / "data"))
    assert store.num_frames == 20 and (store.frames[10:] == FRAMES).all()
    assert store.action_space.kind == "box" and store.actions.shape == (20, 2)
    file = write_npz(tmp_path / "c.npz", actions=RNG.integers(0, 3, (10, 2)))
    assert import_files(Import(file, tmp_path / "c")).action_space.kind == "multi_discrete"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": None}, r"has frames, rewards, terminated; expected actions"),
        ({"actions": ACTIONS[:5]}, r"10 frames and columns of \[5, 10\] rows"),
        ({"actions": ACTIONS.astype(str)}, "expected numbers"),
        ({"actions": ACTIONS * np.nan}, "not finite"),
        ({"frames": FRAMES[..., 0, 0]}, "expected a picture, like"),
        ({"rewards": np.array([None] * 10)}, "cannot be read as npz of plain arrays"),
    ],
)
def test_bad_arrays_are_named(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    file = write_npz(tmp_path / "a.npz", **changes)
    with pytest.raises(DataError, match=message):
        import_files(Import(file, tmp_path / "data"))
    assert not (tmp_path / "data").exists()


def write_video(path: Path, shades: list[int]) -> None:
    cv2 = pytest.importorskip("cv2")
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*"MJPG"), 20, (32, 16))
    for shade in shades:
        writer.write(np.full((16, 32, 3), (shade, 0, 255 - shade), np.uint8))  # BGR
    writer.release()


def test_videos_and_a_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    write_video(folder / "one.avi", [0, 50, 100, 150])
    write_video(folder / "two.avi", [200, 250, 0])
    table = "video,action,reward,terminated\none.avi,0,0,\none.avi,1,0.5,\none.avi,2,1,true\n"
    table += "one.avi,,,\ntwo,1,0,no\ntwo,0,0,no\n"
    (folder / "actions.csv").write_text(table)
    words = ["import", str(folder), str(tmp_path / "data"), "--resize", "8", "16"]
    assert cli.main(words) == 0
    assert "by the filter" in capsys.readouterr().out
    store = EpisodeStore.open(tmp_path / "data")
    assert store.offsets.tolist() == [0, 4, 7] and store.frame_shape == (8, 16, 3)
    blue = store.frames[:, 4, 8, 2].astype(int)
    assert (abs(blue - [0, 50, 100, 150, 200, 250, 0]) < 12).all()
    assert store.actions.tolist() == [0, 1, 2, 0, 1, 0, 0] and store.meta["fps"] == 20
    assert store.rewards.tolist() == [0, 0.5, 1, 0, 0, 0, 0]
    assert np.flatnonzero(store.terminated).tolist() == [2]


def test_bad_tables_and_sources_are_named(tmp_path: Path) -> None:
    write_video(tmp_path / "one.avi", [0, 50, 100])
    for text, message in (
        ("video,reward\none.avi,1\n", "columns video, reward; expected action"),
        ("action\nx\n1\n1\n", "action is 'x'; expected a number"),
        ("video,action\nother.avi,1\n", "no row of the video one.avi"),
        ("", "columns none"),
    ):
        (tmp_path / "actions.csv").write_text(text)
        with pytest.raises(DataError, match=message):
            import_files(Import(tmp_path, tmp_path / "data"))
    with pytest.raises(ConfigError, match=r"there is no table .* --table"):
        import_files(Import(tmp_path, tmp_path / "data", table=tmp_path / "none.csv"))
    with pytest.raises(ConfigError, match=r"nothing to import; expected \.npz"):
        import_files(Import(tmp_path / "none", tmp_path / "data"))
    (tmp_path / "broken.avi").write_bytes(b"x" * 100)
    (tmp_path / "actions.csv").write_text("action\n1\n0\n1\n")
    with pytest.raises(DataError, match="cannot be read as a video"):
        import_files(Import(tmp_path / "broken.avi", tmp_path / "data"))
