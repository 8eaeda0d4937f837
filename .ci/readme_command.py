"""Print the README's shell block that holds a word, so that CI runs what a newcomer reads."""

import re
import sys
from pathlib import Path

word = sys.argv[1]
readme = Path("README.md").read_text()
blocks = re.findall(r"^```(?:bash|sh|shell)\n(.*?)^```$", readme, re.M | re.S)
matches = [block for block in blocks if re.search(rf"\b{re.escape(word)}\b", block)]
if len(matches) != 1:
    sys.exit(f"README.md must have exactly one shell block with {word!r}; it has {len(matches)}")
print(matches[0], end="")
