# SPDX-License-Identifier: Apache-2.0
"""Sets of made pictures with instance maps, as `robotseg synth` would render them."""

import json

import cv2
import numpy as np

from robotseg_core.synth.instances.files import write_ids

LEAF = {"colour_share": 1.0, "rgb": [0, 0, 0], "robot": None, "part": None, "gripper": None, "limb": None,
        "held_by": None, "twin_of": None, "robot_like": False, "moves": False}  # fmt: skip


def write_scene(root, robots, things=(), video="v", width=300):
    """``robots``: (x, colour, opening, name of what it holds or None); arms are bars of 30 x 90 under a gripper."""
    ids = np.zeros((200, width), np.uint16)
    instances, records, grippers, limbs, frame = [], [], [], [], []
    for n, (x, colour, opening, held) in enumerate(robots):
        arm, gripper, thing = 3 * n + 1, 3 * n + 2, 3 * n + 3
        ids[100:190, x : x + 30] = arm
        ids[60:100, x : x + 30] = gripper
        instances += [
            {**LEAF, "id": arm, "name": "link", "kind": "link", "colour": colour, "robot": n, "part": "arm"},
            {**LEAF, "id": gripper, "name": "jaw", "kind": "link", "colour": colour, "robot": n, "part": "gripper"},
        ]
        if held:
            ids[40:60, x : x + 30] = thing
            instances.append({**LEAF, "id": thing, "name": held, "kind": "thing", "colour": "red", "held_by": n})
        records.append({"robot": n, "ids": [arm, gripper], "arm_ids": [arm], "gripper_ids": [gripper]})
        grippers.append({"gripper": n, "robot": n, "limb": n, "ids": [gripper], "holds": [thing] if held else []})
        limbs.append({"limb": n, "robot": n, "gripper": n, "ids": [arm]})
        frame.append({"gripper": n, "position": [0, 0, 0], "opening": opening})
    for k, (x, name, colour) in enumerate(things):
        ids[150:180, x : x + 20] = 50 + k
        instances.append({**LEAF, "id": 50 + k, "name": name, "kind": "thing", "colour": colour})
    write_ids(root, video, 0, ids)
    meta = {"schema": 1, "size": [width, 200], "frames": 1, "seed": 0, "view": "far", "background": "room",
            "events": [], "instances": instances, "robots": records, "grippers": grippers, "limbs": limbs,
            "frames_meta": [{"grippers": frame, "instances": {}}]}  # fmt: skip
    (root / "ids" / video / "meta.json").write_text(json.dumps(meta))
    (root / "mask_gt" / video).mkdir(parents=True)
    (root / "mask_gt" / video / "meta.json").write_text("{}")
    (root / "image" / video).mkdir(parents=True)
    cv2.imwrite(str(root / "image" / video / "00000.jpg"), np.zeros((200, 300, 3), np.uint8))
    return ids
