# SPDX-License-Identifier: Apache-2.0
"""Clips: what a step shows and asks, drawn on the host; composed and photographed on the device."""
