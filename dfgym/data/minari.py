"""Data sets to and from Minari, without loss (frames are stored raw, not as Minari's usual JPEG).

Minari keeps one group an episode in an HDF5 file; its folder is `$MINARI_DATASETS_PATH`.
"""

from __future__ import annotations

import os
import re
import warnings
from collections.abc import Iterator
from types import ModuleType
from typing import TYPE_CHECKING, Any

import gymnasium as gym
import numpy as np

from dfgym.data.draft import drafting
from dfgym.data.store import EpisodeStore
from dfgym.errors import ActionError, ConfigError, DataError, MissingPackageError
from dfgym.games import spaces
from dfgym.games.recorded import recorded_spec

if TYPE_CHECKING:
    from minari import MinariDataset
    from minari.data_collector import EpisodeBuffer

# Within what Minari takes (its namespaces have at least two characters), and ASCII alone.
ID = re.compile(r"(?:[A-Za-z0-9_][A-Za-z0-9_-]+/)*[A-Za-z0-9_][A-Za-z0-9_-]*-v[0-9]+")


def to_minari(store_path: str | os.PathLike[str], dataset_id: str) -> MinariDataset:
    """Copy a data set into a new local Minari data set.

    Each Minari episode keeps its seed, and its policy as metadata; the whole of `meta.json` stands
    under `dfgym` in Minari's metadata. The Minari data set's `recover_environment()` makes the game
    again as it was recorded, wherever dfgym and the game are installed.

    Args:
        store_path: the data set's folder.
        dataset_id: Minari's form, `(namespace/)name-v0`; it must not exist.

    Raises:
        ConfigError: the id is malformed.
        DataError: the data set is damaged, or the id is taken.
        MissingPackageError: minari is missing.
    """
    minari = _import(dataset_id)
    store = EpisodeStore.open(store_path)
    if not len(store):
        raise DataError(f"{store.path} has no episodes to export; record some first")
    store.verify()
    if dataset_id in minari.list_local_datasets():
        raise DataError(f"the Minari data set {dataset_id!r} exists; choose another id or version")
    with warnings.catch_warnings():
        # Minari asks for an author's mail and more that a recording does not have.
        warnings.filterwarnings("ignore", category=UserWarning, module=r"minari\.utils")
        dataset = minari.create_dataset_from_buffers(
            dataset_id,
            [],
            observation_space=gym.spaces.Box(0, 255, store.frame_shape, np.uint8),
            action_space=spaces.to_gymnasium(store.action_space),
            description=f"Recorded by dfgym from {store.meta.get('env')}",
            algorithm_name=", ".join(map(str, store.meta.get("policies", {}))) or None,
            author="dfgym",
            requirements=["dfgym"],
            jpeg_encoding=False,
            data_format="hdf5",
        )
    try:
        spec = recorded_spec(store.meta)
        again = {} if spec is None else {"env_spec": spec.to_json()}  # for recover_environment()
        dataset.storage.update_metadata({"dfgym": store.meta, **again})
        dataset.storage.update_episodes(_buffers(minari, store))
        dataset.storage.update_episode_metadata({"policy": e.policy} for e in store.episodes)
    except BaseException:
        minari.delete_dataset(dataset_id)  # no half of a data set stays
        raise
    return minari.load_dataset(dataset_id)


def from_minari(dataset_id: str, out: str | os.PathLike[str]) -> EpisodeStore:
    """Copy a local Minari data set into a new data set.

    Any Minari data set with uint8 `(h, w, 3)` observations will do, and actions of any kind that
    has bounds. Rewards and parts of actions become float32.

    Args:
        dataset_id: Minari's form, `(namespace/)name-v0`.
        out: the new data set's folder.

    Raises:
        ConfigError: the id is malformed.
        DataError: there is no such Minari data set, its spaces do not fit, or `out` exists.
        MissingPackageError: minari is missing.
    """
    minari = _import(dataset_id)
    try:
        dataset = minari.load_dataset(dataset_id)
    except FileNotFoundError as reason:
        raise DataError(
            f"there is no local Minari data set {dataset_id!r}; fetch it with "
            f"`minari download {dataset_id}`"
        ) from reason
    except ImportError as reason:  # a data set in a format of its own, like Arrow's
        raise MissingPackageError(f"{dataset_id} needs one more package: {reason}") from reason
    except OSError as reason:
        raise _damaged(dataset_id, reason) from reason
    space = dataset.action_space
    meta = _meta(dataset)
    try:
        with drafting(out, meta) as store:
            details = dataset.storage.get_episode_metadata(dataset.episode_indices)
            for episode, detail in zip(dataset, details, strict=True):
                store.append(
                    np.asarray(episode.observations),
                    _rows(store, space, episode.actions, len(episode.rewards)),
                    np.asarray(episode.rewards, np.float32),
                    bool(episode.terminations[-1]),
                    bool(episode.truncations[-1]),
                    seed=int(detail.get("seed", 0)),
                    policy=str(detail.get("policy", "minari")),
                )
    except OSError as reason:
        raise _damaged(dataset_id, reason) from reason
    return EpisodeStore.open(out)


def _buffers(minari: ModuleType, store: EpisodeStore) -> Iterator[EpisodeBuffer]:
    for episode in store.episodes:
        rows = slice(episode.start, episode.start + episode.frames)
        steps = slice(rows.start, rows.stop - 1)
        yield minari.data_collector.EpisodeBuffer(
            seed=episode.seed,
            observations=store.frames[rows],
            actions=store.action_space.native(store.actions[steps]),
            rewards=store.rewards[steps],
            terminations=store.terminated[steps],
            truncations=store.truncated[steps],
        )


def _rows(store: EpisodeStore, space: gym.Space[Any], actions: Any, count: int) -> np.ndarray:
    try:
        return store.action_space.rows(spaces.shift(space, actions, -1), count)
    except ActionError as reason:
        raise DataError(f"an episode's actions do not fit its space, {space}: {reason}") from None


def _meta(dataset: MinariDataset) -> dict[str, Any]:
    """What is recorded."""
    observations = dataset.observation_space
    try:
        actions = spaces.describe(dataset.action_space, dataset.id)
    except ConfigError as reason:
        raise DataError(str(reason)) from None
    if not isinstance(observations, gym.spaces.Box) or observations.dtype != np.uint8:
        raise DataError(f"{dataset.id} has observations {observations}, not uint8 (h, w, 3) frames")
    shape, own = list(observations.shape), dataset.storage.metadata.get("dfgym")
    if own is not None:
        return {**own, "frame_shape": shape, "actions": actions.to_plain()}
    spec = dataset.env_spec
    return {
        "env": spec.id if spec else dataset.id,
        "minari": dataset.id,
        "frame_shape": shape,
        "actions": actions.to_plain(),
        "meanings": [*map(str, range(actions.count))] if actions.is_discrete else None,
    }


def _damaged(dataset_id: str, reason: Exception) -> DataError:
    return DataError(
        f"the Minari data set {dataset_id!r} cannot be copied: {reason}; if its files are damaged, "
        f"`minari delete {dataset_id}` and download it again"
    )


def _import(dataset_id: str) -> ModuleType:
    if not ID.fullmatch(dataset_id):  # Minari joins ids to paths, and deletes by them, unchecked
        raise ConfigError(
            f"Minari id {dataset_id!r} is malformed; it must look like 'breakout/random-v0', "
            "of letters, digits, - and _"
        )
    try:
        import h5py  # noqa: F401  what Minari's default storage needs, as Pillow, and may forget
        import minari
        import minari.data_collector
        import PIL  # noqa: F401
    except ImportError as reason:
        raise MissingPackageError(
            f'Minari data sets need more packages ({reason}): pip install "dfgym[minari]"'
        ) from reason
    return minari
