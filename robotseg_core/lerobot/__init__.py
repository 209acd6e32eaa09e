# SPDX-License-Identifier: Apache-2.0
"""Data sets of LeRobot, versions 2 and 3 of their layout: read, and copied with something changed or added."""
