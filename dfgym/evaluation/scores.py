"""How good predictions of rare events are: precision, recall, F1 and calibration."""

from __future__ import annotations

from typing import Any

import numpy as np

BINS = 10


def events(found: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Precision, recall and F1 of the values other than 0; one is right only if it is equal.

    A share of nothing counts as 1. `events` is how many there truly were.
    """
    right = int(((found == truth) & (truth != 0)).sum())
    told, true = int((found != 0).sum()), int((truth != 0).sum())
    return {
        "precision": right / told if told else 1.0,
        "recall": right / true if true else 1.0,
        "f1": 2 * right / (told + true) if told + true else 1.0,
        "events": true,
    }


def calibration(probability: np.ndarray, happened: np.ndarray) -> dict[str, Any]:
    """Expected calibration error (Naeini et al. 2015) over ten even bins, and the bins in use.

    Args:
        probability: `(n,)` in [0, 1], what was said.
        happened: bool `(n,)`.
    """
    bins = np.minimum((probability * BINS).astype(int), BINS - 1)
    used = [b for b in range(BINS) if (bins == b).any()]
    counts = [int((bins == b).sum()) for b in used]
    said = [float(probability[bins == b].mean()) for b in used]
    was = [float(happened[bins == b].mean()) for b in used]
    error = sum(n * abs(s - w) for n, s, w in zip(counts, said, was, strict=True)) / len(bins)
    return {"ece": float(error), "count": counts, "said": said, "happened": was}
