# SPDX-License-Identifier: Apache-2.0
"""What becomes of a model's logits before they are masks: which robot is meant, specks and holes, how sure it is."""
