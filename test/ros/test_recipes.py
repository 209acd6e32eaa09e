# SPDX-License-Identifier: Apache-2.0
"""What other programs ask of messages and files that docs/consumers.md gives them, by the rules of their readers."""

import sys

import cv2
import numpy as np
import pytest
from builtin_interfaces.msg import Time
from std_msgs.msg import Header

from robotseg_core.files.formats.choose import make_writer
from robotseg_core.geometry.camera import Camera
from robotseg_core.geometry.depth_filter import cut_out, to_points
from robotseg_core.stream.postprocess import part_mask
from robotseg_core.types import PartMasks, StageTimes, State
from robotseg_ros.common.messages import to_image
from robotseg_ros.companions.depth_codec import to_depth_image
from robotseg_ros.companions.self_filter import to_cloud

HEIGHT, WIDTH = 37, 51
HEADER = Header(stamp=Time(sec=5, nanosec=7), frame_id="camera_color_optical_frame")


@pytest.fixture
def robot():
    mask = np.zeros((HEIGHT, WIDTH), np.uint8)
    mask[10:30, 5:20] = 255
    return mask


def depth_of(kind):
    return np.full((HEIGHT, WIDTH), 1500, np.uint16) if kind == "16UC1" else np.full((HEIGHT, WIDTH), 1.5, np.float32)


def test_nvblox_reads_the_mask(robot):
    """monoImageFromImageMessage: mono8 and nothing else; rows lie one behind the other, ``step`` is not looked at."""
    image = to_image(HEADER, robot, "mono8")
    assert image.encoding == "mono8"
    assert np.array_equal(np.frombuffer(bytes(image.data), np.uint8).reshape(image.height, image.width), robot)
    # It looks up the pose of the mask's frame at the mask's stamp.
    assert image.header.frame_id == HEADER.frame_id and image.header.stamp == HEADER.stamp


@pytest.mark.parametrize("kind", ["16UC1", "32FC1"])
def test_moveit_and_rtabmap_read_the_filtered_depth(robot, kind):
    """Millimetres or metres, rows without gaps, the host's byte order; 0, or what is not finite, is no measurement."""
    filtered = cut_out(depth_of(kind), robot, margin=2)
    image = to_depth_image(HEADER, filtered.depth)
    assert image.encoding == kind and bool(image.is_bigendian) == (sys.byteorder == "big")
    plain = np.frombuffer(bytes(image.data), np.uint16 if kind == "16UC1" else np.float32)
    values = plain.reshape(image.height, image.width)
    measured = values > 0 if kind == "16UC1" else np.isfinite(values) & (values > 0)
    grown = cv2.dilate(robot, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (5, 5))) > 0
    assert np.array_equal(measured, ~grown)
    assert (values[measured] == depth_of(kind)[0, 0]).all()


@pytest.mark.parametrize("kind", ["16UC1", "32FC1"])
def test_moveit_reads_the_filtered_cloud(robot, kind):
    """PointCloudOctomapUpdater goes through rows and columns of an organised cloud and passes over points with NaN."""
    camera = Camera(WIDTH, HEIGHT, 60.0, 60.0, 25.0, 18.0)
    cloud = to_cloud(HEADER, to_points(cut_out(depth_of(kind), robot).depth, camera))
    assert [(field.name, field.offset) for field in cloud.fields] == [("x", 0), ("y", 4), ("z", 8)]
    assert (cloud.height, cloud.width, cloud.row_step) == (HEIGHT, WIDTH, WIDTH * cloud.point_step)
    points = np.frombuffer(bytes(cloud.data), np.float32).reshape(HEIGHT, WIDTH, 3)
    taken = ~np.isnan(points).any(-1)
    assert np.array_equal(taken, robot == 0) and np.allclose(points[taken][:, 2], 1.5)


def test_roboreg_reads_the_masks_of_segment(robot, tmp_path):
    """find_files sorts by the number behind the last underscore; parse_hydra_data reads grey and compares sizes."""
    parts = tuple(part_mask(name, mask > 0, 1.0) for name, mask in (("arm", robot), ("gripper", robot * 0)))
    parts += (part_mask("robot", robot > 0, 1.0),)
    writer = make_writer("png", tmp_path, "poses", 1.0)
    for number in (0, 2, 10):
        writer.write(f"image_{number}", PartMasks(0, State.TRACKING, parts, StageTimes()))
    writer.close()
    found = sorted((tmp_path / "poses" / "002").glob("image_*.png"), key=lambda path: int(path.stem.split("_")[-1]))
    assert [path.name for path in found] == ["image_0.png", "image_2.png", "image_10.png"]
    for path in found:
        mask = cv2.imread(path, cv2.IMREAD_GRAYSCALE)
        assert mask.shape[:2] == depth_of("32FC1").shape[:2] and np.array_equal(mask, robot)
