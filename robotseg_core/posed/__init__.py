# SPDX-License-Identifier: Apache-2.0
"""A robot whose joints are known, drawn where a calibrated camera should see it: extrinsics, digital twins."""

import robotseg_core.synth  # noqa: F401  It chooses the OpenGL of MuJoCo, which must be done before that is imported.
