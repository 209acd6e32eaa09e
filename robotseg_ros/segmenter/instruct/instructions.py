# SPDX-License-Identifier: Apache-2.0
"""Requests in words of one camera: answered at once on the last image, followed by the inference thread.

The service's thread asks the policy about the masks that were made of the last image, and about the features that the
encoder had made of it: the segmenter does not run there, so the stream goes on.  The inference thread then shows that
image to the target's own memory, which costs one image's encoding once, and follows it on every image from then on.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from robotseg_core.instruct.follow import FollowedModel, FollowedTarget, Follower
from robotseg_core.instruct.prompt_set import Answer, Policy, PromptSet, View
from robotseg_core.instruct.request import Request, RequestError
from robotseg_core.instruct.rules import RulesPolicy
from robotseg_core.types import PartMasks
from robotseg_ros.segmenter.hints import SeenImage


class EncodingModel(FollowedModel, Protocol):
    """What is needed of the node's model."""

    def encode_frames(self, frames: Sequence[NDArray[np.uint8]]) -> Sequence[Any]:
        """Frames through the encoder."""
        ...


@dataclass(frozen=True)
class Reply:
    """An answer to a request; ``forgotten``: it was asked to follow nothing."""

    prompts: PromptSet
    image: SeenImage | None
    score: float = 0.0
    forgotten: bool = False


@dataclass(frozen=True)
class _Wish:
    """What the inference thread is to follow; ``image`` None: nothing."""

    request: Request
    prompts: PromptSet
    image: SeenImage | None


class Instructions:
    """The target of one camera.

    Args:
        model: of the node.
        policy: who reads the requests; it looks at masks and features that are there already, so it is fast.
    """

    def __init__(self, model: EncodingModel, policy: Policy | None = None) -> None:
        self._model, self._policy = model, policy or RulesPolicy()
        self._follower = Follower(model)
        self._lock = threading.Lock()
        self._last: tuple[SeenImage, View] | None = None
        self._wish: _Wish | None = None
        self._prompts = PromptSet(Answer.NONE)
        self._found = 0

    def ask(self, text: str) -> Reply:
        """Answer a request on the last image; from any thread.

        What is not found or not understood ends the following, as :data:`~robotseg_core.instruct.request.FORGET` does.

        Raises:
            RequestError: it is too long or empty, or no image has been worked on yet; the target before stays.
        """
        request = Request.of(text)
        if request.forgets:
            with self._lock:
                self._wish = _Wish(request, PromptSet(Answer.NONE), None)
            return Reply(PromptSet(Answer.NONE), None, forgotten=True)
        with self._lock:
            last = self._last
        if last is None:
            raise RequestError("no image has been worked on yet")
        image, view = last
        parts = view.parts
        prompts = self._policy.answer(request, view)
        found = prompts.answer is Answer.FOUND
        with self._lock:
            # Another thread may have forgotten all images meanwhile: what was found on them is forgotten, too.
            if self._last is None:
                raise RequestError("the images before have been forgotten meanwhile")
            self._wish = _Wish(request, prompts, image if found else None)
        return Reply(prompts, image, parts[prompts.part].score if found else 0.0)

    def reset(self) -> None:
        """Take no request until the next image; the target goes with :meth:`forget` then.  From any thread."""
        with self._lock:
            self._last = self._wish = None

    def forget(self) -> None:
        """Forget target and images: what comes is of another time.  Called by the inference thread."""
        with self._lock:
            self._last = self._wish = None
        self._follower.forget()

    @property
    def wants_features(self) -> bool:
        """Whether the next image is to come encoded: a target is followed, or will be, or the policy reads features."""
        return self._policy.reads_features or self._follower.following or self._wish is not None

    def encode(self, rgb: NDArray[np.uint8]) -> Any:
        """An image [H, W, 3] through the encoder."""
        (encoded,) = self._model.encode_frames([rgb])
        return encoded

    def step(self, rgb: NDArray[np.uint8], encoded: Any, result: PartMasks) -> FollowedTarget | None:
        """The target in an image; None: nothing is followed.  Called by the inference thread.

        Args:
            rgb: the image.
            encoded: the same, where :attr:`wants_features` said so before.
            result: the stream's answer.
        """
        view = View(rgb, result, None if encoded is None else self._policy.look(encoded, result))
        with self._lock:
            wish, self._wish = (self._wish, None) if encoded is not None else (None, self._wish)
            self._last = (SeenImage(result.stamp, rgb), view)
        if wish is not None:
            self._follower.forget()
            if wish.image is not None:
                self._follower.follow(wish.request, wish.prompts, self.encode(wish.image.rgb), wish.image.stamp)
                self._prompts, self._found = wish.prompts, wish.image.stamp
        if not self._follower.following:
            return None
        target = self._follower.step(encoded, result)
        return None if target is None else FollowedTarget(target, self._prompts.invert, self._found)
