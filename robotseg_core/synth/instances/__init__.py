# SPDX-License-Identifier: Apache-2.0
"""What every pixel of a rendered frame shows: instance maps, and where everything is."""
