# SPDX-License-Identifier: Apache-2.0
"""Rendered training data: robots in random poses, colours, light and surroundings, with exact part masks.

Needs the ``mujoco`` package and an OpenGL driver for off-screen drawing: EGL, which is chosen here when there is no
display, or OSMesa (set ``MUJOCO_GL=osmesa``).  Robot models are read from a folder given by the caller, never from
this package.
"""

import os

# Both must be set before mujoco is imported.
if "DISPLAY" not in os.environ and "WAYLAND_DISPLAY" not in os.environ:
    os.environ.setdefault("MUJOCO_GL", "egl")
os.environ.setdefault(
    "LP_NUM_THREADS", "0"
)  # Mesa's software renderer: one thread; this package runs processes instead
