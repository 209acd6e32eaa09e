# SPDX-License-Identifier: Apache-2.0
"""What the soak does to the node in preset ``cell``, and how its table is judged."""
