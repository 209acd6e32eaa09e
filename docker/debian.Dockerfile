# SPDX-License-Identifier: Apache-2.0
# The node without a ROS installation: rclpy comes as Python wheels; docs/docker.md says how to build and run it.
FROM debian:bookworm-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends ca-certificates g++ make python3-dev python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /robotseg_ros
COPY . .
RUN make setup
ENTRYPOINT [".venv/bin/python", "-m"]
CMD ["robotseg_ros.run_segmenter", "--ros-args", "-p", "autostart:=true"]
