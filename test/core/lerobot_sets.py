# SPDX-License-Identifier: Apache-2.0
"""Small LeRobot data sets in the layout of the package ``lerobot``, versions 2.1 and 3.0."""

from __future__ import annotations

import json
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

RATE_HZ = 10
TASKS = ["pick the cube", "open the drawer"]
STATE = pa.list_(pa.float32(), 6)


def picture(episode: int, frame: int, height: int = 48, width: int = 64) -> NDArray[np.uint8]:
    """Stripes, and a bright block that moves to the right; every episode has its own colour."""
    rgb = np.zeros((height, width, 3), np.uint8)
    rgb[::8] = (40, 60 + 40 * episode, 120)
    rgb[10:34, 4 + 3 * frame : 20 + 3 * frame] = (220, 60 * episode, 200 - 60 * episode)
    return rgb


def write_video(path: Path, frames: list[NDArray[np.uint8]], codec: str = "libx264") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=RATE_HZ, options={"g": "2", "crf": "10"})
        stream.width, stream.height, stream.pix_fmt = frames[0].shape[1], frames[0].shape[0], "yuv420p"
        for rgb in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(rgb, format="rgb24")))
        container.mux(stream.encode())


def _rows(episode: int, length: int, first: int) -> dict[str, object]:
    rng = np.random.default_rng(episode)
    return {
        "observation.state": pa.array(rng.normal(size=(length, 6)).astype(np.float32).tolist(), STATE),
        "action": pa.array(rng.normal(size=(length, 6)).astype(np.float32).tolist(), STATE),
        "timestamp": pa.array(np.arange(length, dtype=np.float32) / RATE_HZ),
        "frame_index": pa.array(np.arange(length)),
        "episode_index": pa.array(np.full(length, episode)),
        "index": pa.array(np.arange(first, first + length)),
        "task_index": pa.array(np.full(length, episode % 2)),
    }


def _stats(length: int) -> dict[str, dict[str, list[object]]]:
    number = {"min": [-1.0] * 6, "max": [1.0] * 6, "mean": [0.0] * 6, "std": [1.0] * 6, "count": [length]}
    image = {k: [[[v]]] * 3 for k, v in {"min": 0.0, "max": 1.0, "mean": 0.4, "std": 0.2}.items()} | {"count": [length]}
    return {"observation.state": number, "action": number, "observation.images.top": image}


def _info(version: str, lengths: list[int], cameras: list[str], **more: object) -> dict[str, object]:
    camera = {
        "dtype": "video",
        "shape": [48, 64, 3],
        "names": ["height", "width", "channels"],
        "info": {"video.fps": RATE_HZ, "video.codec": "h264", "video.pix_fmt": "yuv420p", "has_audio": False},
    }
    six = {"dtype": "float32", "shape": [6], "names": [f"joint_{i}" for i in range(6)]}
    numbers = {"timestamp": "float32", "frame_index": "int64", "episode_index": "int64", "index": "int64"}
    features = {"observation.state": six, "action": six} | {camera_key: camera for camera_key in cameras}
    features |= {k: {"dtype": v, "shape": [1], "names": None} for k, v in {**numbers, "task_index": "int64"}.items()}
    return {
        "codebase_version": version,
        "robot_type": "so100",
        "total_episodes": len(lengths),
        "total_frames": sum(lengths),
        "total_tasks": 2,
        "chunks_size": 1000,
        "fps": RATE_HZ,
        "splits": {"train": f"0:{len(lengths)}"},
        **more,
        "features": features,
    }


def make_v2(root: Path, lengths: tuple[int, ...] = (5, 4), cameras: tuple[str, ...] = ("top", "wrist")) -> Path:
    """A data set of version 2.1."""
    keys = [f"observation.images.{camera}" for camera in cameras]
    (root / "meta").mkdir(parents=True)
    (root / "data" / "chunk-000").mkdir(parents=True)
    for episode, length in enumerate(lengths):
        rows = _rows(episode, length, sum(lengths[:episode]))
        pq.write_table(pa.table(rows), root / "data" / "chunk-000" / f"episode_{episode:06d}.parquet")
        for key in keys:
            video = root / "videos" / "chunk-000" / key / f"episode_{episode:06d}.mp4"
            write_video(video, [picture(episode, i) for i in range(length)])
    info = _info(
        "v2.1", list(lengths), keys, total_videos=len(keys) * len(lengths), total_chunks=1,
        data_path="data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        video_path="videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
    )  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    lines = [{"episode_index": e, "tasks": [TASKS[e % 2]], "length": n} for e, n in enumerate(lengths)]
    (root / "meta" / "episodes.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    tasks = [{"task_index": i, "task": task} for i, task in enumerate(TASKS)]
    (root / "meta" / "tasks.jsonl").write_text("".join(json.dumps(line) + "\n" for line in tasks))
    stats = [{"episode_index": e, "stats": _stats(n)} for e, n in enumerate(lengths)]
    (root / "meta" / "episodes_stats.jsonl").write_text("".join(json.dumps(line) + "\n" for line in stats))
    return root


def make_v3(root: Path, lengths: tuple[int, ...] = (5, 4, 3), cameras: tuple[str, ...] = ("top",)) -> Path:
    """A data set of version 3.0: the first two episodes in one file, the others in the next one."""
    keys = [f"observation.images.{camera}" for camera in cameras]
    for folder in ("meta/episodes/chunk-000", "data/chunk-000"):
        (root / folder).mkdir(parents=True)
    episodes = []
    for file, held in enumerate(([0, 1], list(range(2, len(lengths))))):
        if not held:
            continue
        tables = [pa.table(_rows(e, lengths[e], sum(lengths[:e]))) for e in held]
        pq.write_table(pa.concat_tables(tables), root / "data" / "chunk-000" / f"file-{file:03d}.parquet")
        for key in keys:
            video = root / "videos" / key / "chunk-000" / f"file-{file:03d}.mp4"
            write_video(video, [picture(e, i) for e in held for i in range(lengths[e])])
        for place, e in enumerate(held):
            first, begin = sum(lengths[:e]), sum(lengths[n] for n in held[:place]) / RATE_HZ
            row: dict[str, object] = {
                "episode_index": e,
                "tasks": [TASKS[e % 2]],
                "length": lengths[e],
                "data/chunk_index": 0,
                "data/file_index": file,
                "dataset_from_index": first,
                "dataset_to_index": first + lengths[e],
                "meta/episodes/chunk_index": 0,
                "meta/episodes/file_index": 0,
            }
            for key in keys:
                row |= {f"videos/{key}/chunk_index": 0, f"videos/{key}/file_index": file}
                end = begin + lengths[e] / RATE_HZ
                row |= {f"videos/{key}/from_timestamp": begin, f"videos/{key}/to_timestamp": end}
            row |= {f"stats/{k}/{s}": v for k, said in _stats(lengths[e]).items() for s, v in said.items()}
            episodes.append(row)
    pq.write_table(pa.Table.from_pylist(episodes), root / "meta" / "episodes" / "chunk-000" / "file-000.parquet")
    info = _info(
        "v3.0", list(lengths), keys, data_files_size_in_mb=100, video_files_size_in_mb=500,
        data_path="data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        video_path="videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    )  # fmt: skip
    (root / "meta" / "info.json").write_text(json.dumps(info, indent=4))
    (root / "meta" / "stats.json").write_text(json.dumps(_stats(sum(lengths)), indent=4))
    # As pandas writes a table whose index are the tasks.
    index = {"index_columns": ["__index_level_0__"], "column_indexes": [], "pandas_version": "2.2.0", "columns": [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64", "numpy_type": "int64",
         "metadata": None},
        {"name": None, "field_name": "__index_level_0__", "pandas_type": "unicode", "numpy_type": "object",
         "metadata": None},
    ]}  # fmt: skip
    tasks = pa.table({"task_index": [0, 1], "__index_level_0__": TASKS})
    pq.write_table(tasks.replace_schema_metadata({"pandas": json.dumps(index)}), root / "meta" / "tasks.parquet")
    return root


def files_of(root: Path) -> dict[str, bytes]:
    """Every file of a folder by its path there."""
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}
