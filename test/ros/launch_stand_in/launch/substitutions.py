# SPDX-License-Identifier: Apache-2.0
"""Substitutions that our launch files use."""

from launch import perform


class LaunchConfiguration:
    def __init__(self, variable_name):
        self.variable_name = variable_name

    def perform(self, context):
        return context.configurations[self.variable_name]


class EnvironmentVariable:
    def __init__(self, name, *, default_value=None):
        self.name, self.default_value = name, default_value

    def perform(self, context):
        if self.name in context.environment:
            return context.environment[self.name]
        if self.default_value is None:
            raise LookupError(f"environment variable {self.name} is not set")
        return perform(self.default_value, context)
