# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the ROS 2 package ``launch_ros``; see the stand-in of ``launch``."""
