# SPDX-License-Identifier: Apache-2.0
"""What a model made of a recording, as a page to look at."""
