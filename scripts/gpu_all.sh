#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# All figures of a machine with an NVIDIA GPU, into OUT (default out/gpu): gpu.json and gpu.md, in 100 seconds;
# with --full in ten minutes.  Needs PyTorch with CUDA and the repository, no installation and no network.
# usage: scripts/gpu_all.sh [OUT] [--full]
set -eu
cd "$(dirname "$0")/.."
out=out/gpu
case "${1:-}" in -*|"") ;; *) out=$1; shift ;; esac
PYTHONPATH=. exec "${PYTHON:-python3}" -m robotseg_core.cli bench --gpu-report "$out" --device cuda "$@"
