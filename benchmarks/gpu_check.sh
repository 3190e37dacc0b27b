#!/usr/bin/env bash
# Turns a few minutes on a machine with a GPU into facts:
#
#   benchmarks/gpu_check.sh --out DIR [--minutes 9] [--device cpu] [--resume] [STAGE...]
#   python -m benchmarks.gpu.collect DIR
#
# Stages: build smoke key test network profile sanitize; all of them where none is named.
# DIR/check.json says what became of each, beside it lie their rows. Every file is whole at every
# moment: what has ended when the script is killed is kept, and --resume goes on from there. The
# exit status is that of the script alone. PYTHON names the interpreter.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export PYTHONPATH=$root PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
exec "${PYTHON:-$(command -v python || command -v python3)}" -m benchmarks.gpu.check "$@"
