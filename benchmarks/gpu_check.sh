#!/usr/bin/env bash
# Turns a few minutes on a machine with a GPU into facts:
#
#   benchmarks/gpu_check.sh --out DIR [--device cpu] [STAGE...]
#   python -m benchmarks.gpu.collect DIR
#
# Stages: build test sanitize bench profile micro; all of them without arguments. Each ends within
# its budget and writes DIR/STAGE.json and DIR/STAGE.log, whatever becomes of the others. The exit
# status is that of the script alone: what a stage found is in its JSON. --device cpu rehearses
# the Python parts on a machine without a GPU. PYTHON names the interpreter.
set -uo pipefail

readonly ALL=(build test sanitize bench profile micro)
# Seconds; 25 minutes in all.
declare -rA BUDGET=([build]=200 [test]=480 [sanitize]=240 [bench]=390 [profile]=130 [micro]=60)

usage() {
  sed -n '2,12s/^# \{0,1\}//p' "${BASH_SOURCE[0]}" >&2
  exit 2
}

out='' device=cuda stages=()
while (($#)); do
  case $1 in
    --out | --device)
      (($# > 1)) || usage
      if [[ $1 == --out ]]; then out=$2; else device=$2; fi
      shift 2
      ;;
    -*) usage ;;
    *)
      [[ -v BUDGET[$1] ]] || usage
      stages+=("$1")
      shift
      ;;
  esac
done
[[ -n $out ]] || usage
[[ $device == cuda || $device == cpu ]] || usage
((${#stages[@]})) || stages=("${ALL[@]}")

python=${PYTHON:-$(command -v python || command -v python3)}
mkdir -p "$out"
out=$(cd "$out" && pwd)
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 2
export PYTHONPATH=$PWD PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1

for stage in "${stages[@]}"; do
  "$python" -m benchmarks.gpu.stage "$stage" --out "$out" --device "$device" \
    --budget "${BUDGET[$stage]}" || echo "$stage: could not be started" >&2
done

# Results travel as a few files: the logs of a whole run go into one.
if ((${#stages[@]} > 1)); then
  (cd "$out" && tar -czf logs.tar.gz --remove-files -- *.log)
fi
