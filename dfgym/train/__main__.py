"""`torchrun ... -m dfgym.train CONFIG.json`: one process of a training, told by a file."""

from __future__ import annotations

import json
import logging
import sys
from pathlib import Path

from dfgym.errors import DfgymError
from dfgym.train.config import from_table
from dfgym.train.loop import train

if __name__ == "__main__":
    logging.basicConfig(format="%(message)s")
    logging.getLogger("dfgym").setLevel(logging.INFO)
    file = Path(sys.argv[1])
    try:
        train(from_table(json.loads(file.read_text()), file.parent))
    except DfgymError as error:
        sys.exit(f"dfgym: {error}")
