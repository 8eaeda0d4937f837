# /// script
# dependencies = ["dfgym[minari,minatar]"]
# ///
"""Minari: a recording becomes a Minari data set whose real game can be made again, and comes back.

`python docs/integrations/minari_dataset.py`. Set MINARI_DATASETS_PATH to say where Minari keeps it.
The same by commands: `dfgym record`, `dfgym export-data`, `dfgym import minari:...`.
"""

import os
import tempfile
from pathlib import Path

with tempfile.TemporaryDirectory() as folder:
    os.environ.setdefault("MINARI_DATASETS_PATH", folder)

    import minari

    from dfgym.agents.players import make_factory
    from dfgym.data.minari import from_minari, to_minari
    from dfgym.data.record import Recording, record

    here = Path(folder)
    game = Recording("DFReal/minatar-breakout-v0", 300, {"random": 1.0}, seed=0)
    store = record(game, here / "recording", make_factory)
    dataset = to_minari(store.path, "dfgym-example/breakout-v0")
    print(dataset.total_episodes, "episodes,", dataset.total_steps, "steps")
    env = dataset.recover_environment()
    print("the game again:", env.spec.id, env.reset(seed=0)[0].shape)
    again = from_minari("dfgym-example/breakout-v0", here / "again")
    print("and back:", again.num_frames, "frames")
    minari.delete_dataset("dfgym-example/breakout-v0")
