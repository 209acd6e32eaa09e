# SPDX-License-Identifier: Apache-2.0
"""The service ``~/instruct``: a text of anybody in, what was found for it out."""

from __future__ import annotations

from robotseg_core.instruct.prompt_set import Answer
from robotseg_core.instruct.request import RequestError
from robotseg_ros.common.camera_log import cut
from robotseg_ros.common.messages import to_instance, to_time
from robotseg_ros.segmenter.hints import HINT_WORDS
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.srv import Instruct


def answer_request(
    inference: Inference, request: Instruct.Request, response: Instruct.Response, *, enabled: bool
) -> Instruct.Response:
    """Fill in the response to a request about a camera.  Never raises: who asks is answered."""
    try:
        if not enabled:
            raise RequestError("the camera is disabled")
        reply = inference.instructions.ask(request.request)
    except Exception as error:
        # Whatever a policy makes of a text of anybody.
        said = str(error) if isinstance(error, RequestError) else f"{type(error).__name__}: {error}"
        response.answer, response.message = Instruct.Response.REFUSED, cut(said, HINT_WORDS)
        inference.log.warning("request", f"request refused: {response.message}")
        return response
    prompts = reply.prompts
    if reply.forgotten:
        response.answer = Instruct.Response.FORGOTTEN
        return response
    response.answer = int(prompts.answer)
    response.invert, response.score = prompts.invert, float(reply.score)
    response.log_probability = float(prompts.log_probability)
    response.instances = [to_instance(instance) for instance in prompts.instances]
    if reply.image is not None:
        response.stamp = to_time(reply.image.stamp)
    if prompts.answer is Answer.NOT_UNDERSTOOD:
        response.message = ascii(prompts.raw)[1:-1]
    return response
