# SPDX-License-Identifier: Apache-2.0
"""robotseg augment: only what should change changes, masks stay true, nothing of the user's is touched."""

import json
import sys

import cv2
import numpy as np
import pytest

from robotseg_core import cli
from robotseg_core.augment.flicker import Flicker
from robotseg_core.augment.inpaint import Lama
from robotseg_core.storage.new_folder import PARTIAL
from robotseg_core.stream.robotseg import RobotSeg

pytestmark = pytest.mark.usefixtures("small")

SIZE = (72, 96)
WALL, GREEN = (180, 170, 150), (30, 160, 60)


def scene(number):
    """A textured wall that stands still, and a green robot that moves before it -> RGB, arm, gripper."""
    rng = np.random.default_rng(0)
    wall = np.kron(rng.integers(-40, 40, (9, 12, 1)), np.ones((8, 8, 1))) + np.array(WALL)
    arm, gripper = np.zeros(SIZE, bool), np.zeros(SIZE, bool)
    left = 8 + 9 * number
    arm[30:50, left : left + 14] = True
    gripper[50:58, left + 4 : left + 10] = True
    rgb = np.clip(wall, 0, 255).astype(np.uint8)
    rgb[arm | gripper] = GREEN
    return rgb, arm, gripper


def files_of(root):
    return {str(file.relative_to(root)): file.read_bytes() for file in sorted(root.rglob("*")) if file.is_file()}


def read(path):
    return cv2.imread(str(path), cv2.IMREAD_UNCHANGED)


@pytest.fixture
def root(tmp_path):
    """VRS layout with exact masks, pictures without loss, and things of the user's."""
    path = tmp_path / "videos"
    for part in ("000", "001", "002"):
        (path / "mask_gt" / "clip" / part).mkdir(parents=True)
    (path / "image" / "clip").mkdir(parents=True)
    for i in range(6):
        rgb, arm, gripper = scene(i)
        cv2.imwrite(str(path / "image" / "clip" / f"{i:05d}.png"), rgb[..., ::-1])
        for part, mask in (("000", arm), ("001", gripper), ("002", arm | gripper)):
            cv2.imwrite(str(path / "mask_gt" / "clip" / part / f"{i:05d}.png"), mask * np.uint8(255))
    (path / "mask_gt" / "clip" / "meta.json").write_text('{"arm": "toy"}')
    (path / "actions.csv").write_text("t,x\n0,1\n")
    return path


def augment(root, out, *more):
    return cli.main(["augment", str(root), "--out", str(out), *map(str, more)])


def after(out, number, folder="image/clip"):
    return read(out / folder / f"{number:05d}.png")[..., ::-1]


def inside(mask, by=3):
    return cv2.erode(mask.astype(np.uint8), np.ones((2 * by + 1, 2 * by + 1))) > 0


def test_the_background_is_swapped_once_for_the_video_and_all_else_is_as_it_was(root, tmp_path):
    before = files_of(root)
    assert augment(root, tmp_path / "out", "--background", "noise") == 0
    assert files_of(root) == before
    made = files_of(tmp_path / "out")
    same = {name for name in before if not name.startswith("image/")}
    assert {name for name in before if made[name] == before[name]} == same
    assert set(made) - set(before) == {"augment.json", "augment_contact_sheet.png"}
    robots = [arm | gripper for _, arm, gripper in map(scene, range(6))]
    pictures = [after(tmp_path / "out", i) for i in range(6)]
    for i, robot in enumerate(robots):
        assert (pictures[i][inside(robot, 1)] == GREEN).all()
    # What no robot covers is the same in all frames, and another than before.
    free = ~np.logical_or.reduce([cv2.dilate(r.astype(np.uint8), np.ones((5, 5))) > 0 for r in robots])
    assert all((p[free] == pictures[0][free]).all() for p in pictures)
    assert np.abs(pictures[0][free].astype(int) - scene(0)[0][free]).mean() > 20


def test_the_same_seed_chooses_the_same_and_another_one_another(root, tmp_path):
    for out, seed in (("a", 1), ("b", 1), ("c", 2)):
        assert augment(root, tmp_path / out, "--background", "colour", "--recolour", "--seed", seed) == 0
    a, b, c = (files_of(tmp_path / out) for out in "abc")
    assert {k: v for k, v in a.items() if k.startswith("image/")} == {k: b[k] for k in b if k.startswith("image/")}
    assert a["image/clip/00000.png"] != c["image/clip/00000.png"]


def test_the_robot_gets_the_colour_asked_for_and_the_background_stays(root, tmp_path):
    assert augment(root, tmp_path / "out", "--recolour", "2040e0") == 0
    for i in (0, 5):
        rgb, arm, gripper = scene(i)
        found, robot = after(tmp_path / "out", i), arm | gripper
        red, green, blue = found[inside(robot, 1)].mean(0)
        assert blue > red + 60 and blue > green + 60
        away = cv2.dilate(robot.astype(np.uint8), np.ones((5, 5))) == 0
        assert np.array_equal(found[away], rgb[away])


def test_a_still_camera_sees_behind_the_robot_and_masks_become_empty(root, tmp_path):
    assert augment(root, tmp_path / "out", "--remove") == 0
    said = json.loads((tmp_path / "out" / "augment.json").read_text())["videos"]["clip"]["clip"]
    assert said["removed"]["by"] == "plate" and said["masks"] == "given"
    for i in range(6):
        rgb, arm, gripper = scene(i)
        found = after(tmp_path / "out", i).astype(int)
        # The wall, where another frame shows it; nothing green is left anywhere.
        assert not ((found[..., 1] - found[..., 0]) > 40).any()
        for part in ("000", "001", "002"):
            assert not read(tmp_path / "out" / "mask_gt" / "clip" / part / f"{i:05d}.png").any()
    wall = scene(5)[0].astype(int)
    behind = inside(scene(0)[1])
    assert np.abs(after(tmp_path / "out", 0).astype(int)[behind] - wall[behind]).mean() < 3
    assert (tmp_path / "out" / "mask_gt" / "clip" / "meta.json").read_text() == '{"arm": "toy"}'


def test_a_moving_camera_is_inpainted_frame_by_frame(root, tmp_path):
    for i in range(6):
        path = root / "image" / "clip" / f"{i:05d}.png"
        moved = np.roll(read(path), 5 * i, 0)
        cv2.imwrite(str(path), moved)
        for part in ("000", "001", "002"):
            mask = root / "mask_gt" / "clip" / part / f"{i:05d}.png"
            cv2.imwrite(str(mask), np.roll(read(mask), 5 * i, 0))
    assert augment(root, tmp_path / "out", "--remove") == 0
    said = json.loads((tmp_path / "out" / "augment.json").read_text())["videos"]["clip"]["clip"]
    assert said["removed"] == {"by": "inpainting each frame"}
    found = after(tmp_path / "out", 2).astype(int)
    assert not ((found[..., 1] - found[..., 0]) > 40).any()


def test_every_video_of_a_folder_becomes_frames_in_vrs_layout(tmp_path, capsys):
    folder = tmp_path / "videos"
    folder.mkdir()
    for name, count in (("a.avi", 3), ("b.avi", 4)):
        video = cv2.VideoWriter(str(folder / name), cv2.VideoWriter.fourcc(*"FFV1"), 10, SIZE[::-1])
        for i in range(count):
            video.write(np.ascontiguousarray(scene(i)[0][..., ::-1]))
        video.release()
    (folder / "notes.txt").write_text("mine")
    assert augment(folder, tmp_path / "out", "--background", "noise") == 0
    made = files_of(tmp_path / "out")
    assert [sum(name.startswith(f"image/{clip}/") for name in made) for clip in "ab"] == [3, 4]
    assert [sum(name.startswith(f"mask_gt/{clip}/002/") for name in made) for clip in "ab"] == [3, 4]
    assert made["notes.txt"] == b"mine" and not any(name.endswith(".avi") for name in made)
    (folder / "b.mp4").write_bytes(b"")
    assert augment(folder, tmp_path / "o2", "--background", "noise") == 2
    assert "has b.avi and b.mp4" in capsys.readouterr().err


def test_a_network_inpaints_where_the_user_has_one(root, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    # One that paints the hole black: image * (1 - mask).
    image, mask, out = (
        helper.make_tensor_value_info(name, kind, [1, c, 64, 64]) for name, c in (("image", 3), ("mask", 1), ("out", 3))
    )
    nodes = [helper.make_node("Sub", ["one", "mask"], ["keep"]), helper.make_node("Mul", ["image", "keep"], ["out"])]
    one = helper.make_tensor("one", kind, [1], [1.0])
    graph = helper.make_graph(nodes, "black", [image, mask], [out], [one])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.save(model, str(tmp_path / "lama.onnx"))
    for i in range(1, 6):
        (root / "image" / "clip" / f"{i:05d}.png").unlink()
    assert augment(root, tmp_path / "out", "--remove", "--lama", tmp_path / "lama.onnx") == 0
    assert after(tmp_path / "out", 0)[inside(scene(0)[1])].max() < 5
    # A robot thinner than a pixel of the network's smaller picture is a hole there, too.
    thin, hole = np.full((256, 256, 3), WALL, np.uint8), np.zeros((256, 256), bool)
    hole[:, 5:7] = True
    thin[hole] = GREEN
    filled = Lama(tmp_path / "lama.onnx")(thin, hole)
    assert filled[hole].max() < 40 and (filled[~hole] == WALL).all()
    (tmp_path / "no.onnx").write_bytes(b"no network")
    assert augment(root, tmp_path / "o2", "--remove", "--lama", tmp_path / "no.onnx") == 2
    assert "cannot be read as an ONNX file" in capsys.readouterr().err


def test_the_robot_of_another_video_covers_this_one_and_the_masks_say_so(root, tmp_path, monkeypatch):
    donor = tmp_path / "donor"
    donor.mkdir()
    for i in range(3):
        rgb, *_ = scene(i)
        rgb[(rgb == GREEN).all(-1)] = (250, 20, 20)
        cv2.imwrite(str(donor / f"{i}.png"), rgb[::-1, :, ::-1])

    class Red:
        """Finds what is red."""

        loaded = "red"

        def stream(self):
            return self

        def step(self, rgb, stamp=0):
            from robotseg_core.stream.postprocess import part_mask
            from robotseg_core.types import PartMasks, StageTimes, State

            red = (rgb[..., 0].astype(int) - rgb[..., 1]) > 120
            parts = (part_mask("arm", red, 1.0), part_mask("gripper", red & False, 1.0), part_mask("robot", red, 1.0))
            return PartMasks(stamp, State.TRACKING, parts, StageTimes())

    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: Red()))
    assert augment(root, tmp_path / "out", "--paste", donor) == 0
    for i in range(6):
        found, (_, arm, gripper) = after(tmp_path / "out", i).astype(int), scene(i)
        red = (found[..., 0] - found[..., 1]) > 120
        assert red.sum() > 100
        masks = {p: read(tmp_path / "out" / "mask_gt" / "clip" / p / f"{i:05d}.png") > 0 for p in ("000", "001", "002")}
        assert (masks["000"][inside(red, 1)]).all() and not (masks["001"] & inside(red, 1)).any()
        assert np.array_equal(masks["002"], masks["000"] | masks["001"])
        # The video's own robot is still there where the other one does not cover it.
        uncovered = (arm | gripper) & ~(cv2.dilate(red.astype(np.uint8), np.ones((5, 5))) > 0)
        assert masks["002"][uncovered].all()


def test_masks_are_smoothed_where_they_are_found(tmp_path, monkeypatch):
    """A mask whose edge jumps by two pixels to and fro comes to rest, and one that is missing once is voted in."""
    folder = tmp_path / "clip"
    folder.mkdir()
    rng = np.random.default_rng(1)
    still = np.kron(rng.integers(0, 255, (18, 24, 3)), np.ones((4, 4, 1))).astype(np.uint8)
    for i in range(12):
        cv2.imwrite(str(folder / f"{i:02d}.png"), still)

    class Jumping:
        loaded, calls = "jumping", 0

        def stream(self):
            return self

        def step(self, rgb, stamp=0):
            from robotseg_core.stream.postprocess import part_mask
            from robotseg_core.types import PartMasks, StageTimes, State

            mask = np.zeros(rgb.shape[:2], bool)
            by = 2 * (Jumping.calls % 2)
            mask[20 - by : 50 + by, 30 - by : 70 + by] = Jumping.calls != 6
            Jumping.calls += 1
            none = np.zeros_like(mask)
            parts = (part_mask("arm", mask, 1.0), part_mask("gripper", none, 1.0), part_mask("robot", mask, 1.0))
            return PartMasks(stamp, State.TRACKING, parts, StageTimes())

    monkeypatch.setattr(RobotSeg, "load", classmethod(lambda cls, preset="nano", **_: Jumping()))
    assert augment(folder, tmp_path / "out", "--background", "colour") == 0
    said = json.loads((tmp_path / "out" / "augment.json").read_text())["videos"]["clip"]["clip"]
    assert said["masks"] == "found" and said["with_robot"] == 11
    assert said["flicker_px"]["smoothed"] < 0.5 * said["flicker_px"]["as_they_are"]
    robots = [read(tmp_path / "out" / "mask_gt" / "clip" / "002" / f"{i:02d}.png") > 0 for i in range(12)]
    assert robots[6].sum() > 0.7 * robots[5].sum()
    assert read(tmp_path / "out" / "00.png").shape == still.shape


def test_flicker_is_the_pixels_that_an_edge_jumps():
    still = np.kron(np.random.default_rng(2).integers(0, 255, (12, 12, 3)), np.ones((8, 8, 1))).astype(np.uint8)
    flicker, square = Flicker(), np.zeros((96, 96), bool)
    square[20:70, 20:70] = True
    flicker.add(still, square)
    assert flicker.pixels is None
    flicker.add(still, square)
    assert flicker.pixels == pytest.approx(0, abs=0.02)
    other = Flicker()
    other.add(still, square)
    other.add(still, cv2.dilate(square.astype(np.uint8), np.ones((5, 5))) > 0)
    assert other.pixels == pytest.approx(2, abs=0.3)


def test_a_video_file_becomes_vrs_layout(tmp_path):
    video = cv2.VideoWriter(str(tmp_path / "v.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 10, SIZE[::-1])
    for i in range(4):
        video.write(scene(i)[0][..., ::-1])
    video.release()
    assert augment(tmp_path / "v.mp4", tmp_path / "out", "--background", "colour") == 0
    names = set(files_of(tmp_path / "out"))
    assert {f"image/v/{i:05d}.jpg" for i in range(4)} <= names
    assert {f"mask_gt/v/{p}/{i:05d}.png" for i in range(4) for p in ("000", "001", "002")} <= names


def test_interrupted_work_goes_on_and_never_bears_the_final_name(root, tmp_path, monkeypatch, capsys):
    for kind in ("image", "mask_gt"):
        (root / kind / "clip").rename(root / kind / "a")
        for file in sorted((root / kind / "a").rglob("*.*")):
            other = root / kind / "b" / file.relative_to(root / kind / "a")
            other.parent.mkdir(parents=True, exist_ok=True)
            other.write_bytes(file.read_bytes())
    import robotseg_core.augment.command as command

    real, calls = command.ChangedClip, []

    def interrupted(*arguments):
        calls.append(arguments[0].name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments)

    monkeypatch.setattr(command, "ChangedClip", interrupted)
    out = tmp_path / "out"
    assert augment(root, out, "--recolour", "ff0000") == 130
    assert not out.exists() and (tmp_path / f"out{PARTIAL}").is_dir()
    assert augment(root, out, "--recolour", "00ff00") == 2
    assert "unfinished work of other settings (recolour)" in capsys.readouterr().err
    assert augment(root, out, "--recolour", "ff0000") == 0
    assert calls == ["a", "b", "b"] and not (tmp_path / f"out{PARTIAL}").exists()
    monkeypatch.setattr(command, "ChangedClip", real)
    assert augment(root, tmp_path / "whole", "--recolour", "ff0000") == 0
    assert files_of(out) == files_of(tmp_path / "whole")


def test_photographs_may_be_called_as_they_like(root, tmp_path, capsys, caplog):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in ("sea_1.jpg", "sea_2.jpg", "hill_1.png", "hill_1.jpg", "b_1.jpg", "b_2.jpg"):
        cv2.imwrite(str(folder / name), np.full((*SIZE, 3), 90, np.uint8))
    assert augment(root, tmp_path / "out", "--background", "photo", "--photos", folder) == 0
    assert "clip" not in caplog.text and not capsys.readouterr().err.count("one clip")


def test_what_cannot_be_done_is_one_line_and_leaves_nothing(root, tmp_path, capsys):
    (tmp_path / "empty").mkdir()
    there, out = set(tmp_path.iterdir()), tmp_path / "out"
    for words, source, *more in (
        ("nothing is to be changed", root),
        ("must be one of photo, colour, noise", root, "--background", "beach"),
        ("go together", root, "--background", "photo"),
        ("has no photographs", root, "--background", "photo", "--photos", tmp_path / "empty"),
        ("must be #rrggbb", root, "--recolour", "blue"),
        ("can be neither recoloured", root, "--remove", "--recolour"),
        ("--lama is for --remove", root, "--recolour", "--lama", "x.onnx"),
        ("has no images", root, "--paste", tmp_path / "empty"),
        ("does not exist", tmp_path / "absent", "--remove"),
        ("has no images", tmp_path / "empty", "--remove"),
        ("--seed is -1", root, "--remove", "--seed", -1),
        ("--camera is for LeRobot", root, "--remove", "--camera", "top"),
    ):
        assert augment(source, out, *more) == 2, words
        said = capsys.readouterr().err
        assert words in said and len(said.splitlines()) == 1, said
        assert set(tmp_path.iterdir()) == there
    assert augment(root, root, "--remove") == 2
    assert "exists; it is not overwritten" in capsys.readouterr().err
    (root / "mask_gt" / "clip" / "000" / "00003.png").unlink()
    (root / "mask_gt" / "clip" / "002" / "00003.png").unlink()
    assert augment(root, out, "--remove", "--masks", "given") == 2
    assert "has not a mask of each of the 6 frames" in capsys.readouterr().err


def test_videos_of_lerobot_are_augmented_and_everything_else_is_the_same_bytes(tmp_path, monkeypatch):
    pytest.importorskip("pyarrow", reason="LeRobot data sets need the extra 'lerobot'")
    pytest.importorskip("av", reason="LeRobot data sets need the extra 'lerobot'")
    from lerobot_sets import make_v2, make_v3

    from robotseg_core.lerobot.layout import open_data_set
    from robotseg_core.lerobot.video import codec_of, read_frames

    for make in (make_v2, make_v3):
        root, out = make(tmp_path / make.__name__), tmp_path / f"{make.__name__}_out"
        assert augment(root, out, "--background", "colour", "--camera", "top") == 0
        before, made = files_of(root), files_of(out)
        changed = {name for name in before if made[name] != before[name]}
        assert changed == {n for n in before if n.startswith("videos/") and "observation.images.top/" in n}
        assert set(made) - set(before) == {"augment.json", "augment_contact_sheet.png"}
        data = open_data_set(out)
        for file, episodes in data.video_files("observation.images.top").items():
            old, new = list(read_frames(root / file)), list(read_frames(out / file))
            assert len(new) == len(old) == sum(e.length for e in episodes)
            assert codec_of(out / file) == codec_of(root / file) == "h264"
        videos = json.loads((out / "augment.json").read_text())["videos"]
        said = {name: clip for piece in videos.values() for name, clip in piece.items()}
        # One choice an episode.
        assert len({clip["background"] for clip in said.values()}) == len(data.episodes) == len(said)


def test_without_pyarrow_a_lerobot_data_set_is_refused_in_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "set" / "meta").mkdir(parents=True)
    (tmp_path / "set" / "meta" / "info.json").write_text("{}")
    monkeypatch.setitem(sys.modules, "robotseg_core.augment.lerobot", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert augment(tmp_path / "set", tmp_path / "out", "--remove") == 2
    assert "pip install pyarrow av" in capsys.readouterr().err
