# SPDX-License-Identifier: Apache-2.0
"""Training a policy with the mask as reward: GRPO over any policy that writes tokens (SEGR1 3, 4, 10.5)."""
