# SPDX-License-Identifier: Apache-2.0
"""Waits for one point cloud without the robot, and writes it as a PLY file that viewers of point clouds open."""

import sys
from pathlib import Path

import numpy as np
import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from rclpy.qos import qos_profile_sensor_data
from sensor_msgs.msg import PointCloud2


def points_of(cloud: PointCloud2) -> np.ndarray:
    """[N, 3] float32 x, y, z in metres in the camera's optical frame; where nothing is known there is no point."""
    offsets = {field.name: field.offset for field in cloud.fields}
    kind = np.dtype(
        {
            "names": ["x", "y", "z"],
            "formats": [">f4" if cloud.is_bigendian else "<f4"] * 3,
            "offsets": [offsets[axis] for axis in "xyz"],
            "itemsize": cloud.point_step,
        }
    )
    rows = np.frombuffer(cloud.data, np.uint8).reshape(cloud.height, cloud.row_step)
    records = rows[:, : cloud.width * cloud.point_step].copy().view(kind)
    points = np.stack([records[axis] for axis in "xyz"], axis=-1).reshape(-1, 3)
    return points[np.isfinite(points).all(axis=1)].astype(np.float32)


def main() -> int:
    """Write the first cloud that comes to the file that is named as the first argument."""
    if len(sys.argv) < 2:
        print("self_filter_cloud: give the file to write, for example cloud.ply", file=sys.stderr)
        return 2
    rclpy.init()
    node = Node("self_filter_cloud")
    clouds: list[PointCloud2] = []
    node.create_subscription(PointCloud2, "/self_filter/points", clouds.append, qos_profile_sensor_data)
    try:
        while rclpy.ok() and not clouds:
            rclpy.spin_once(node, timeout_sec=0.5)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    if not clouds:
        return 130
    points = points_of(clouds[0])
    header = ["ply", "format ascii 1.0", f"element vertex {len(points)}", *(f"property float {a}" for a in "xyz")]
    lines = [*header, "end_header", *(f"{x:.4f} {y:.4f} {z:.4f}" for x, y, z in points)]
    Path(sys.argv[1]).write_text("\n".join(lines) + "\n")
    total = clouds[0].width * clouds[0].height
    print(f"{len(points)} of {total} pixels have a point in {clouds[0].header.frame_id} -> {sys.argv[1]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
