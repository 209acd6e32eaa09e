# SPDX-License-Identifier: Apache-2.0
"""Requests in words from rendered scenes whose instances are known: text and answer come from one program (SEGR1 10.5).

Sides are the viewer's: "left" is further left in the picture.
"""
