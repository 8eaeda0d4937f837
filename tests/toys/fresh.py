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
from pathlib import Path
from typing import Any

SERVER = """
import json, os, sys, warnings
import stable_baselines3, torch, torch._dynamo

for line in sys.stdin:
    job = json.loads(line)
    child = os.fork()
    if not child:
        break
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
else:
    sys.exit()
os.chdir(job["folder"])
os.environ.clear()
os.environ.update(job["environment"])
for number, name in enumerate((os.devnull, job["out"], job["errors"])):
    os.dup2(os.open(name, os.O_RDWR), number)
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
    server = _server()
    assert server.stdin and server.stdout
    variables = {name: v for name, v in {**os.environ, **environment}.items() if v is not None}
    with tempfile.NamedTemporaryFile("r") as out, tempfile.NamedTemporaryFile("r") as errors:
        job: dict[str, Any] = {
            "code": code.read_text() if isinstance(code, Path) else code,
            "name": str(code) if isinstance(code, Path) else "<test>",
            "arguments": [str(argument) for argument in arguments],
            "folder": str(folder or Path.cwd()),
            "environment": variables,
            "out": out.name,
            "errors": errors.name,
        }
        server.stdin.write(json.dumps(job) + "\n")
        server.stdin.flush()
        status = int(server.stdout.readline())
        return subprocess.CompletedProcess(job["arguments"], status, out.read(), errors.read())
