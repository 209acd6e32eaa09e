# SPDX-License-Identifier: Apache-2.0
"""What nodes and tools share: messages, codecs, QoS, parameters, launching, processes."""
