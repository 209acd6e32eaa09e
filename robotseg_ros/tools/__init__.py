# SPDX-License-Identifier: Apache-2.0
"""Programs around the node: demo, bags, benchmarks, soak, the servoing example."""
