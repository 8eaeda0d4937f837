"""How much of a game's next frame is chance, as far as moments that come again can tell."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

PASTS = (1, 2, 4, 8, 16)
"""The numbers of last frames that are tried as a moment."""
VISITS = 8
"""A moment that came so often tells how many outcomes it has."""
SUPPORT = 0.05
"""At least this share of the steps must begin at such moments for a past to tell anything."""


@dataclass(frozen=True)
class Chance:
    """What repeated moments tell of chance and of hidden state.

    A moment is some last frames with the action; the longest past counts whose moments come again
    often enough. Where hardly any moment comes again, all is None.

    Attributes:
        past: last frames of a moment.
        support: share of the steps that begin at moments which came `VISITS` times or more.
        agreement: probability that two visits of such a moment lead to the same frame.
        outcomes: different next frames of such a moment; all but one in a hundred of the visits
            are at moments with no more.
        memory: the shortest past that foretells the next frame nearly as well, for the same steps.
    """

    past: int | None = None
    support: float | None = None
    agreement: float | None = None
    outcomes: int | None = None
    memory: int | None = None


def measure_chance(keys: np.ndarray, actions: np.ndarray, follows: np.ndarray) -> Chance:
    """Count the outcomes of moments that come again.

    Args:
        keys: a hash of each frame, uint64 `(n,)`, see `hash_rows`.
        actions: the action that leads on from each frame, integers `(n,)`.
        follows: whether each frame follows the one before it in an episode, bool `(n,)`.
    """
    places = np.arange(len(keys))
    age = places - np.maximum.accumulate(np.where(follows, 0, places))  # in the episode
    leads = np.append(follows[1:], False)[:-1]
    following = keys[1:][leads]
    moment, begin, moments = _mix(keys, actions.astype(np.uint64)), 1, []
    often = np.zeros(len(following), bool)
    for past in PASTS:
        for back in range(begin, past):
            # Before an episode's first frame there is nothing, which is a fact of the moment too.
            moment = _mix(moment, np.where(age >= back, np.roll(keys, back), np.uint64(back)))
        begin = past
        _, which, visits = np.unique(moment[:-1][leads], return_inverse=True, return_counts=True)
        again = visits[which] >= VISITS
        if again.mean() < SUPPORT:
            break
        moments.append(which)
        often = again
    if not moments:
        return Chance()
    agreements = [_compare(which[often], following[often])[0] for which in moments]
    agreement, outcomes = _compare(moments[-1][often], following[often])
    nearly = next(i for i, value in enumerate(agreements) if value >= max(agreements) - 0.01)
    return Chance(
        past=PASTS[len(moments) - 1],
        support=float(often.mean()),
        agreement=agreement,
        outcomes=outcomes,
        memory=PASTS[nearly],
    )


def _compare(moments: np.ndarray, following: np.ndarray) -> tuple[float, int]:
    """How often two visits of a moment agree, and in how many ways moments go on."""
    _, which, visits = np.unique(moments, return_inverse=True, return_counts=True)
    _, first, counts = np.unique(
        _mix(which.astype(np.uint64), following), return_index=True, return_counts=True
    )
    distinct = np.bincount(which[first], minlength=len(visits))
    same = np.bincount(which[first], counts * (counts - 1.0), minlength=len(visits))
    agreement = same.sum() / (visits * (visits - 1.0)).sum()
    order = np.argsort(distinct)
    reach = np.cumsum(visits[order]) / len(moments)
    return float(agreement), int(distinct[order][np.searchsorted(reach, 0.99)])


def hash_rows(frames: np.ndarray) -> np.ndarray:
    """Return a hash of each frame, uint64 `(n,)`; equal frames have equal ones."""
    flat = frames.reshape(len(frames), -1)
    flat = np.pad(flat, ((0, 0), (0, -flat.shape[1] % 8)))
    factors = np.random.default_rng(0).integers(2**63, size=flat.shape[1] // 8, dtype=np.uint64)
    factors = factors * np.uint64(2) + np.uint64(1)
    keys = np.zeros(len(flat), np.uint64)
    for start in range(0, len(flat), 4096):
        words = np.ascontiguousarray(flat[start : start + 4096]).view(np.uint64)
        words = (words ^ (words >> np.uint64(31))) * factors
        keys[start : start + 4096] = (words ^ (words >> np.uint64(29))).sum(1, dtype=np.uint64)
    return keys


def _mix(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Hash two hashes into one, in their order."""
    mixed = (first ^ (first >> np.uint64(32))) * np.uint64(0x9E3779B97F4A7C15)
    mixed = mixed + (second ^ (second >> np.uint64(31))) * np.uint64(0xC2B2AE3D27D4EB4F)
    return mixed ^ (mixed >> np.uint64(29))
