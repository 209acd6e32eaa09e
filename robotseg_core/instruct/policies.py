# SPDX-License-Identifier: Apache-2.0
"""Which policy a command uses."""

from __future__ import annotations

import argparse
from pathlib import Path

from robotseg_core.instruct.prompt_set import Policy
from robotseg_core.instruct.rules import RulesPolicy

POLICY_NAMES = ("rules", "seg-r1", "qwen2.5-vl")
"""Seg-R1's published weights, or Qwen2.5-VL as it is published, from a folder of the user's."""


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which a command chooses its policy."""
    parser.add_argument("--policy", default="rules", choices=POLICY_NAMES, help="who reads the request (default rules)")
    parser.add_argument("--policy-weights", type=Path, help="folder with the weights of seg-r1 or qwen2.5-vl")


def make_policy(arguments: argparse.Namespace) -> Policy:
    """The policy that :func:`add_policy_arguments` asks for.

    Raises:
        ValueError: it needs weights, and none are given or they are not there.
        RuntimeError: it needs a package that is not installed.
    """
    if arguments.policy == "rules":
        return RulesPolicy()
    from robotseg_core.instruct.qwen import load_qwen

    if arguments.policy_weights is None:
        raise ValueError(f"policy {arguments.policy} needs --policy-weights FOLDER; nothing is downloaded")
    return load_qwen(arguments.policy_weights, style=arguments.policy, device=arguments.device)
