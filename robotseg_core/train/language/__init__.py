# SPDX-License-Identifier: Apache-2.0
"""Training a policy with the mask as reward: rewards and GRPO (SEGR1 3, 4, 10.5), over any policy that writes tokens."""
