# SPDX-License-Identifier: Apache-2.0
"""20,000 inputs against codec and message handlers, found by hypothesis; `make fuzz` runs a million of another kind."""

import fuzz
import fuzz_checks
import fuzz_inputs
import pytest
from geometry_msgs.msg import PointStamped
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sensor_msgs.msg import CameraInfo, CompressedImage, Image

from robotseg_core import types
from robotseg_ros.common.image_codec import ENCODINGS
from robotseg_ros.msg import Prompt

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")

UINT8, UINT32, INT32 = st.integers(0, 255), st.integers(0, 2**32 - 1), st.integers(-(2**31), 2**31 - 1)
SIZES = st.one_of(st.integers(0, 12), UINT32, st.sampled_from(fuzz_inputs.NUMBERS))
FRAMES = st.one_of(st.just("camera"), st.text(max_size=10))
PARTS = st.one_of(st.sampled_from(types.PARTS), st.text(max_size=10))

RAW = st.builds(
    fuzz_inputs.Raw,
    height=SIZES,
    width=SIZES,
    encoding=st.one_of(st.sampled_from(ENCODINGS), st.text(max_size=12)),
    step=SIZES,
    data=st.one_of(st.binary(max_size=150), st.builds(bytes, st.integers(0, 500))),
    is_bigendian=st.one_of(st.integers(0, 1), UINT8),
)
FILES = st.builds(
    lambda data, at, piece, end, kind: fuzz_inputs.File((data[:at] + piece + data[at + len(piece) :])[:end], kind),
    st.sampled_from(fuzz_inputs.VALID_FILES),
    st.integers(0, 1000),
    st.binary(max_size=8),
    st.one_of(st.none(), st.integers(0, 1000)),
    st.one_of(st.just("jpeg"), st.text(max_size=12)),
)


def inputs(count):
    """So many of them, the same every time."""
    return settings(
        max_examples=count, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
    )


@pytest.fixture(scope="module")
def handlers():
    return fuzz_checks.Handlers()


@inputs(7000)
@given(RAW)
def test_raw_image(image):
    fuzz_checks.check_raw(image)


@inputs(5000)
@given(FILES)
def test_compressed_image(file):
    fuzz_checks.check_file(file)


def stamped(message, frame_id, sec, nanosec):
    message.header.frame_id = frame_id
    message.header.stamp.sec, message.header.stamp.nanosec = sec, nanosec
    return message


@inputs(3000)
@given(PARTS, UINT8, st.lists(st.floats(width=32), max_size=4), UINT8, INT32, UINT32)
def test_prompt(handlers, part, kind, coordinates, label, sec, nanosec):
    message = Prompt(part=part, kind=kind % 4 if sec % 2 else kind, coordinates=coordinates, label=label)
    message.stamp.sec, message.stamp.nanosec = sec, nanosec
    handlers.check_prompt(message)


@inputs(2000)
@given(st.floats(), st.floats(), st.one_of(st.just(0.0), st.floats()), FRAMES, INT32, UINT32)
def test_click(handlers, x, y, z, frame_id, sec, nanosec):
    message = stamped(PointStamped(), frame_id, sec, nanosec)
    message.point.x, message.point.y, message.point.z = x, y, z
    handlers.check_click(message)


@inputs(2000)
@given(
    SIZES,
    SIZES,
    st.lists(st.floats(), min_size=9, max_size=9),
    st.lists(st.floats(), min_size=12, max_size=12),
    st.lists(st.floats(), max_size=14),
    st.one_of(st.sampled_from(["", "plumb_bob", "rational_polynomial", "equidistant"]), st.text(max_size=12)),
)
def test_camera_info(handlers, height, width, k, p, d, model):
    handlers.check_info(CameraInfo(height=height, width=width, k=k, p=p, d=d, distortion_model=model))


@inputs(1000)
@given(st.one_of(RAW, FILES), FRAMES, INT32, UINT32)
def test_image_through_the_session(handlers, given_image, frame_id, sec, nanosec):
    if isinstance(given_image, fuzz_inputs.File):
        message = CompressedImage(format=given_image.format)
    else:
        fields = {name: value for name, value in vars(given_image).items() if name != "data"}
        message = Image(**fields)
    message.data.frombytes(given_image.data)
    handlers.check_image(stamped(message, frame_id, sec, nanosec))


def test_the_generator_of_make_fuzz_makes_inputs_of_every_outcome():
    for line in fuzz.run(600, seed=0):
        taken, refused = (int(line.split(word)[0].split()[-1]) for word in ("taken", "refused"))
        assert taken and refused, line


def test_a_decoder_that_fails_in_another_way_is_found(monkeypatch):
    def decode(image):
        raise IndexError("beyond the last row")

    monkeypatch.setattr(fuzz_checks, "decode_rgb", decode)
    with pytest.raises(AssertionError, match="raw image, input 0/0: IndexError: beyond the last row"):
        fuzz.run(10, seed=0)
