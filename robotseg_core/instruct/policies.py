# SPDX-License-Identifier: Apache-2.0
"""Which policy a command uses."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path
from typing import Any

from robotseg_core.instruct.prompt_set import Policy
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.weights.files import search_folders

log = logging.getLogger(__name__)

POLICY_NAMES = ("auto", "rules", "small", "seg-r1", "qwen2.5-vl")
"""``auto``: small where its weights are and fit, else rules.  Seg-R1's published weights, or Qwen2.5-VL as it is
published, come from a folder of the user's."""
SMALL_FILE = "policy.safetensors"
"""Of the shipped small policy, beside nano's weights."""


def add_policy_arguments(parser: argparse.ArgumentParser) -> None:
    """The arguments by which a command chooses its policy."""
    parser.add_argument(
        "--policy",
        default="auto",
        choices=POLICY_NAMES,
        help="who reads the request (default auto: small where its weights are and fit the model, else rules)",
    )
    parser.add_argument(
        "--policy-weights",
        type=Path,
        help="file of the small policy, or folder with the weights of seg-r1 or qwen2.5-vl",
    )


def make_policy(arguments: argparse.Namespace, robotseg: Any) -> Policy:
    """The policy that :func:`add_policy_arguments` asks for, for a loaded model.

    Raises:
        ValueError: it needs weights, and none are given, or they are not there or do not fit the model.
        RuntimeError: it needs a package that is not installed.
    """
    if arguments.policy == "rules":
        return RulesPolicy()
    if arguments.policy == "auto" and arguments.policy_weights is None:
        return default_policy(robotseg)
    if arguments.policy in ("auto", "small"):
        from robotseg_core.instruct.small.policy import SmallPolicy

        path = arguments.policy_weights or small_weights()
        if path is None:
            raise ValueError(f"policy small needs its weights, {SMALL_FILE}; there is none beside the model's")
        return SmallPolicy.load(path, robotseg)
    from robotseg_core.instruct.qwen import load_qwen

    if arguments.policy_weights is None:
        raise ValueError(f"policy {arguments.policy} needs --policy-weights FOLDER; nothing is downloaded")
    return load_qwen(arguments.policy_weights, style=arguments.policy, device=arguments.device)


def small_weights() -> Path | None:
    """The file of the shipped small policy, or None."""
    return next((path for folder in search_folders() if (path := folder / SMALL_FILE).is_file()), None)


def default_policy(robotseg: Any) -> Policy:
    """Small where its weights are whole and were trained on this model's, else rules, and a warning that says why.

    A model that is no :class:`~robotseg_core.stream.robotseg.RobotSeg` has no features to be read: rules.
    """
    path = small_weights()
    if path is None:
        return RulesPolicy()
    from robotseg_core.instruct.small.policy import SmallPolicy
    from robotseg_core.stream.robotseg import RobotSeg

    if not isinstance(robotseg, RobotSeg):
        return RulesPolicy()
    try:
        return SmallPolicy.load(path, robotseg)
    except (ValueError, OSError) as error:
        log.warning("%s; requests are read by the rules", error)
        return RulesPolicy()
