# SPDX-License-Identifier: Apache-2.0
"""Print a table of what is installed beside this package: version, licence and who publishes it, as it says itself."""

import sys
from importlib.metadata import distributions

NOBODY = "nobody named"


def publisher(metadata) -> str:  # type: ignore[no-untyped-def]
    """Who a distribution says that it is from."""
    people = [metadata.get(key) or "" for key in ("Author", "Author-email", "Maintainer", "Maintainer-email")]
    pages = [page.split(",", 1)[-1].strip() for page in metadata.get_all("Project-URL") or []]
    named = next((person.strip() for person in people if person.strip()), "")
    page = (metadata.get("Home-page") or "").strip() or next(iter(pages), "")
    # Addresses of people are left out.
    named = ", ".join(part.split("<")[0].strip().strip('"') for part in named.split(",") if part.split("<")[0].strip())
    return ", ".join(filter(None, (named[:60], page))) or NOBODY


def licence(metadata) -> str:  # type: ignore[no-untyped-def]
    """Its licence in some words."""
    said = metadata.get("License-Expression") or (metadata.get("License") or "").splitlines()[:1]
    said = said if isinstance(said, str) else (said or [""])[0]
    classified = [c.rpartition(" :: ")[2] for c in metadata.get_all("Classifier") or [] if c.startswith("License ::")]
    return (said if 0 < len(said) < 60 else "") or ", ".join(classified) or "not said"


def rows() -> list[tuple[str, str, str, str]]:
    """Name, version, licence and publisher of every distribution of this environment."""
    found = {}
    for distribution in distributions():
        metadata = distribution.metadata
        name = metadata["Name"]
        if name and name.lower().replace("-", "_") != "robotseg_ros":
            found[name.lower()] = (name, metadata["Version"], licence(metadata), publisher(metadata))
    return [found[key] for key in sorted(found)]


if __name__ == "__main__":
    print("| package | version | licence | published by |\n|---|---|---|---|")
    nobody = [row for row in rows() if row[3] == NOBODY]
    for row in rows():
        if row[3] != NOBODY:
            print("| " + " | ".join(cell.replace("|", "/") for cell in row) + " |")
    print(f"\n{len(nobody)} packages name nobody: " + ", ".join(f"{row[0]} {row[1]}" for row in nobody) + ".")
    sys.exit(0)
