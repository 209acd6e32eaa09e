# SPDX-License-Identifier: Apache-2.0
"""The GPU report's figures as Markdown tables."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

STAGES = ("encoder", "memory_attention", "decoder", "memory_encoder", "prompt_generator")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A Markdown table."""
    head = list(head)
    lines = [head, ["---"] * len(head), *([str(cell) for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _ms(timing: dict[str, Any] | None) -> str:
    if not timing:
        return ""
    return f"{timing['ms']:.2f} ({min(timing['runs']):.2f}, {max(timing['runs']):.2f})"


def _machine(found: dict[str, Any]) -> str:
    text = found.get("hardware", "")
    versions = ", ".join(f"{name} {value}" for name, value in found.get("versions", {}).items())
    return f"{text}. {versions}."


def _ceilings(found: dict[str, Any]) -> str:
    rates = ", ".join(f"{kind} {rate:.0f}" for kind, rate in found.get("tflops", {}).items())
    return f"Matrix products of noise: {rates} TFLOP/s; copy {found.get('copy_tbs', 0):.2f} TB/s (read and written)."


def _attention(found: dict[str, Any]) -> str:
    rows = [
        (
            way["shape"],
            way["kernel"],
            _ms(way["timing"]) or way["reason"],
            "" if way["tflops"] is None else f"{way['tflops']:.0f}",
            "" if way["error"] is None else f"{way['error']:.1e}",
        )
        for way in found.get("ways", [])
    ]
    return table(("attention", "kernel", "ms (two runs)", "TFLOP/s", "error against float64"), rows)


def _model(found: dict[str, Any]) -> str:
    rows, one = [], found.get("one_part")
    for row in found.get("rows", []):
        if "step" not in row:
            rows.append((row["way"], row.get("failed", "not done"), *[""] * 9))
            continue
        floor, iou = row.get("floor", {}), row.get("iou")
        rows.append(
            (
                row["way"],
                _ms(row["step"]),
                *(f"{row['stages'][stage]:.2f}" for stage in STAGES),
                f"{sum(floor.values()):.2f}" if floor else "",
                _ms(row.get("whole")),
                "" if row["peak_gb"] is None else f"{row['peak_gb']:.2f}",
                "" if iou is None else f"{min(iou['mean'].values()):.4f}",
            )
        )
    head = ("loop, products", "device's step, ms (two runs)", *(stage.replace("_", " ") for stage in STAGES))
    text = table((*head, "floor, ms", "frame to masks, ms", "peak GB", "IoU with float32, worst part"), rows)
    if found.get("gflop"):
        gflop = ", ".join(f"{stage.replace('_', ' ')} {found['gflop'][stage]:.1f}" for stage in STAGES)
        text += f"\n\nGFLOP of a step: {gflop}."
    if one and rows:
        ratio = found["rows"][0]["step"]["ms"] / one["step"]["ms"]
        text += f" One part ({one['name']}): {_ms(one['step'])} ms; three parts cost {ratio:.2f} of it."
    return text


def markdown(data: dict[str, Any]) -> str:
    """All sections that there are so far."""
    text = ["# GPU report", f"{data.get('seconds_taken', 0)} s of {data['seconds_allowed']:.0f} s allowed."]
    for name, found in data["sections"].items():
        text.append(f"## {name}")
        if "skipped" in found:
            text.append(f"Not done: {found['skipped']}.")
        elif name == "machine":
            text.append(_machine(found))
        elif name == "ceilings":
            text.append(_ceilings(found))
        elif name == "attention":
            text.append(_attention(found))
        elif "kernels" in found:
            rows = [(f"`{kernel}`", f"{calls:.1f}", f"{ms:.3f}") for kernel, calls, ms in found["kernels"][:15]]
            text.append(table(("kernel", "calls a step", "ms a step"), rows))
            text.append(f"All kernels: {found['sum_ms']:.2f} ms, {found['launches']:.0f} a step.")
        elif found.get("rows"):
            text.append(_model(found))
        if "failed" in found:
            text.append(f"Failed: {found['failed']}")
        text += [f"Note: {note}" for note in found.get("notes", [])]
    return "\n\n".join(text)
