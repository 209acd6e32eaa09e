# SPDX-License-Identifier: Apache-2.0
"""Masks of a whole recording as files that others read: PNG, COCO, label video, probability, LeRobot."""
