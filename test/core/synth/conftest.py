# SPDX-License-Identifier: Apache-2.0
import pytest


@pytest.fixture(scope="module")
def renderer(request):
    """Of pictures of the test file's ``SIZE``; skips where nothing can be rendered."""
    from robotseg_core.synth.rendering.render import Renderer

    try:
        made = Renderer(*request.module.SIZE)
    except RuntimeError as e:
        pytest.skip(str(e))
    yield made
    made.close()
