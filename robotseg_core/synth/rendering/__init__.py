# SPDX-License-Identifier: Apache-2.0
"""From a scene to frames: motion, camera track, drawing, and what a sensor does to a picture."""
