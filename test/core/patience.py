# SPDX-License-Identifier: Apache-2.0
"""How long tests wait for what they check: on a machine that is busy or stands still a test gets slow, not red."""

PATIENCE_S = 900.0
"""The limit of every wait; it is there only so that what hangs ends some day."""
