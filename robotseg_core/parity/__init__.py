# SPDX-License-Identifier: Apache-2.0
"""Does the base model compute what the reference computes?"""
