# SPDX-License-Identifier: Apache-2.0
"""Stand-in for the ROS 2 package ``launch``, which is in no Python registry: only what our launch files use.

Signatures follow the genuine package: what works here must work there.
"""


class LaunchDescription:
    def __init__(self, initial_entities=None):
        self.entities = list(initial_entities or [])


class LaunchContext:
    """Arguments given by the user, and the environment that the launched processes get."""

    def __init__(self, arguments, environment):
        self.given = dict(arguments)
        self.configurations = {}
        self.environment = dict(environment)


def perform(value, context):
    """Evaluate a string, a substitution, or a list of them."""
    if isinstance(value, str):
        return value
    if isinstance(value, (list, tuple)):
        return "".join(perform(part, context) for part in value)
    return value.perform(context)
