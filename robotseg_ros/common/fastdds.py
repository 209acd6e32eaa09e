# SPDX-License-Identifier: Apache-2.0
"""Fast DDS: the profile that it is to read, without which it loses large images."""

from __future__ import annotations

from collections.abc import Mapping

from robotseg_ros.common.shipped import config_file

PROFILE_VARIABLES = ("FASTDDS_DEFAULT_PROFILES_FILE", "FASTRTPS_DEFAULT_PROFILES_FILE")
"""What names the profile: the first from Fast DDS 3 on (ROS 2 Kilted), the second alone before (Humble, Jazzy)."""


def profile_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Both variables, for every version of Fast DDS.

    Args:
        environment: as it is; a profile that it names under one of them is the user's choice and stays in force.
    """
    given = next((environment[name] for name in PROFILE_VARIABLES if environment.get(name)), None)
    profile = given or str(config_file("fastdds_profile.xml"))
    return {name: environment.get(name) or profile for name in PROFILE_VARIABLES}
