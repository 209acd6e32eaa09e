# SPDX-License-Identifier: Apache-2.0
"""The session of one camera without topics: images in, what it answers, counts and says."""

from types import SimpleNamespace

from std_msgs.msg import Header

from robotseg_ros.common.messages import stamp_ns, to_image
from robotseg_ros.segmenter.inference import Inference
from robotseg_ros.segmenter.instruct.instructions import Instructions
from robotseg_ros.segmenter.parameters.options import LiveOptions

SECOND = 1_000_000_000


class Session:
    """A session whose answers are kept."""

    def __init__(self, node, model, **live):
        self.model = model
        self.answers = []
        """(state, stamp, frame_id, masks by part) of everything published."""
        now = node.get_clock().now
        publishers = SimpleNamespace(
            publish=self._publish,
            publish_without_parts=lambda h, s, dropped: self.answers.append((s, stamp_ns(h), h.frame_id, {})),
            age_ms=lambda header: (now().nanoseconds - stamp_ns(header)) / 1e6,
        )
        options = LiveOptions(**{"max_age": 0.0, **live})
        self.inference = Inference(
            node, model.stream(), publishers, lambda: options, replay=False, name="", instructions=Instructions(model)
        )
        self.counters = self.inference.counters

    def _publish(self, answer, live):
        masks = {part.name: part.mask for part in answer.result.parts}
        self.answers.append((answer.result.state, stamp_ns(answer.header), answer.header.frame_id, masks))

    def give(self, message):
        """The state of the answer; None when there is none."""
        count = len(self.answers)
        self.inference.process(message, 0)
        assert len(self.answers) <= count + 1
        return self.answers[-1][0] if len(self.answers) > count else None

    def shows(self, rgb, stamp=SECOND, frame_id="wrist", encoding="rgb8"):
        """The state of the answer to a raw image."""
        return self.give(to_image(header(stamp, frame_id), rgb, encoding))


def header(stamp, frame_id="wrist"):
    made = Header(frame_id=frame_id)
    made.stamp.sec, made.stamp.nanosec = divmod(stamp, SECOND)
    return made
