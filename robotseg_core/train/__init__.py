# SPDX-License-Identifier: Apache-2.0
"""Training of RobotSeg: data, augmentation, losses, the loop."""
