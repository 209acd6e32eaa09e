#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command in the workspace of ros.Dockerfile.
source "/opt/ros/$ROS_DISTRO/setup.bash"
source /ws/.venv/bin/activate
source /ws/install/setup.bash
exec "$@"
