# SPDX-License-Identifier: Apache-2.0
"""Packs: pictures, part maps and instance maps of many videos in few files, and what in them can be drawn."""
