"""What the memories of a world's rows hold, for someone who looks in."""

from __future__ import annotations

import torch

from dfgym.model.slots import Recalled
from dfgym.model.transformer import Transformer
from dfgym.world.dynamics import Dynamics


@torch.inference_mode()
def recall(dynamics: Dynamics) -> Recalled:
    """Return what the last frames read of their memories, or what these hold."""
    network, batch = dynamics.network, dynamics.batch
    if not isinstance(network, Transformer):
        return Recalled()
    return network.recall(batch.caches[-1], batch.time)
