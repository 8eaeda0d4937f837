"""How much memory a call takes at its height."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from torch.profiler import profile


def peak(call: Callable[[], Any]) -> int:
    """Bytes that a call has allocated at its height, above what was there before."""
    call()
    with profile(profile_memory=True) as profiler:
        call()
    events = [e for e in profiler.profiler.kineto_results.events() if e.name() == "[memory]"]
    events.sort(key=lambda event: event.start_ns())
    return int(np.cumsum([event.nbytes() for event in events]).max())
