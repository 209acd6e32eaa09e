# SPDX-License-Identifier: Apache-2.0
"""Last step of ``make train-demo``: one picture of the scored videos' worst frames, and whether the curve falls.

python scripts/train_demo_picture.py out/train_demo
"""

import csv
import shutil
import sys
from pathlib import Path

import cv2
import numpy as np

from robotseg_core.files.overlay import contact_sheet

out = Path(sys.argv[1])
cases = sorted((out / "eval" / "cases" / "stream").glob("*.png"))
tiles = [(path.stem, np.ascontiguousarray(cv2.imread(str(path))[..., ::-1])) for path in cases]
cv2.imwrite(str(out / "masks.png"), contact_sheet(tiles, columns=2, width=640)[..., ::-1])
shutil.copy(out / "run" / "curve.png", out / "curve.png")

totals: dict[str, list[float]] = {}
with (out / "run" / "curve.csv").open() as file:
    for row in csv.DictReader(file):
        if row["name"] == "total":
            totals.setdefault(row["phase"], []).append(float(row["value"]))
for phase, values in totals.items():
    print(f"phase {phase}: loss {values[0]:.2f} -> {values[-1]:.2f}")
print(f"pictures: {out / 'masks.png'} (image, truth, answer), {out / 'curve.png'}")
# Two points of a running mean say nothing: the last phase is short.
sys.exit(not all(values[-1] < values[0] for values in totals.values() if len(values) > 2))
