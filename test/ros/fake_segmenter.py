# SPDX-License-Identifier: Apache-2.0
"""The real node process with the fake model, for tests that need a process."""

import sys

from fake_model import FakeModel

from robotseg_ros.run_segmenter import main

if __name__ == "__main__":
    sys.exit(main(lambda options: FakeModel(delay=0.005)))
