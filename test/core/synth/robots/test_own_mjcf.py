# SPDX-License-Identifier: Apache-2.0
"""An MJCF file is looked through with all that it includes or attaches, before MuJoCo takes memory for it."""

import os
import struct
import zlib

import pytest

pytest.importorskip("robotseg_core.synth")
pytest.importorskip("mujoco", reason="the renderer needs mujoco: install the 'synth' extra")

from robotseg_core.synth.robots import own_mjcf  # noqa: E402
from robotseg_core.synth.robots.catalog import OwnRobot  # noqa: E402
from robotseg_core.synth.robots.own_mjcf import scan  # noqa: E402
from robotseg_core.synth.robots.own_robot import read_own  # noqa: E402

ARM = '<worldbody><body name="a"><joint name="j"/><geom type="box" size=".1 .1 .1"/></body></worldbody>'
TETRAHEDRON = "v 0 0 0\nv 0.1 0 0\nv 0 0.1 0\nv 0 0 0.1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n"
MILLION = (
    '<worldbody><replicate count="1000"><replicate count="1000"><geom size=".1"/></replicate></replicate></worldbody>'
)


def write(folder, **files):
    """Files of MJCF by name, each with the arm; ``__`` stands for a folder."""
    for name, inside in files.items():
        file = folder / f"{name.replace('__', '/')}.xml"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"<mujoco>{inside}</mujoco>")
    return folder / "main.xml"


def read(path):
    return read_own(OwnRobot(path, False, ()))


def test_what_robots_are_made_of_is_read_with_its_includes(tmp_path):
    main = write(
        tmp_path,
        main='<!-- ---- an arm ---- --><include file="sub/one.xml"/>'
        '<asset><model name="m" file="tools/hand.xml"/></asset>'
        '<worldbody><body name="flange"><attach model="m" body="hand" prefix="x"/></body></worldbody>',
        sub__one='<include file="two.xml"/><include file="sub/three.xml"/>',
        sub__two=ARM,
        sub__three='<asset><texture name="t > &amp; s" type="2d" builtin="flat" width="8" height="8"/></asset>',
        tools__hand='<compiler meshdir="mesh"/><asset><mesh name="z" file="z.obj"/></asset>'
        '<worldbody><body name="hand"><geom type="mesh" mesh="z"/></body></worldbody>',
    )
    (tmp_path / "tools" / "mesh").mkdir()
    (tmp_path / "tools" / "mesh" / "z.obj").write_text(TETRAHEDRON)
    model = read(main).compile()
    assert {model.body(i).name for i in range(model.nbody)} == {"world", "a", "flange", "xhand"}
    # Beside each other, parts add up; within each other, they multiply.
    three = "".join(f'<replicate count="60" offset="{i} 0 0"><geom size=".1"/></replicate>' for i in range(1, 4))
    assert scan(write(tmp_path, main=f'<worldbody><body name="b">{three}</body></worldbody>')).copied == 180


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({"main": '<include file="b.xml"/>', "b": MILLION}, "main.xml replicates parts 1000000 times"),
        ({"main": '<include file="sub/b.xml"/>', "sub__b": '<include file="c.xml"/>', "sub__c": MILLION}, "1000000"),
        (
            {
                "main": '<worldbody><replicate count="1000"><include file="b.xml"/></replicate></worldbody>',
                "b": '<replicate count="1000"><geom size=".1"/></replicate>',
            },
            "main.xml replicates parts 1001000 times, must be at most 100000",
        ),
        ({"main": '<asset><model name="m" file="b.xml"/></asset>', "b": MILLION}, "b.xml replicates parts 1000000"),
        (
            {
                "main": '<asset><model name="m" file="b.xml"/></asset><worldbody><replicate count="30000">'
                '<frame><attach model="m" body="a"/></frame></replicate></worldbody>',
                "b": ARM,
            },
            "main.xml replicates parts 210000 times",
        ),
        (
            {
                "main": '<include file="b.xml"/>',
                "b": '<asset><hfield name="t" nrow="60000" ncol="60000" size="1 1 1 1"/></asset>',
            },
            "b.xml has a height field of 3600000000 points",
        ),
        (
            {
                "main": '<include file="b.xml"/>',
                "b": '<asset><texture name="t" type="2d" builtin="flat" width="60000" height="60000"/></asset>',
            },
            "main.xml has a texture of 3600000000 pixels",
        ),
        ({"main": '<include file="b.xml"/>', "b": '<size memory="1000G"/>'}, "1073741824000 bytes of memory"),
        # What the reader of the file would take for something else.
        ({"main": MILLION.replace('"1000"', '"&#49;000"')}, "1000000"),
        ({"main": MILLION.replace('"1000"', '"1e3"')}, "count of <replicate> is '1e3', must be a whole number"),
        ({"main": MILLION.replace("<replicate", "< replicate")}, "1000000"),
        ({"main": '<body name="<!--"/>' + MILLION + '<body name="-->"/>'}, "1000000"),
        ({"main": "<!-- <a -->" + MILLION}, "1000000"),
    ],
)
def test_files_that_are_included_or_attached_count_like_the_first(tmp_path, files, words):
    with pytest.raises(ValueError, match=words):
        read(write(tmp_path, **{"main": "", **{k: v + ARM * (k == "main") for k, v in files.items()}}))


@pytest.mark.parametrize(
    "files",
    [
        {"main": '<include file="main.xml"/>'},
        {"main": '<include file="b.xml"/>', "b": '<include file="./main.xml"/>'},
        # MuJoCo would end the process.
        {"main": '<asset><model name="m" file="main.xml"/></asset>'},
        {"main": '<asset><model name="m" file="b.xml"/></asset>', "b": '<asset><model file="main.xml"/></asset>'},
    ],
)
def test_no_file_goes_round_in_a_circle(tmp_path, files):
    with pytest.raises(ValueError, match=r"main\.xml includes or attaches itself"):
        read(write(tmp_path, **files))


def test_how_many_files_and_how_deep_is_limited(tmp_path, monkeypatch):
    chain = {f"f{i}": f'<include file="f{i + 1}.xml"/>' for i in range(20)}
    with pytest.raises(ValueError, match=r"main\.xml includes more than 100 files, or more than 16 in one another"):
        read(write(tmp_path, main='<include file="f0.xml"/>', **chain, f20=""))
    wide = {f"g{i}": "<option/>" for i in range(101)}
    for count, refused in ((100, False), (101, True)):
        main = write(tmp_path, main=ARM + "".join(f'<include file="g{i}.xml"/>' for i in range(count)), **wide)
        if refused:
            with pytest.raises(ValueError, match=r"main\.xml includes more than 100 files"):
                read(main)
        else:
            assert read(main).compile().njnt == 1
    # Models that attach each other often: each doubles the work of looking, and multiplies what is made.
    twice = "".join(f'<asset><model name="{n}" file="h{{0}}.xml"/></asset>' for n in "xy")
    with pytest.raises(ValueError, match="includes more than 100 files"):
        read(write(tmp_path, main=twice.format(0), **{f"h{i}": twice.format(i + 1) for i in range(12)}, h12=ARM))
    monkeypatch.setattr(own_mjcf, "MOST_JSON", 3000)
    with pytest.raises(ValueError, match=r"main\.xml has, with what it includes, more than 0 MiB"):
        read(write(tmp_path, main='<include file="b.xml"/>' + " " * 2000, b=" " * 2000))


def test_what_is_included_is_a_file_that_is_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"main\.xml: gone\.xml not found"):
        read(write(tmp_path, main='<include file="gone.xml"/>'))
    os.mkfifo(tmp_path / "pipe.xml")
    with pytest.raises(ValueError, match=r"pipe\.xml is no file"):
        read(write(tmp_path, main='<include file="pipe.xml"/>'))
    for broken in ('<geom name="a', "<!-- ", "< >"):
        with pytest.raises(ValueError, match="is no XML"):
            read(write(tmp_path, main='<include file="b.xml"/>', b=broken))


@pytest.mark.parametrize(
    ("inside", "words"),
    [
        (
            '<worldbody><body><composite type="cable" count="900000 1 1" size="1"><geom type="capsule" size=".01"/>'
            "</composite></body></worldbody>",
            "replicates parts 900000 times",
        ),
        (
            '<worldbody><body><flexcomp name="f" type="grid" count="500 500 500" spacing=".1 .1 .1" dim="3"/></body>'
            "</worldbody>",
            "replicates parts 125000000 times",
        ),
        ('<asset><mesh name="m" builtin="supersphere" params="20000 1 1"/></asset>', "meshes of 400000000 points"),
        ('<size nuser_body="2000000000"/>', "4000000000 numbers of user data"),
        ('<size njmax="2000000000"/>', "2000000000 constraints"),
        ('<size nstack="2000000000"/>', "16000000000 bytes of memory"),
        ('<sensor><user name="u" dim="2000000000"/></sensor>', "2000000000 numbers of sensors"),
        ('<actuator><general joint="j" dyntype="user" actdim="2000000"/></actuator>', "2000000 numbers of actuators"),
        ('<visual><quality shadowsize="1000000"/></visual>', "shadows of 1000000 pixels a side"),
        ('<visual><quality numslices="1000000"/></visual>', "1000000 pieces of what is round"),
        ('<asset><texture name="t" type="2d" file="t.png"/></asset>', "a texture of 100000000 pixels"),
        ('<asset><hfield name="t" file="t.png" size="1 1 1 1"/></asset>', "a texture of 100000000 pixels"),
    ],
)
def test_numbers_that_memory_is_taken_for_have_limits(tmp_path, inside, words):
    head = b"IHDR" + struct.pack(">IIBBBBB", 10_000, 10_000, 8, 2, 0, 0, 0)
    chunk = struct.pack(">I", len(head) - 4) + head + struct.pack(">I", zlib.crc32(head))
    (tmp_path / "t.png").write_bytes(b"\x89PNG\r\n\x1a\n" + chunk)
    with pytest.raises(ValueError, match=rf"main\.xml .*{words}, must be at most"):
        read(write(tmp_path, main=inside + ARM))


def test_a_mesh_that_is_named_often_is_counted_often(tmp_path, monkeypatch):
    monkeypatch.setattr(own_mjcf, "MOST_BYTES", 10 * len(TETRAHEDRON))
    (tmp_path / "z.obj").write_text(TETRAHEDRON)
    for count, refused in ((10, False), (11, True)):
        meshes = "".join(f'<mesh name="m{i}" file="z.obj"/>' for i in range(count))
        main = write(tmp_path, main=f"<asset>{meshes}</asset>{ARM}")
        if refused:
            with pytest.raises(ValueError, match="meshes in files of"):
                read(main)
        else:
            assert read(main).compile().nmesh == 10


def test_meshes_of_a_urdf_are_counted_too(tmp_path, monkeypatch):
    (tmp_path / "z.obj").write_text(TETRAHEDRON)
    urdf = tmp_path / "arm.urdf"
    seen = '<visual><geometry><mesh filename="z.obj"/></geometry></visual>'
    urdf.write_text(f'<robot name="r"><link name="a">{seen}</link></robot>')
    assert read_own(OwnRobot(urdf, True, ())).compile().nmesh == 1
    monkeypatch.setattr(own_mjcf, "MOST_BYTES", len(TETRAHEDRON) - 1)
    with pytest.raises(ValueError, match=r"arm\.urdf has meshes in files of \d+ bytes"):
        read_own(OwnRobot(urdf, True, ()))
