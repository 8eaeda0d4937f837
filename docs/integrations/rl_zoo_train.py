# /// script
# dependencies = ["dfgym", "rl_zoo3"]
# ///
"""RL Baselines3 Zoo: its training command with the hyperparameters that dfgym brings.

`python docs/integrations/rl_zoo_train.py`. The Zoo makes single dreams, not the batch.
"""

import subprocess
import sys
from importlib.resources import files

STEPS = 256

command = [sys.executable, "-m", "rl_zoo3.train", "--algo", "ppo", "--env", "DFWorld-v0"]
command += ["--gym-packages", "dfgym", "-conf", str(files("dfgym.agents") / "hyperparams/ppo.yml")]
command += ["--n-timesteps", str(STEPS), "--hyperparams", "n_envs:4", "n_steps:32", "batch_size:64"]
command += ["--num-threads", "1", "--eval-freq", "-1", "--device", "cpu", "--log-folder", "logs"]
sys.exit(subprocess.call(command))
