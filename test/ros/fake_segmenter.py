# SPDX-License-Identifier: Apache-2.0
"""The real node process with the fake model, for tests that need a process; with ``hang`` no image is ever done."""

import sys
import threading

from fake_model import FakeModel

from robotseg_ros.run_segmenter import main


def load(options):
    # Not before: main() prepares what rclpy reads when it is imported.
    from robotseg_ros.segmenter import node

    if "hang" in sys.argv[1:]:
        return FakeModel(delay=0.005, hang=threading.Event())
    # A model that will be done is waited for, however slow the machine is.
    node.STOP_TIMEOUT_S = 600.0
    return FakeModel(delay=0.005)


if __name__ == "__main__":
    sys.exit(main(load))
