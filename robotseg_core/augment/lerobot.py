# SPDX-License-Identifier: Apache-2.0
"""LeRobot data sets whose videos are augmented; tables, ``meta/`` and the videos of other cameras stay byte for byte.

A video keeps codec, rate and number of frames, so that nothing that the data set says of it becomes wrong.  Statistics
of pictures in ``meta/`` stay those of the input.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from robotseg_core.augment.change import Changed
from robotseg_core.augment.clip import Clip, Rgb
from robotseg_core.augment.layout import Piece, Sink
from robotseg_core.lerobot.layout import Episode, open_data_set
from robotseg_core.lerobot.tables import DataSetError
from robotseg_core.lerobot.video import ENCODERS, VideoFile, codec_of, read_frames


class LeRobotVideos:
    """The videos of some cameras.

    Args:
        root: of the data set.
        cameras: names of features, or their ends; None: all that are kept as videos.

    Raises:
        ValueError: it is no such data set, or has no such camera.
    """

    def __init__(self, root: Path, cameras: list[str] | None) -> None:
        self._data = open_data_set(root)
        pieces = []
        for key in self._data.chosen(cameras, ("video",)):
            for file, episodes in self._data.video_files(key).items():
                if codec_of(root / file) not in ENCODERS:
                    raise DataSetError(f"{root / file} is in {codec_of(root / file)}, must be {', '.join(ENCODERS)}")
                place = 0
                for episode in episodes:
                    if episode.videos[key][1] != place:
                        raise DataSetError(
                            f"{root / file}: episode {episode.index} begins with frame {episode.videos[key][1]}, "
                            f"must be {place}: the videos of its episodes follow each other without gaps"
                        )
                    place += episode.length
                pieces.append(Piece(str(file), tuple(self._clip(key, episode) for episode in episodes)))
        self.pieces = tuple(pieces)
        self.left_out = {Path(piece.name) for piece in pieces}

    def _clip(self, key: str, episode: Episode) -> Clip:
        file, first = episode.videos[key]

        def frames() -> Iterator[tuple[str, Rgb]]:
            for number, rgb in enumerate(read_frames(self._data.root / file, first, episode.length)):
                yield f"{number:06d}", np.asarray(rgb, np.uint8)

        return Clip(f"{key}/episode_{episode.index:06d}", episode.length, frames)

    @contextmanager
    def sink(self, piece: Piece, target: Path) -> Iterator[Sink]:
        """A video file of the kind of the old one."""
        path = target / piece.name
        path.parent.mkdir(parents=True, exist_ok=True)
        with VideoFile(path, self._data.rate_hz, codec_of(self._data.root / piece.name)) as video:
            yield _VideoSink(video)


class _VideoSink:
    def __init__(self, video: VideoFile) -> None:
        self._video = video

    def write(self, clip: Clip, frame: Changed) -> None:
        self._video.write(frame.rgb)
