# SPDX-License-Identifier: Apache-2.0
"""Robot-centric augmentation of videos: another background, another colour, no robot, another robot."""
