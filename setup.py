# SPDX-License-Identifier: Apache-2.0
"""The pip way of installing: builds the messages with the same CMakeLists.txt that colcon uses.

The CMake build needs the ROS 2 wheels named in pyproject.toml.  Its Python modules go into the package robotseg_ros,
its libraries into ``<prefix>/lib`` (they carry no RPATH, the wheels search there) and its ``share`` into
``<prefix>/share``.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

from setuptools import Command, Distribution, find_packages, setup
from setuptools.command.build import build

ROOT = Path(__file__).resolve().parent
PACKAGE = "robotseg_ros"
INTERFACES = ("msg", "srv")


def ros_prefix() -> Path:
    """Prefix under which pip has put the ROS 2 wheels (a build environment of its own, when pip isolates builds)."""
    spec = importlib.util.find_spec("ament_package")
    if spec is None or spec.origin is None:
        raise RuntimeError("the ROS 2 build wheels are missing (ament_package cannot be imported); see pyproject.toml")
    site_packages = Path(spec.origin).parents[1]
    return site_packages.parents[2]


class BuildMessages(Command):
    """Configure, build and install CMakeLists.txt, then take over what it installed.

    A sub-command of its own and not a build_py of ours: for editable installs setuptools turns every error of a
    customised build_py into a warning.
    """

    description = "build the ROS messages with CMake"
    user_options: list[tuple[str, str | None, str]] = []

    def initialize_options(self) -> None:
        self.build_lib: str | None = None
        self.build_temp: str | None = None
        self.editable_mode = False

    def finalize_options(self) -> None:
        self.set_undefined_options("build", ("build_lib", "build_lib"), ("build_temp", "build_temp"))

    def run(self) -> None:
        prefix = self.build_with_cmake()
        generated = Path(next(prefix.glob(f"**/{PACKAGE}/msg/__init__.py"))).parents[1]
        target = ROOT / PACKAGE if self.editable_mode else Path(str(self.build_lib)) / PACKAGE
        for kind in INTERFACES:
            shutil.rmtree(target / kind, ignore_errors=True)
            shutil.copytree(generated / kind, target / kind, ignore=shutil.ignore_patterns("*.c", "__pycache__"))
        for extension in generated.glob("*.so"):
            shutil.copy2(extension, target)
        # In place: setuptools may have handed this list to its install command already.
        self.distribution.data_files[:] = [
            (str(file.parent.relative_to(prefix)), [os.path.relpath(file, ROOT)])
            for top in ("lib", "share")
            for file in sorted((prefix / top).rglob("*"))
            if file.is_file() and "site-packages" not in file.parts and "dist-packages" not in file.parts
        ]

    def build_with_cmake(self) -> Path:
        """Build and return the prefix that CMake installed into."""
        build_dir = ROOT / str(self.build_temp) / "cmake"
        install_dir = build_dir / "prefix"
        shutil.rmtree(build_dir, ignore_errors=True)
        ros = ros_prefix()
        environment = dict(os.environ, AMENT_PREFIX_PATH=str(ros))
        # The wheels' generators are scripts: "python3" must be this interpreter, also in an environment not activated.
        environment["PATH"] = os.pathsep.join([sysconfig.get_path("scripts"), str(ros / "bin"), os.environ["PATH"]])
        configure = [
            *("cmake", "-G", "Ninja", "-S", str(ROOT), "-B", str(build_dir)),
            f"-DCMAKE_PREFIX_PATH={ros}",
            f"-DCMAKE_INSTALL_PREFIX={install_dir}",
            f"-DCMAKE_PROJECT_INCLUDE={ROOT / 'cmake' / 'strip_foreign_includes.cmake'}",
            "-DCMAKE_BUILD_TYPE=Release",
            "-DBUILD_TESTING=OFF",
            f"-DPython3_EXECUTABLE={sys.executable}",
        ]
        subprocess.run(configure, check=True, env=environment)
        subprocess.run(["cmake", "--build", str(build_dir), "--target", "install"], check=True, env=environment)
        return install_dir

    def get_source_files(self) -> list[str]:
        return [
            "CMakeLists.txt",
            "package.xml",
            *(str(f.relative_to(ROOT)) for kind in INTERFACES for f in (ROOT / kind).glob("*.*")),
        ]

    def get_outputs(self) -> list[str]:
        return []

    def get_output_mapping(self) -> dict[str, str]:
        return {}


class BuildWithMessages(build):
    """``build`` with the messages as its last step."""

    sub_commands = [*build.sub_commands, ("build_messages", None)]


class PlatformDistribution(Distribution):
    """Marks the wheel as one for this platform and Python: the generated modules are compiled."""

    def has_ext_modules(self) -> bool:
        return True

    def has_data(self) -> bool:
        """Asked by editable_wheel alone, which leaves data_files out of editable installs without it."""
        return self.has_data_files()


setup(
    data_files=[],
    packages=find_packages(
        include=["robotseg_core", "robotseg_core.*", PACKAGE, f"{PACKAGE}.*"],
        exclude=[f"{PACKAGE}.{kind}*" for kind in INTERFACES],
    ),
    package_data={"robotseg_core.train.fast": ["*.cpp"]},
    distclass=PlatformDistribution,
    cmdclass={"build": BuildWithMessages, "build_messages": BuildMessages},
)
