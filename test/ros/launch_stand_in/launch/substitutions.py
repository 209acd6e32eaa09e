# SPDX-License-Identifier: Apache-2.0
"""Substitutions that our launch files use."""


class LaunchConfiguration:
    def __init__(self, variable_name):
        self.variable_name = variable_name

    def perform(self, context):
        return context.configurations[self.variable_name]
