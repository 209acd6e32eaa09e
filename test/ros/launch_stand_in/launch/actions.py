# SPDX-License-Identifier: Apache-2.0
"""Actions that our launch files use."""

from launch import perform


class DeclareLaunchArgument:
    def __init__(self, name, *, default_value=None, description="no description given", choices=None):
        self.name, self.default_value = name, default_value
        self.description, self.choices = description, choices

    def execute(self, context):
        value = context.given.pop(self.name, None)
        value = perform(self.default_value, context) if value is None else value
        if self.choices is not None and value not in self.choices:
            raise RuntimeError(f"argument {self.name} is {value!r}, must be one of {self.choices}")
        context.configurations[self.name] = value


class OpaqueFunction:
    def __init__(self, *, function):
        self.function = function

    def execute(self, context):
        self.entities = list(self.function(context) or [])
        for entity in self.entities:
            entity.execute(context)


class SetEnvironmentVariable:
    def __init__(self, name, value):
        self.name, self.value = name, value

    def execute(self, context):
        context.environment[perform(self.name, context)] = perform(self.value, context)
