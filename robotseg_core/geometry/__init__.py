# SPDX-License-Identifier: Apache-2.0
"""From masks to numbers in the image and in space: cameras, depth, poses, servoing, zones, stamps.  No torch."""
