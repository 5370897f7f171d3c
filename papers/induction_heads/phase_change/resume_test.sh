#!/usr/bin/env bash
# What probes measure along training is kept: a study that is killed while it trains, and continued, leaves the same rows as one
# that never was; so does one whose models were kept and whose rows were lost. STUDY.
set -euo pipefail

study="$1"
out="${TEST_TMPDIR}/out"
flags=(--preset=smoke --arms=two_layers --quiet --set tuning.steps=300 --set tuning.course.every=40 --set tuning.checkpoint_every=5)
run() { "${study}" "${flags[@]}" "$@" > "${TEST_TMPDIR}/summary"; }

run --threads=2 --out="${out}-straight"
"${study}" "${flags[@]}" --out="${out}" > /dev/null &  # not through run: the kill must reach the study itself
pid=$!
until compgen -G "${out}/runs/*/manifest.json" > /dev/null; do
  kill -0 "${pid}" 2> /dev/null || break
  sleep 0.001
done
kill -9 "${pid}" || { echo "the study had ended before it could be killed"; exit 1; }
wait "${pid}" 2> /dev/null || true
[[ ! -e "${out}/rows.jsonl" ]] || { echo "the kill came too late to test anything"; exit 1; }
run --threads=1 --out="${out}"
cmp "${out}-straight/rows.jsonl" "${out}/rows.jsonl"

# From the kept model alone.
rm -r "${out}/runs" "${out}/rows.jsonl"
run --out="${out}"
cmp "${out}-straight/rows.jsonl" "${out}/rows.jsonl"

# Before the first step, every fortieth and after the last.
steps="$(grep '"kind":"course"' "${out}/rows.jsonl" | grep '"figure":"answer_loss"' | grep -o '"steps":"[^"]*"')"
[[ "${steps}" == '"steps":"0 40 80 120 160 200 240 280 300"' ]] || { echo "steps are ${steps}"; exit 1; }
grep -q 'id="along"' "${out}/report.html" || { echo "the report does not show them"; exit 1; }

refused() {  # TEXT FLAGS...
  local text="$1" said
  shift
  if said="$(run "--out=${out}-refused" "$@" 2>&1)"; then
    echo "$*: was not refused"
    exit 1
  fi
  [[ "${said}" == *"${text}"* ]] || { echo "$*: said '${said}', expected '${text}'"; exit 1; }
}
refused "late: 90 (expected 0, for no score, or at most the 25 tokens" --set tuning.course.probe.0.late=90
refused "tuning.course.every: 0 (expected 1 or more)" --set tuning.course.every=0
refused "takes 1 to 64" --set tuning.course.length=80
echo "the same $(wc -l < "${out}/rows.jsonl") rows"
