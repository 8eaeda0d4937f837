"""Recording in several processes and in shards: the same episodes, each once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dfgym import cli
from dfgym.agents.players import make_factory
from dfgym.data.merge import merge
from dfgym.data.record import Recording, record
from dfgym.data.store import EpisodeStore
from dfgym.errors import ConfigError, DataError
from toys.catch import Catch

MIX = {"random": 0.5, "sticky-random": 0.3, "module:toys.catch:still": 0.2}
GAME = Recording("toys.catch:toys/Catch-v0", 1500, MIX, seed=3)


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in path.iterdir() if "lock" not in file.name}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("whole") / "data"
    record(GAME, path, make_factory, progress=False)
    return path


def test_several_processes_record_the_same_bits(whole: Path, tmp_path: Path) -> None:
    record(GAME, tmp_path / "data", make_factory, progress=False, processes=3)
    assert contents(tmp_path / "data") == contents(whole)


def test_a_callable_of_a_module_is_recorded_in_processes(tmp_path: Path) -> None:
    game = Recording("Catch", 200)
    for processes in (1, 2):
        path = tmp_path / str(processes)
        record(game, path, make_factory, progress=False, env=Catch, processes=processes)
    assert contents(tmp_path / "1") == contents(tmp_path / "2")
    with pytest.raises(ConfigError, match="cannot import `env`; expected a class"):
        record(game, tmp_path / "env", make_factory, env=Catch(), processes=2)


def test_shards_make_up_the_recording(whole: Path, tmp_path: Path) -> None:
    paths = [tmp_path / str(index) for index in (1, 2, 3)]
    for index, path in enumerate(paths, 1):
        record(GAME, path, make_factory, progress=False, shard=(index, 3))
    merged = merge(paths[::-1], tmp_path / "merged")
    merged.verify()
    assert merged.num_frames >= 1500
    seeds = [episode.seed for episode in merged.episodes]
    assert len(set(seeds)) == len(seeds) == sum(len(EpisodeStore.open(path)) for path in paths)
    # Episodes have the seeds that they have in one recording, in its order.
    again = [episode.seed for episode in EpisodeStore.open(whole).episodes]
    shared = min(len(EpisodeStore.open(path)) for path in paths) * 3
    assert seeds[:shared] == again[:shared]
    for index, path in enumerate(paths):
        store = EpisodeStore.open(path)
        for position, episode in enumerate(store.episodes[: shared // 3]):
            copy = merged.episodes[3 * position + index]
            assert copy.sha256 == episode.sha256 and copy.policy == episode.policy
    with pytest.raises(DataError, match="another recording: its shard"):
        record(GAME, tmp_path / "merged", make_factory, progress=False)


def test_shards_that_do_not_belong_together(whole: Path, tmp_path: Path) -> None:
    for name, shard, seed in (("1", (1, 2), 3), ("2", (2, 2), 3), ("other", (2, 2), 4)):
        game = Recording(GAME.env, 50, MIX, seed=seed)
        record(game, tmp_path / name, make_factory, progress=False, shard=shard)
    first, second, other = (tmp_path / name for name in ("1", "2", "other"))
    for paths, message in (
        ([first], "2/2 is missing"),
        ([first, first], "is shard 1/2, as is"),
        ([first, other], "of another recording .* its seed is 4, not 3"),
        ([first, whole], "is no shard"),
    ):
        with pytest.raises(DataError, match=message):
            merge(paths, tmp_path / "merged")
        assert not (tmp_path / "merged").exists()
    # The hash of the seed's twin: a list that was tampered with is refused.
    lines = (second / "episodes.jsonl").read_text().splitlines()
    taken_seed = EpisodeStore.open(first).episodes[0].seed
    lines[0] = json.dumps({**json.loads(lines[0]), "seed": taken_seed})
    (second / "episodes.jsonl").write_text("\n".join(lines) + "\n")
    with pytest.raises(DataError):
        merge([first, second], tmp_path / "merged")


def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["record", "toys.catch:toys/Catch-v0", "--frames", "120"]
    for index in (1, 2):
        assert cli.main([*words, str(tmp_path / str(index)), "--shard", f"{index}/2"]) == 0
    paths = [str(tmp_path / "1"), str(tmp_path / "2")]
    assert cli.main(["verify", *paths]) == 0
    assert capsys.readouterr().out.count("as recorded") == 2
    assert cli.main(["verify", *paths, "--out", str(tmp_path / "all")]) == 0
    assert EpisodeStore.open(tmp_path / "all").num_frames >= 120
    for shard in ("0/2", "3/2", "2", "a/b"):
        assert cli.main([*words, str(tmp_path / "x"), "--shard", shard]) == 2
        assert "expected i/n" in capsys.readouterr().err
    assert cli.main([*words, str(tmp_path / "x"), "--processes", "0"]) == 2
    data = (tmp_path / "1" / "frames.bin").read_bytes()
    (tmp_path / "1" / "frames.bin").write_bytes(b"x" + data[1:])
    assert cli.main(["verify", *paths]) == 2
    assert "not as it was recorded" in capsys.readouterr().err
