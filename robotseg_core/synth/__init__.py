# SPDX-License-Identifier: Apache-2.0
"""Rendered training data: robots in random poses, colours, light and surroundings, with exact part masks.

Needs the ``mujoco`` package and an OpenGL driver (``MUJOCO_GL=egl`` or ``osmesa`` without a display).  Robot models
are read from a folder given by the caller, never from this package.
"""
