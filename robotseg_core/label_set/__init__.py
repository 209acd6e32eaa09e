# SPDX-License-Identifier: Apache-2.0
"""Masks of whole data sets, a clip a task, in one process or on a Ray cluster; what is interrupted goes on."""
