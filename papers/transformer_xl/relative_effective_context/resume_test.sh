#!/usr/bin/env bash
# A training that carries its memory through the text is killed in the middle of a track, again later, and continued: the same
# bytes as of one that never was, in rows, weights and metrics. Kills follow what is on the disk, not the clock.
set -euo pipefail

program="$1"
source "$(dirname "${BASH_SOURCE[0]}")/text.sh"
text="${TEST_TMPDIR}/text"
make_words "${text}" 6000
# 60 steps of 16 tokens a track; every step is saved, so that there is time for a kill.
flags=(--preset=smoke "--corpus=${text}" --quiet --threads=1 --set tuning.steps=60 --set tuning.checkpoint_every=1)

# Has the training whose folder matches a pattern saved this step or a later one?
reached() {
  local file step
  for file in $(compgen -G "$1/step-*.safetensors"); do
    step="${file##*step-}"
    (( 10#${step%.safetensors} >= $2 )) && return 0
  done
  return 1
}

# Starts the program and kills it as soon as the training has come so far.
kill_at() {
  local folder="$1" step="$2"
  shift 2
  "${program}" "${flags[@]}" "$@" > /dev/null &
  local pid=$!
  until reached "${folder}" "${step}"; do
    kill -0 "${pid}" 2> /dev/null || break
    sleep 0.001
  done
  kill -9 "${pid}" || { echo "it had ended before it could be killed"; exit 1; }
  wait "${pid}" 2> /dev/null || true
}

"${program}" "${flags[@]}" --out="${TEST_TMPDIR}/straight" > /dev/null
killed="${TEST_TMPDIR}/killed"
for step in 7 23; do
  kill_at "${killed}/runs/transformer_xl-*" "${step}" --out="${killed}"
  [[ ! -e "${killed}/rows.jsonl" ]] || { echo "the kill at ${step} came too late to test anything"; exit 1; }
  # The memory is in the checkpoint.
  grep -aq 'state/layers.1/mixer/memory' "${killed}"/runs/transformer_xl-*/step-*.safetensors ||
    { echo "no state in the checkpoint"; ls "${killed}"/runs/*; exit 1; }
done
"${program}" "${flags[@]}" --out="${killed}" > /dev/null

cmp "${TEST_TMPDIR}/straight/rows.jsonl" "${killed}/rows.jsonl"
cmp "${TEST_TMPDIR}/straight/effective_context.jsonl" "${killed}/effective_context.jsonl"
for model in "${TEST_TMPDIR}"/straight/models/*; do
  cmp "${model}/weights.safetensors" "${killed}/models/$(basename "${model}")/weights.safetensors"
done
for metrics in "${TEST_TMPDIR}"/straight/runs/*/metrics.jsonl; do
  other="${killed}/${metrics#"${TEST_TMPDIR}/straight/"}"
  diff <(sed -E 's/,"(seconds|tokens_per_second|time)":[^,}]*//g' "${metrics}") \
    <(sed -E 's/,"(seconds|tokens_per_second|time)":[^,}]*//g' "${other}") || { echo "${other} differs"; exit 1; }
done
echo "the same $(wc -l < "${killed}/rows.jsonl") rows"
