# SPDX-License-Identifier: Apache-2.0
"""New features of a LeRobot data set: columns of its tables, and what ``meta/`` says of them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from robotseg_core.lerobot.layout import INFO, DataSet, episode_tables
from robotseg_core.lerobot.tables import read_table
from robotseg_core.storage.documents import read_json, read_text

PICTURE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
"""Type of a column of pictures."""
QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}
STATS, EPISODES_STATS = Path("meta/stats.json"), Path("meta/episodes_stats.jsonl")
"""Version 2.1 keeps the second one, versions 2.0 and 3 the first."""


@dataclass(frozen=True)
class Shares:
    """Statistics of values that are 0 or 1.

    Attributes:
        ones: how often 1, from 0 to 1, for each channel.
        count: of frames.
    """

    ones: tuple[float, ...]
    count: int

    def stats(self, picture: bool, quantiles: bool) -> dict[str, Any]:
        """As LeRobot keeps them: (channels, 1, 1) for a picture, (1,) for a number."""
        ones = np.array(self.ones)
        found: dict[str, NDArray[np.float64]] = {
            "min": (ones >= 1).astype(float),
            "max": (ones > 0).astype(float),
            "mean": ones,
            "std": np.sqrt(ones * (1 - ones)),
        }
        if quantiles:
            found |= {name: (1 - ones < q).astype(float) for name, q in QUANTILES.items()}
        shape = (-1, 1, 1) if picture else (-1,)
        return {name: value.reshape(shape).tolist() for name, value in found.items()} | {"count": [self.count]}


def together(shares: list[Shares]) -> Shares:
    """Statistics of several episodes as one."""
    counts = np.array([one.count for one in shares], float)
    ones = (np.array([one.ones for one in shares]) * counts[:, None]).sum(0) / counts.sum()
    return Shares(tuple(ones.tolist()), int(counts.sum()))


def with_columns(table: pa.Table, columns: dict[str, pa.Array]) -> pa.Table:
    """A table with further columns; what ``datasets`` keeps in its schema knows of them."""
    said = dict(table.schema.metadata or {})
    if b"huggingface" in said:
        content = json.loads(said[b"huggingface"])
        for name, column in columns.items():
            kind = {"_type": "Image"} if column.type == PICTURE else {"dtype": str(column.type), "_type": "Value"}
            content.get("info", {}).get("features", {})[name] = kind
        said[b"huggingface"] = json.dumps(content).encode()
    for name, column in columns.items():
        table = table.append_column(name, column)
    return table.replace_schema_metadata(said or None)


def meta_files(data: DataSet) -> set[Path]:
    """Files of ``meta/``, relative to the root, that :func:`write_meta` makes anew."""
    found = {INFO, STATS, EPISODES_STATS, *(file.relative_to(data.root) for file in episode_tables(data.root))}
    return {file for file in found if (data.root / file).is_file()}


def write_meta(
    data: DataSet, target: Path, features: dict[str, dict[str, Any]], shares: dict[int, dict[str, Shares]]
) -> None:
    """Write what ``meta/`` says with the new features; all else in it keeps its value.

    Args:
        data: the data set as it was.
        target: root of the new one.
        features: entries of ``info.json`` by name.
        shares: by number of the episode and name of the feature.
    """
    info = dict(data.info) | {"features": {**data.info["features"], **features}}
    _write_json(target / INFO, info)
    pictures = {name: said["dtype"] == "image" for name, said in features.items()}
    whole = {name: together([of_episode[name] for of_episode in shares.values()]) for name in features}
    if (data.root / STATS).is_file():
        stats = read_json(data.root / STATS)
        quantiles = _has_quantiles(stats)
        added = {name: whole[name].stats(pictures[name], quantiles) for name in features}
        _write_json(target / STATS, {**stats, **added})
    if (data.root / EPISODES_STATS).is_file():
        lines = []
        for line in filter(str.strip, read_text(data.root / EPISODES_STATS).splitlines()):
            said = json.loads(line)
            own = shares[int(said["episode_index"])]
            quantiles = _has_quantiles(said["stats"])
            said["stats"] |= {name: own[name].stats(pictures[name], quantiles) for name in features}
            lines.append(json.dumps(said) + "\n")
        (target / EPISODES_STATS).write_text("".join(lines))
    for file in episode_tables(data.root):
        table = read_table(file)
        numbers = table.column("episode_index").to_pylist()
        # Only where the other features have statistics here, too.
        if any(name.startswith("stats/") for name in table.column_names):
            quantiles = any(name.endswith("/q50") for name in table.column_names)
            for name in features:
                rows = [shares[number][name].stats(pictures[name], quantiles) for number in numbers]
                for key in rows[0]:
                    table = table.append_column(f"stats/{name}/{key}", pa.array([row[key] for row in rows]))
        (target / file.relative_to(data.root)).parent.mkdir(parents=True, exist_ok=True)
        pq.write_table(table, target / file.relative_to(data.root))


def _has_quantiles(stats: dict[str, Any]) -> bool:
    return any("q50" in said for said in stats.values())


def _write_json(path: Path, content: dict[str, Any]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=4, ensure_ascii=False))
