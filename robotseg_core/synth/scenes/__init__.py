# SPDX-License-Identifier: Apache-2.0
"""Scenes around robots: rooms, things, people, light, paint, and where everything stands."""
