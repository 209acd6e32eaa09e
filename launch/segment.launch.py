# SPDX-License-Identifier: Apache-2.0
"""Start the segmenter: ros2 launch robotseg_ros segment.launch.py camera:=/wrist/image_raw.

Every parameter of the node is an argument, but for those of several cameras, which go into params_file.
"""

from launch import LaunchDescription

from robotseg_ros.common.launching import Argument, describe_node

ARGUMENTS = (
    Argument("camera", "/camera/image_raw", "Image topic to segment."),
    Argument("transport", "auto", "raw, compressed, or auto: compressed for a topic that ends with /compressed."),
    Argument("camera_info", "", "Topic of the calibration; empty: camera_info beside the images."),
    Argument("click_topic", "", "Topic of a viewer's clicks, e.g. /clicked_point."),
    Argument("depth", "", "Topic of depth images aligned with the camera's, for max_depth and depth_border."),
    Argument("depth_border", False, "Let depth decide where the border of the masks is doubtful; needs depth."),
    Argument("preset", "nano", "Model preset."),
    Argument("device", "auto", "Where the model runs: auto, cpu or cuda."),
    Argument("backend", "auto", "What runs the encoder: auto, torch, onnxruntime or tensorrt."),
    Argument("weights", "", "Path of a weights file; empty: the shipped ones."),
    Argument("robot", "", "Adapter of your robot: its name in the folder of adapters, or a path; empty: none."),
    Argument("image_size", 0, "Side of the model's input, pixels, a multiple of 32; 0: the preset's."),
    Argument("precision", "auto", "auto, fp32, bf16, fp16 or int8."),
    Argument("hygiene", "auto", "Specks far from the robot and small holes go: auto (nano does), on or off."),
    Argument("memory_frames", 0, "Frames that are looked up; 0: the preset's."),
    Argument("encoder_batch", 0, "Images of different cameras through the encoder at once; 0: as the device likes."),
    Argument("replay", False, "true: every image, in order, for recordings."),
    Argument("autostart", False, "true: configure and activate the node by itself.", otherwise=True),
    Argument("jpeg_without_end", False, "true: take JPEGs that have no end marker."),
    Argument("vision_msgs", False, "true: ~/detections and ~/vision_label_info, if vision_msgs is installed."),
    Argument("max_age", 0.2, "Seconds; an older result is STALE; 0: no limit."),
    Argument("stale_after", 1.0, "Seconds without a usable image until STALE."),
    Argument("mask_policy", "balanced", "balanced, inclusive (grown) or exclusive (shrunk) by mask_margin."),
    Argument("mask_margin", 8, "Pixels."),
    Argument("masked_image", "keep", "keep: only the robot, remove: all but the robot."),
    Argument("click_part", "robot", "What clicks are on: arm, gripper or robot."),
    Argument("region", "", "Corners x0,y0,x1,y1,... of where the robot is that is meant, 0 to 1; empty: everywhere."),
    Argument("max_depth", 0.0, "Robots farther away are not meant, m; needs depth; 0: no limit."),
)


def generate_launch_description() -> LaunchDescription:
    """Describe one segmenter node."""
    return describe_node("segmenter", ARGUMENTS, name="robotseg")
