# SPDX-License-Identifier: Apache-2.0
"""Frames of several cameras through the encoder at once: each stream gets what it would get alone."""

from __future__ import annotations

import time
from dataclasses import astuple

import numpy as np
import pytest
import torch
from small_models import SMALL, moving_frames, small_model
from tiny_base import TINY

from robotseg_core import cli
from robotseg_core.backends.onnxruntime_encoder import OnnxEncoder
from robotseg_core.backends.torch_encoder import TorchEncoder
from robotseg_core.bench.knobs import batches
from robotseg_core.config import MAX_BATCH
from robotseg_core.stream.robotseg import RobotSeg

CPU = torch.device("cpu")
CAMERAS = 3


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp()))


def loaded(backend, config=SMALL):
    model = small_model(config=config)
    encoder = TorchEncoder(model, CPU) if backend == "torch" else OnnxEncoder(model, threads=1)
    return RobotSeg(model, encoder, CPU, "random", graphs=backend == "onnxruntime")


@pytest.mark.parametrize("config", [SMALL, TINY], ids=["conv", "hiera"])
@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_features_of_a_batch_are_those_of_its_frames(backend, config):
    encoder = loaded(backend, config).encoder
    size = config.image_size
    for count in (2, CAMERAS):
        images = torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(0))
        with torch.inference_mode():
            together = encoder.encode(images)
            alone = [encoder.encode(image[None]) for image in images]
        for name in ("h4", "h8", "f16"):
            expected = torch.cat([getattr(features, name) for features in alone])
            torch.testing.assert_close(getattr(together, name), expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("backend", ["torch", "onnxruntime"])
def test_masks_of_several_cameras_are_those_of_each_alone(backend):
    robotseg = loaded(backend)
    together, alone = ([robotseg.stream() for _ in range(CAMERAS)] for _ in range(2))
    # Cameras of different sizes, each with a picture of its own.
    videos = [moving_frames(30, 60 + 8 * i, 80 + 16 * i)[7 * i :] for i in range(CAMERAS)]
    seen = 0
    for stamp in range(8):
        frames = [video[stamp] for video in videos]
        # Not always all of them: a batch is of those that wait.
        waiting = [i for i in range(CAMERAS) if (stamp + i) % 4]
        encoded = robotseg.encode_frames([frames[i] for i in waiting])
        for i, frame in zip(waiting, encoded, strict=True):
            answer, expected = together[i].step_encoded(frame, stamp), alone[i].step(frames[i], stamp)
            assert (answer.stamp, answer.state) == (stamp, expected.state)
            logits, wanted = (stream[i]._last.answer.logits for stream in (together, alone))
            torch.testing.assert_close(logits, wanted, atol=1e-3, rtol=1e-3)
            for mask, other in zip(answer.parts, expected.parts, strict=True):
                assert mask.mask.shape == frames[i].shape[:2] and mask.score == pytest.approx(other.score, abs=1e-4)
                # A pixel on the border may fall to either side.
                assert np.mean(mask.mask != other.mask) <= 1e-3
                seen += mask.present
    assert seen > 20


def test_times_of_a_batch_are_the_encoders_in_full_and_each_frames_own():
    robotseg = loaded("torch")

    class Slow:
        name, max_batch = "torch", None

        def encode(self, image):
            time.sleep(0.05)
            return sound.encode(image)

    sound, robotseg.encoder = robotseg.encoder, Slow()
    first, second = robotseg.stream(), robotseg.stream()
    began = time.perf_counter()
    one, two = robotseg.encode_frames(moving_frames(2))
    encoding = 1e3 * (time.perf_counter() - began)
    first.step_encoded(one)
    # The second waits for the first camera's turn, which is no stage of its own.
    time.sleep(0.5)
    began = time.perf_counter()
    times = second.step_encoded(two).stage_ms
    stepping = 1e3 * (time.perf_counter() - began)
    assert 50 <= times.encoder <= encoding and 0 < times.preprocess < encoding
    assert sum(astuple(times)) <= encoding + stepping


def test_what_cannot_be_encoded_together_is_refused_and_the_streams_stay_as_they_were():
    robotseg = loaded("torch")
    stream = robotseg.stream()
    good = moving_frames(2)
    stream.step(good[0])
    before = stream.bank.features.clone()
    with pytest.raises(ValueError, match=r"frame has shape \(60, 80\)"):
        robotseg.encode_frames([good[1], good[1][..., 0]])
    robotseg.encoder.max_batch = 1
    with pytest.raises(ValueError, match=r"2 frames at once, the encoder \(torch\) takes 1 at most"):
        robotseg.encode_frames(good)
    assert torch.equal(stream.bank.features, before)
    stream.step(good[1])


def test_a_wrong_largest_batch_is_refused_before_anything_is_loaded():
    for wrong in (0, MAX_BATCH + 1):
        with pytest.raises(ValueError, match=f"encoder_batch is {wrong}, must be 1 to 8"):
            RobotSeg.load("nano", device="cpu", encoder_batch=wrong)


def test_bench_tells_what_a_batch_is_worth(capsys):
    batches(loaded("torch"), moving_frames(3), CAMERAS, 2)
    said = capsys.readouterr().out
    assert said.startswith("encoder (torch), 3 images: one by one ") and said.count("ratio") == 1
    assert cli.main(["bench", "--batch", "9"]) == 2
    assert "--batch is 9, must be 1 to 8" in capsys.readouterr().err
