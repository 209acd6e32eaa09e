# SPDX-License-Identifier: Apache-2.0
"""Training in which hints and memory decide: clips are composed on the device from packed pictures."""
