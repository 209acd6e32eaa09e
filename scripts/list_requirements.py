# SPDX-License-Identifier: Apache-2.0
"""Print requirements named in pyproject.toml: of the build, of the runtime, and of the extras given as arguments."""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib  # type: ignore

pyproject = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())
for group in sys.argv[1:]:
    if group == "build":
        requirements = pyproject["build-system"]["requires"]
    elif group == "runtime":
        requirements = pyproject["project"]["dependencies"]
    else:
        requirements = pyproject["project"]["optional-dependencies"][group]
    print("\n".join(requirements))
