# SPDX-License-Identifier: Apache-2.0
"""A request in words as it comes from outside: any bytes, checked once, never executed, printed only escaped."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

MAX_CHARACTERS = 200
"""Of a request: about four times the longest one that the phrasings of rendered scenes make."""
MAX_BYTES = 800
"""Of a request as UTF-8, looked at before anything else is done with it."""
FORGET = frozenset({"forget", "forget it", "forget the target", "stop following", "follow nothing"})
"""What ends the following of a target; no policy is asked."""


class RequestError(ValueError):
    """A request that is refused before any policy sees it; the message says why."""


@dataclass(frozen=True)
class Request:
    """What somebody asks for.

    Attributes:
        text: 1 to :data:`MAX_CHARACTERS` characters, NFKC, one blank between words, no control characters.
    """

    text: str

    @classmethod
    def of(cls, given: str | bytes) -> Request:
        """Check and clean a request.

        Bytes that are no UTF-8 become replacement characters, control and formatting characters blanks.

        Raises:
            RequestError: it is too long, or nothing is left of it.
        """
        raw = given if isinstance(given, bytes) else given.encode("utf-8", "replace")
        if len(raw) > MAX_BYTES:
            raise RequestError(f"the request has {len(raw)} bytes, must have at most {MAX_BYTES}")
        text = unicodedata.normalize("NFKC", raw.decode("utf-8", "replace"))
        text = " ".join("".join(" " if unicodedata.category(c)[0] in "CZ" else c for c in text).split())
        if not text:
            raise RequestError("the request is empty")
        if len(text) > MAX_CHARACTERS:
            raise RequestError(f"the request has {len(text)} characters, must have at most {MAX_CHARACTERS}")
        return cls(text)

    @property
    def forgets(self) -> bool:
        """Whether it asks for nothing any more."""
        return self.text.lower().strip(" .!") in FORGET

    def __str__(self) -> str:
        """For logs and messages: quoted, ASCII, everything else escaped."""
        return ascii(self.text)
