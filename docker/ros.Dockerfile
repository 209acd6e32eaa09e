# SPDX-License-Identifier: Apache-2.0
# The node in a ROS 2 workspace; docs/docker.md says how to build and run it, and what was tried.
ARG ROS_DISTRO=jazzy
FROM ros:${ROS_DISTRO}-ros-base
SHELL ["/bin/bash", "-c"]
WORKDIR /ws
COPY . src/robotseg_ros
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3-venv \
    && rosdep update --rosdistro "$ROS_DISTRO" \
    && rosdep install -y --from-paths src --ignore-src --rosdistro "$ROS_DISTRO" --dependency-types exec --dependency-types build --dependency-types buildtool \
    && rm -rf /var/lib/apt/lists/*
# NumPy of the major version that apt's OpenCV was built against.
RUN python3 -m venv --system-site-packages .venv \
    && touch .venv/COLCON_IGNORE \
    && next=$(python3 -c 'import numpy; print(int(numpy.__version__.split(".")[0]) + 1)') \
    && .venv/bin/pip install --no-cache-dir "numpy<$next" torch onnxruntime onnx safetensors \
    && .venv/bin/python -c 'import cv2, torch, onnxruntime'
RUN source "/opt/ros/$ROS_DISTRO/setup.bash" \
    && source .venv/bin/activate \
    && colcon build --packages-select robotseg_ros --event-handlers console_direct+
COPY docker/entrypoint.sh /entrypoint.sh
ENTRYPOINT ["/entrypoint.sh"]
CMD ["ros2", "launch", "robotseg_ros", "segment.launch.py"]
