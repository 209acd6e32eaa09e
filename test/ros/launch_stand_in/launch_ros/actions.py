# SPDX-License-Identifier: Apache-2.0
"""The node action: makes the command line that the genuine one starts."""

import tempfile
from pathlib import Path

import yaml
from launch import perform


class Node:
    def __init__(
        self,
        *,
        package,
        executable,
        name=None,
        namespace=None,
        parameters=None,
        ros_arguments=None,
        respawn=False,
        respawn_delay=None,
        output="log",
    ):
        self.package, self.executable = package, executable
        self.ros_arguments, self.respawn, self.respawn_delay = ros_arguments or [], respawn, respawn_delay
        self.name, self.namespace = name, namespace
        self.parameters, self.output = parameters or [], output

    def execute(self, context):
        """Set ``command``, the arguments after the executable's path, as launch_ros makes them."""
        # The genuine one keeps this order: what SetParameter says would come before the parameters.
        command = ["--ros-args", *self.ros_arguments]
        if self.name is not None:
            command += ["-r", f"__node:={perform(self.name, context)}"]
        namespace = perform(self.namespace, context) if self.namespace is not None else ""
        if namespace:
            # launch_ros makes it absolute as well.
            command += ["-r", f"__ns:=/{namespace.lstrip('/')}"]
        for parameters in self.parameters:
            command += ["--params-file", self._file(parameters, context)]
        self.command = command

    @staticmethod
    def _file(parameters, context):
        if not isinstance(parameters, dict):
            path = perform(parameters, context)
            if not Path(path).is_file():
                raise RuntimeError(f"parameter file {path} does not exist")
            return path
        values = {
            name: value.evaluate(context) if hasattr(value, "evaluate") else value for name, value in parameters.items()
        }
        with tempfile.NamedTemporaryFile("w", prefix="launch_params_", suffix=".yaml", delete=False) as file:
            yaml.safe_dump({"/**": {"ros__parameters": values}}, file)
        return file.name
