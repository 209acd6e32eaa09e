# SPDX-License-Identifier: Apache-2.0
"""Typed parameter values."""

import yaml
from launch import perform


class ParameterValue:
    def __init__(self, value, *, value_type=None):
        self.value, self.value_type = value, value_type

    def evaluate(self, context):
        text = perform(self.value, context)
        value = text if self.value_type is str else yaml.safe_load(text)
        if self.value_type is not None and not isinstance(value, self.value_type):
            raise ValueError(f"{text!r} is no {self.value_type.__name__}")
        return value
