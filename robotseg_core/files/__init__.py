# SPDX-License-Identifier: Apache-2.0
"""Frames from files, pictures for people, masks of whole videos."""
