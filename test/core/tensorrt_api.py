# SPDX-License-Identifier: Apache-2.0
"""What tensorrt_encoder.py uses of TensorRT's Python API, and a check of it against genuine bindings.

Run as a program it checks the module ``tensorrt_bindings`` that it can import, and prints what does not conform.
"""

from __future__ import annotations

import ast
import ctypes
import importlib
import re
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

SOURCE = Path(__file__).parents[2] / "robotseg_core" / "backends" / "tensorrt_encoder.py"

OBJECTS = {
    "builder": "Builder",
    "network": "INetworkDefinition",
    "parser": "OnnxParser",
    "config": "IBuilderConfig",
    "profile": "IOptimizationProfile",
    "plan": "IHostMemory",
    "runtime": "Runtime",
    "engine": "ICudaEngine",
    "context": "IExecutionContext",
}
"""Variables of tensorrt_encoder.py that hold objects of TensorRT, and their classes."""

CALLS: dict[str, tuple[list[str], str]] = {
    "Logger.__init__": (["Severity"], "None"),
    "Builder.__init__": (["ILogger"], "None"),
    "Builder.create_network": (["int|SupportsInt"], "INetworkDefinition"),
    "Builder.create_builder_config": ([], "IBuilderConfig"),
    "Builder.create_optimization_profile": ([], "IOptimizationProfile"),
    "Builder.build_serialized_network": (["INetworkDefinition", "IBuilderConfig"], "IHostMemory"),
    "IBuilderConfig.clear_flag": (["BuilderFlag"], "None"),
    "IBuilderConfig.add_optimization_profile": (["IOptimizationProfile"], "int"),
    "IOptimizationProfile.set_shape": (["str", "Dims", "Dims", "Dims"], "None"),
    "OnnxParser.__init__": (["INetworkDefinition", "ILogger"], "None"),
    "OnnxParser.parse_from_file": (["str"], "bool"),
    "OnnxParser.get_error": (["int|SupportsInt"], "IParserError"),
    "ParserError.desc": ([], "str"),
    "Runtime.__init__": (["ILogger"], "None"),
    "Runtime.deserialize_cuda_engine": (["buffer|Buffer"], "ICudaEngine"),
    "ICudaEngine.create_execution_context": ([], "IExecutionContext"),
    "ICudaEngine.get_tensor_shape": (["str"], "Dims"),
    "IExecutionContext.set_input_shape": (["str", "Dims"], "bool"),
    "IExecutionContext.set_tensor_address": (["str", "int|SupportsInt"], "bool"),
    "IExecutionContext.execute_async_v3": (["int|SupportsInt"], "bool"),
}
"""Calls: types of the positional arguments (last part of the name, alternatives with |) and of the result."""

VALUES = {
    "__version__": str,
    "Logger.WARNING": object,
    "NetworkDefinitionCreationFlag.STRONGLY_TYPED": object,
    "BuilderFlag.TF32": object,
    "OnnxParser.num_errors": property,
}
"""Everything else that is read, and what it must be."""


def names_in_use() -> set[str]:
    """Every name of TensorRT's API that the source mentions, as ``Class.member``; found by its variables' names."""
    names = set()
    for node in ast.walk(ast.parse(SOURCE.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Attribute):
            continue
        owner = node.value
        if isinstance(owner, ast.Name) and owner.id in OBJECTS:
            names.add(f"{OBJECTS[owner.id]}.{node.attr}")
        elif isinstance(owner, ast.Name) and owner.id == "trt":
            names.add(node.attr)
        elif isinstance(owner, ast.Attribute) and isinstance(owner.value, ast.Name) and owner.value.id == "trt":
            names.add(f"{owner.attr}.{node.attr}")
        elif isinstance(owner, ast.Call) and ast.unparse(owner.func) == "parser.get_error":
            names.add(f"ParserError.{node.attr}")
    return names


def known_names() -> set[str]:
    """The same names out of the two tables."""
    names = {name.removesuffix(".__init__") for name in (*CALLS, *VALUES)}
    # A class of which a value is read is mentioned as well.
    return names | {name.split(".")[0] for name in VALUES} | {"Logger", "Builder", "OnnxParser", "Runtime"}


def overloads(text: str) -> list[tuple[list[tuple[str, bool]], str]]:
    """Signatures in a docstring of pybind11: ([(type, has a default)] without self, type of the result)."""
    found = []
    for line in text.splitlines():
        match = re.match(r"(?:\d+\. )?\w+\(self: [\w.]+(?:, )?(.*)\) -> (\S+)$", line.strip())
        if match:
            # Defaults are enums at most: no comma in them.
            arguments = [part.split(": ", 1)[1] for part in match[1].split(", ") if part]
            types = [(part.split(" = ")[0], " = " in part) for part in arguments]
            found.append((types, match[2]))
    return found


def named(type_name: str, expected: str) -> bool:
    """Whether the last part of a type's name is one of the expected ones."""
    return re.split(r"[.:]+", type_name)[-1] in expected.split("|")


def resolve(trt: ModuleType, name: str) -> Any:
    """``Class.member`` of the module; None where there is no such thing."""
    value: Any = trt
    for part in name.split("."):
        value = getattr(value, part, None)
    return value


def has_buffer(kind: type) -> bool:
    """Whether ``bytes(x)`` works on objects of a type by the buffer protocol (its slot in CPython, 64 bit)."""
    slots = ctypes.c_void_p.from_address(id(kind) + 160).value
    return bool(slots and ctypes.c_void_p.from_address(slots).value)


def problems(trt: ModuleType) -> list[str]:
    """Where the module does not offer what the tables ask for; empty if all is well."""
    found = []
    for name, kind in VALUES.items():
        value = resolve(trt, name)
        if value is None or not isinstance(value, kind):
            found.append(f"{name} is {value!r}")
    for name, (expected, result) in CALLS.items():
        signatures = overloads(getattr(resolve(trt, name), "__doc__", None) or "")
        for types, returned in signatures:
            given, rest = types[: len(expected)], types[len(expected) :]
            fits = len(given) == len(expected) and all(has_default for _, has_default in rest)
            if fits and all(named(t, e) for (t, _), e in zip(given, expected, strict=True)) and named(returned, result):
                break
        else:
            found.append(f"{name}({', '.join(expected)}) -> {result} is not among {signatures}")
    # Enums and errors are what their users take them for.
    try:
        assert 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) > 0
        # Genuine calls, as far as they get without the library: arguments fit, then the factory has nothing to give.
        logger = trt.Logger(trt.Logger.WARNING)
        for kind in (trt.Builder, trt.Runtime):
            try:
                kind(logger)
            except TypeError as error:
                if "factory function returned nullptr" not in str(error):
                    found.append(f"{kind.__name__}(logger): {error}")
    except Exception as error:
        found.append(f"{type(error).__name__}: {error}")
    if not has_buffer(trt.IHostMemory) or not has_buffer(bytes) or has_buffer(trt.Builder):
        found.append("IHostMemory has no buffer protocol, or this test cannot see it")
    if not {"__getitem__", "__len__"} <= set(dir(trt.Dims)):
        found.append("Dims is no sequence")
    return found


if __name__ == "__main__":
    bindings = importlib.import_module("tensorrt_bindings")
    print(bindings.__version__)
    print("\n".join(problems(bindings)))
    # Without the library behind them the bindings may not survive the interpreter's end.
    sys.stdout.flush()
