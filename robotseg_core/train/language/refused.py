# SPDX-License-Identifier: Apache-2.0
"""Requests about no robot, arm or gripper: the small policy learns to say that it does not understand them."""

from __future__ import annotations

_THINGS = (
    "cup mug can bottle bowl plate box book ball apple orange lemon knife fork hammer screwdriver wrench drill table "
    "chair lamp door window wall floor person human man woman dog cat car tree cable keyboard monitor laptop phone "
    "shoe hat bag plant clock pen pencil scissors tape brick cube cylinder block drawer shelf tray basket"
).split()
_COLOURS = ("red", "green", "blue", "yellow", "black", "white")
_SAID = (
    "hello", "good morning", "how are you", "what is the time", "tell me a joke", "make me a coffee", "turn left",
    "go to the kitchen", "stop", "faster", "pick up the mug", "move forward", "what do you see", "who are you",
    "the weather", "play some music", "asdf", "qwerty uiop", "lorem ipsum dolor", "42", "why", "yes", "no", "maybe",
    "open the door", "close the window", "what colour is the sky", "nothing", "the thing", "it", "that", "something",
    "the shadow", "the reflection", "the light", "the background music", "print the log", "drop table users",
)  # fmt: skip
REFUSED: tuple[str, ...] = (
    *(f"the {thing}" for thing in _THINGS),
    *(f"segment the {thing}" for thing in _THINGS),
    *(f"the {colour} {thing}" for thing in _THINGS[::2] for colour in _COLOURS[::2]),
    *(f"the {thing} on the {side}" for thing in _THINGS[::3] for side in ("left", "right")),
    *_SAID,
    *_SAID,
)
"""What is said in them."""
