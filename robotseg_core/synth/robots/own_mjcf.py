# SPDX-License-Identifier: Apache-2.0
"""What a model of somebody asks for, looked at before MuJoCo takes memory for it.

A few letters can stand for more than any memory holds: numbers that say how often something is made, files that include
or attach each other.  MuJoCo bounds none of them, and ends the process where a model attaches itself.
"""

from __future__ import annotations

import html
import math
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import mujoco

from robotseg_core.storage.documents import MOST_JSON, read_text

MOST_COPIES, MOST_PIXELS, MOST_BYTES = 100_000, 89 * 2**20, 2**30
"""Of what an MJCF file may ask for in numbers; all pictures together may have four times as many pixels."""
MOST_POINTS = 1_000_000
"""Of meshes that MuJoCo makes by itself."""
MOST_FILES, MOST_DEPTH = 100, 16
"""Files that are included or attached, one for each time, and how deep."""
MOST_SHADOW, MOST_SLICES = 16_384, 1000
"""Sides of the shadows' map in pixels, and pieces of what is drawn round."""
PNG = b"\x89PNG\r\n\x1a\n"
"""The packed pictures that MuJoCo reads."""
_ENDS = (("<!--", "-->"), ("<![CDATA[", "]]>"), ("<?", "?>"), ("<!", ">"))
_NEXT = re.compile("[>\"']")
_NAME = re.compile(r"\s*(/?)\s*([^\s/=\"'<>]+)")
_ATTRIBUTE = re.compile(r"([^\s=/\"'<>]+)\s*=\s*(?:\"([^\"]*)\"|'([^']*)')")
_WHOLE = re.compile(r"\s*\+?(\d{1,9})\s*")


@dataclass
class Asked:
    """What a file asks for, with all that it includes.

    Attributes:
        parts: elements that are made.
        copied: of them, those that stand for more than themselves.
        points: of meshes that are made by numbers.
        attached: how often another model is attached.
        largest: parts of the largest model that can be.
        models: whether there is one.
    """

    parts: int = 0
    copied: int = 0
    points: int = 0
    attached: int = 0
    largest: int = 0
    models: bool = False


@dataclass
class _Read:
    """Files that were read, one after the other; the same file counts each time."""

    files: int = 0
    size: int = 0
    chain: list[Path] = field(default_factory=list)


def scan(path: Path) -> Asked:
    """Look through an MJCF file and all that it includes or attaches, as MuJoCo finds them.

    Raises:
        ValueError: it asks for too much, goes round in a circle, or is no XML; the message says what and how much.
        FileNotFoundError: a file that it names is missing.
        OSError: a file cannot be read.
    """
    return _scan_model(path, _Read())


def _scan_model(path: Path, read: _Read) -> Asked:
    asked = Asked()
    _scan_file(path, path.parent, 1, asked, read)
    asked.parts += asked.attached * asked.largest
    asked.copied += asked.attached * asked.largest
    for words, size, most in (
        ("replicates parts {} times", asked.copied, MOST_COPIES),
        ("makes meshes of {} points", asked.points, MOST_POINTS),
    ):
        if size > most:
            raise ValueError(f"{path} {words.format(size)}, must be at most {most}")
    return asked


def _scan_file(path: Path, base: Path, times: int, asked: Asked, read: _Read) -> None:
    """Add what a file asks for that is made ``times`` times; ``base`` is the folder of the model's first file."""
    known = path.resolve()
    if known in read.chain:
        raise ValueError(f"{path} includes or attaches itself")
    read.files += 1
    if len(read.chain) > MOST_DEPTH or read.files > MOST_FILES + 1:
        first = read.chain[0]
        raise ValueError(f"{first} includes more than {MOST_FILES} files, or more than {MOST_DEPTH} in one another")
    text = read_text(path)
    read.size += len(text)
    if read.size > MOST_JSON:
        raise ValueError(f"{(read.chain or [path])[0]} has, with what it includes, more than {MOST_JSON >> 20} MiB")
    read.chain.append(known)
    inner = [times]
    for name, attributes, kind in _elements(path, text):
        if kind == "end":
            # What is closed too often MuJoCo refuses.
            inner = inner[:-1] if len(inner) > 1 else inner
            continue
        factor = inner[-1]
        if name == "replicate":
            inside = factor * _whole(path, name, "count", attributes)
        else:
            inside = factor
            _add(path, base, name, attributes, factor, asked, read)
        if kind == "begin":
            inner.append(inside)
    read.chain.pop()


def _add(path: Path, base: Path, name: str, attributes: dict[str, str], factor: int, asked: Asked, read: _Read) -> None:
    """Add one element, and what it brings from other files."""
    made = factor
    if name == "include":
        for file in _found(path, base, attributes):
            _scan_file(file, base, factor, asked, read)
        return
    if name == "model" and "file" in attributes:
        asked.models = True
        for file in _found(path, base, attributes):
            asked.largest = max(asked.largest, _scan_model(file, read).parts)
    elif name == "attach":
        asked.attached += factor
    elif name in ("composite", "flexcomp") and "count" in attributes:
        made *= math.prod(max(1, _whole(path, name, "count", {"count": n})) for n in attributes["count"].split())
    elif name == "hfield":
        points = math.prod(_whole(path, name, side, attributes) for side in ("nrow", "ncol") if side in attributes)
        if points > MOST_PIXELS:
            raise ValueError(f"{path} has a height field of {points} points, must be at most {MOST_PIXELS}")
    elif name == "mesh" and "params" in attributes:
        asked.points += _largest(path, attributes["params"]) ** 2
    asked.parts += made
    asked.copied += made if made > 1 else 0


def _found(path: Path, base: Path, attributes: dict[str, str]) -> list[Path]:
    """Where a file may lie that another one names: beside the model's first file, or beside the one that names it."""
    name = attributes.get("file", "")
    found = [folder / name for folder in dict.fromkeys((base, path.parent)) if (folder / name).exists()]
    if not found:
        raise FileNotFoundError(f"{path}: {name or 'a file without a name'} not found")
    return found if found[0].resolve() != found[-1].resolve() else found[:1]


def _whole(path: Path, element: str, name: str, attributes: dict[str, str]) -> int:
    match = _WHOLE.fullmatch(attributes.get(name, ""))
    if match is None:
        said = attributes.get(name, "nothing")[:40]
        raise ValueError(f"{path}: {name} of <{element}> is {said!r}, must be a whole number of 1 to 9 digits")
    return int(match[1])


def _largest(path: Path, params: str) -> int:
    try:
        return math.ceil(max((abs(float(n)) for n in params.split()), default=0.0))
    except (ValueError, OverflowError) as error:
        raise ValueError(f"{path}: params of <mesh> are {params[:40]!r}, must be numbers") from error


def _elements(path: Path, text: str) -> Iterator[tuple[str, dict[str, str], str]]:
    """Name, attributes and kind (``begin``, ``end``, ``empty``) of the tags of a text, read as MuJoCo's parser does.

    That one is more patient than XML's rules: what Python's parser refuses, robots are made of.
    """
    at = 0
    while (start := text.find("<", at)) >= 0:
        for opening, closing in _ENDS:
            if text.startswith(opening, start):
                at = _after(path, text, closing, start + len(opening))
                break
        else:
            at = start + 1
            while (match := _NEXT.search(text, at)) is not None and match[0] != ">":
                at = _after(path, text, match[0], match.end())
            if match is None:
                raise ValueError(f"{path} is no XML: a tag has no end")
            at = match.end()
            body = text[start + 1 : match.start()]
            named = _NAME.match(body)
            if named is None:
                raise ValueError(f"{path} is no XML: a tag has no name")
            attributes = {key: html.unescape(one or other) for key, one, other in _ATTRIBUTE.findall(body, named.end())}
            kind = "end" if named[1] else "empty" if body.endswith("/") else "begin"
            yield named[2], attributes, kind


def _after(path: Path, text: str, closing: str, start: int) -> int:
    end = text.find(closing, start)
    if end < 0:
        raise ValueError(f"{path} is no XML: {closing} is missing")
    return end + len(closing)


def check_spec(path: Path, spec: mujoco.MjSpec) -> None:
    """Look at the numbers of a specification for which memory would be taken when it is compiled.

    Raises:
        ValueError: one is too large; the message says what, how much and the limit.
    """
    counts = {
        "body": spec.bodies, "jnt": spec.joints, "geom": spec.geoms, "site": spec.sites, "cam": spec.cameras,
        "tendon": spec.tendons, "actuator": spec.actuators, "sensor": spec.sensors,
    }  # fmt: skip
    user = spec.nuserdata + sum(max(getattr(spec, f"nuser_{k}"), 0) * len(list(v)) for k, v in counts.items())
    quality = spec.visual.quality
    pictures = _pictures(path, spec)
    for what, size, most in (
        *(("a texture of {} pixels", pixels, MOST_PIXELS) for pixels in pictures),
        ("textures of {} pixels", sum(pictures), 4 * MOST_PIXELS),
        ("meshes in files of {} bytes", _mesh_bytes(path, spec), MOST_BYTES),
        ("{} bytes of memory", max(spec.memory, 8 * spec.nstack), MOST_BYTES),
        ("{} numbers of user data", user, MOST_COPIES),
        ("{} key frames", spec.nkey, MOST_COPIES),
        ("{} constraints", max(spec.njmax, spec.nconmax, spec.nemax), MOST_COPIES),
        ("{} numbers of sensors", sum(max(s.dim, 0) for s in spec.sensors), MOST_COPIES),
        ("{} numbers of actuators", sum(max(a.actdim, 0) + max(a.nsample, 0) for a in spec.actuators), MOST_COPIES),
        ("shadows of {} pixels a side", quality.shadowsize, MOST_SHADOW),
        ("{} pieces of what is round", max(quality.numslices, quality.numstacks, quality.numquads), MOST_SLICES),
    ):
        if size > most:
            raise ValueError(f"{path} has {what.format(size)}, must be at most {most}")


def _pictures(path: Path, spec: mujoco.MjSpec) -> list[int]:
    """Pixels of each texture, and of each picture that is a height field, by the headers of their files."""
    files = [name for t in spec.textures for name in (t.file, *t.cubefiles) if name]
    files += [h.file for h in spec.hfields if h.file]
    sizes = [t.width * t.height for t in spec.textures]
    for name in files:
        try:
            with (path.parent / spec.texturedir / name).open("rb") as picture:
                head = picture.read(24)
        except OSError:
            # Of an attached model, or missing: MuJoCo finds it, or says that it does not.
            continue
        if head.startswith(PNG) and len(head) == 24:
            sizes.append(math.prod(struct.unpack(">II", head[16:])))
    return sizes


def _mesh_bytes(path: Path, spec: mujoco.MjSpec) -> int:
    files = [path.parent / spec.meshdir / mesh.file for mesh in spec.meshes if mesh.file]
    return sum(file.stat().st_size for file in files if file.is_file())
