"""`python -m dfgym.train CONFIG.json [PARENT]`: one process of a training, described by a file.

Where the number of the process that started it is given, it stops when that one is gone.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import psutil

from dfgym.errors import DfgymError
from dfgym.train.config import from_table
from dfgym.train.loop import train


def stop_with(parent: int) -> None:
    """Stop this process, as SIGTERM does, when its parent is gone."""
    # Linux and macOS give an orphan another parent; Windows leaves it the number of the dead one.
    while os.getppid() == parent and psutil.pid_exists(parent):
        time.sleep(0.5)
    signal.raise_signal(signal.SIGTERM)  # os.kill would end it at once on Windows


if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("dfgym").setLevel(logging.INFO)
    file = Path(sys.argv[1])
    if len(sys.argv) > 2:
        threading.Thread(target=stop_with, args=(int(sys.argv[2]),), daemon=True).start()
    try:
        train(from_table(json.loads(file.read_text()), file.parent))
    except DfgymError as error:
        sys.exit(f"dfgym: {error}")
    except KeyboardInterrupt:
        sys.exit(130)
