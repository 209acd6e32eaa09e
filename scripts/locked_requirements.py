# SPDX-License-Identifier: Apache-2.0
"""Print requirements with hashes, as recorded in constraints.txt: for `make setup HASHES=1`.

They stand there in comments: one hash among constraints makes pip insist on hashes for everything, from whatever
registry and for whatever Python, and most registries of wheels hold other builds than the one that was tested.
"""

import platform
import re
import sys
from pathlib import Path

LINE = re.compile(r"^#: (?P<pin>[A-Za-z0-9._-]+==\S+) (?P<hash>--hash=sha256:[0-9a-f]{64})  (?P<file>\S+)$")
PLATFORM = "Python 3.11, x86-64 Linux"


def locked(text: str) -> list[str]:
    """Requirements ``name==version --hash=sha256:...`` of the comments that begin with ``#:``."""
    return [f"{found['pin']} {found['hash']}" for line in text.splitlines() if (found := LINE.match(line))]


if __name__ == "__main__":
    here = f"Python {sys.version_info.major}.{sys.version_info.minor}, {platform.machine().replace('_', '-')} Linux"
    if here != PLATFORM:
        sys.exit(f"hashes are recorded for {PLATFORM}, this is {here}: leave HASHES=1 out")
    print("\n".join(locked((Path(__file__).parents[1] / "constraints.txt").read_text())))
