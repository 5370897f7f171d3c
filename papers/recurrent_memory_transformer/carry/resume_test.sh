#!/usr/bin/env bash
# A study of recurrent memories that is killed while it trains and continued leaves the same bytes as one that never was; so
# does another number of threads: STUDY. The kill follows what is on the disk, not the clock.
set -euo pipefail

study="$1"
flags=(--preset=smoke --arms=rmt,rmt_detached --quiet --set tuning.steps=60)
run() { "${study}" "${flags[@]}" "$@" > "${TEST_TMPDIR}/summary"; }

run --threads=2 --out="${TEST_TMPDIR}/straight"
run --threads=1 --out="${TEST_TMPDIR}/one_thread"
"${study}" "${flags[@]}" --out="${TEST_TMPDIR}/killed" > /dev/null &
pid=$!
until compgen -G "${TEST_TMPDIR}/killed/runs/rmt_detached-*/manifest.json" > /dev/null; do
  kill -0 "${pid}" 2> /dev/null || break
  sleep 0.001
done
kill -9 "${pid}" || { echo "the study had ended before it could be killed"; exit 1; }
wait "${pid}" 2> /dev/null || true
[[ ! -e "${TEST_TMPDIR}/killed/rows.jsonl" ]] || { echo "the kill came too late to test anything"; exit 1; }
run --out="${TEST_TMPDIR}/killed"

cmp "${TEST_TMPDIR}/straight/rows.jsonl" "${TEST_TMPDIR}/killed/rows.jsonl"
cmp "${TEST_TMPDIR}/straight/rows.jsonl" "${TEST_TMPDIR}/one_thread/rows.jsonl"
for model in "${TEST_TMPDIR}"/straight/models/*; do
  cmp "${model}/weights.safetensors" "${TEST_TMPDIR}/killed/models/$(basename "${model}")/weights.safetensors"
done
echo "rows.jsonl: the same $(wc -l < "${TEST_TMPDIR}/straight/rows.jsonl") rows"
