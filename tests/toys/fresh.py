"""Processes that need not wait seconds for their imports.

Code that shall meet dfgym anew, as a user's script does, runs in a fork of a process that has
imported torch and Stable-Baselines3, and nothing of dfgym. What is asked of those imports
themselves, as whether `import dfgym` does without torch, needs an interpreter of its own.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATIENCE = 1200
"""Seconds that a process may take, on whatever machine."""
SERVER = f"""
import gc, json, os, signal, sys, warnings
import stable_baselines3, torch, torch._dynamo
gc.collect()
gc.freeze()  # else a fork copies all of it as it ends, a second's work

def fork_all(jobs):
    children = []
    for job in jobs:
        child = os.fork()
        if not child:
            return job
        children.append(child)
    print(*(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children), flush=True)

for line in sys.stdin:
    if job := fork_all(json.loads(line)):
        break
else:
    sys.exit()
signal.alarm({PATIENCE})  # it is killed then
os.chdir(job["folder"])
os.environ.clear()
os.environ.update(job["environment"])
for number, name in enumerate((os.devnull, job["out"], job["errors"])):
    os.dup2(os.open(name, os.O_RDWR | os.O_CREAT), number)
sys.argv[1:], __file__ = job["arguments"], job["name"]
torch.set_num_threads(1)
warnings.simplefilter("error")
exec(compile(job["code"], job["name"], "exec"))
"""


@functools.cache
def _server() -> subprocess.Popen[str]:
    command = [sys.executable, "-P", "-c", SERVER]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    server = subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
    )
    atexit.register(server.communicate)  # it ends where nothing more can come
    return server


def run(
    code: str | Path, *arguments: object, folder: Path | None = None, **environment: str | None
) -> subprocess.CompletedProcess[str]:
    """Run code in a fork of the warm process; any warning is an error there.

    Args:
        code: Python, or a file of it.
        arguments: of the command.
        folder: where it runs; if left out, here. It is not on the path.
        environment: what differs from this process's variables; None: it is not set.

    Returns:
        The arguments, the exit code, and what was printed.
    """
    (done,) = run_together(code, *arguments, folder=folder, environments=[environment])
    return done


def run_together(
    code: str | Path,
    *arguments: object,
    folder: Path | None = None,
    environments: Sequence[Mapping[str, str | None]],
) -> list[subprocess.CompletedProcess[str]]:
    """Run code in several processes at once, each with its own environment; see `run`."""
    server = _server()
    assert server.stdin and server.stdout
    jobs: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory() as printed:
        for number, environment in enumerate(environments):
            variables = {**os.environ, **environment}
            job = {
                "code": code.read_text() if isinstance(code, Path) else code,
                "name": str(code) if isinstance(code, Path) else "<test>",
                "arguments": [str(argument) for argument in arguments],
                "folder": str(folder or Path.cwd()),
                "environment": {n: v for n, v in variables.items() if v is not None},
                "out": f"{printed}/{number}.out",
                "errors": f"{printed}/{number}.errors",
            }
            jobs.append(job)
        server.stdin.write(json.dumps(jobs) + "\n")
        server.stdin.flush()
        statuses = map(int, server.stdout.readline().split())
        return [
            subprocess.CompletedProcess(
                job["arguments"], status, *(Path(job[n]).read_text() for n in ("out", "errors"))
            )
            for job, status in zip(jobs, statuses, strict=True)
        ]
