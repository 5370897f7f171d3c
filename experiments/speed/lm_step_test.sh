#!/usr/bin/env bash
# lm_step on a tiny model: one JSON line, a falling loss, and one clear line for a mistake.
set -uo pipefail

lm_step="$1"
tiny=(--length=9 --batch=2 --dim=8 --layers=1 --heads=2 --vocab=11 --warmup=1 --rounds=4)
line="$("${lm_step}" "${tiny[@]}")" || exit 1
[[ "$(wc -l <<< "${line}")" -eq 1 ]] || { echo "not one line: ${line}"; exit 1; }
[[ "${line}" =~ \"parameters\":\ ([0-9]+).*\"losses\":\ \[([0-9.]+),.*,\ ([0-9.]+)\] ]] || { echo "unexpected: ${line}"; exit 1; }
# 2 x 11 x 8 (embedding, output), 4 x 8 x 8 (attention), 3 x 32 x 8 (SwiGLU), 3 x 8 (norms).
[[ "${BASH_REMATCH[1]}" -eq 1224 ]] || { echo "parameters: ${BASH_REMATCH[1]}"; exit 1; }
awk "BEGIN { exit !(${BASH_REMATCH[3]} < ${BASH_REMATCH[2]}) }" || { echo "the loss does not fall: ${line}"; exit 1; }

mistake() {  # TEXT FLAGS...
  local output code
  output="$("${lm_step}" "${tiny[@]}" "${@:2}" 2>&1)"
  code=$?
  [[ "${code}" -eq 2 && "${output}" == *"$1"* && "$(wc -l <<< "${output}")" -eq 1 ]] ||
    { echo "expected exit code 2 and one line with '$1', got ${code}: ${output}"; exit 1; }
}
line="$("${lm_step}" "${tiny[@]}" --mixer=mamba)" || exit 1
# 2 x 11 x 8 (embedding, output), 2 x 8 (norms), and of the mixer's 16 channels: 3 x 16 x 8 in and out, 16 x 5 taps and bias,
# (1 + 2 x 16) x 16 to rank, B and C, 16 x 2 of Delta, 16 x 16 decays, 16 skips.
[[ "${line}" =~ \"parameters\":\ 1488, ]] || { echo "unexpected: ${line}"; exit 1; }

mistake "mambo (expected one of attention, mamba, retnet)" --mixer=mambo
mistake "nowhere" --load=/nowhere
