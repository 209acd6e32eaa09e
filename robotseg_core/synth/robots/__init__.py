# SPDX-License-Identifier: Apache-2.0
"""Robot models: real ones from a folder, a user's own, and generated ones."""
