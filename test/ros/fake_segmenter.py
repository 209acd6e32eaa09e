# SPDX-License-Identifier: Apache-2.0
"""The real node process with the fake model, for tests that need a process; with ``hang`` no image is ever done."""

import sys
import threading

from fake_model import FakeModel

from robotseg_ros.run_segmenter import main

if __name__ == "__main__":
    hang = threading.Event() if "hang" in sys.argv[1:] else None
    sys.exit(main(lambda options: FakeModel(delay=0.005, hang=hang)))
