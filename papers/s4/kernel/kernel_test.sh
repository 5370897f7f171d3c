#!/usr/bin/env bash
# The smoke preset from end to end, the same rows from one thread, a forecast, and mistakes.
set -uo pipefail

kernel="$1"
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

"${kernel}" --preset=smoke --out="${out}" --quiet > "${TEST_TMPDIR}/text" || fail "it ended with $?"
for arm in S4-LegS S4D-Lin; do
  [[ "$(grep -c "\"arm\":\"${arm}\"" "${out}/rows.jsonl")" -eq 3 ]] || fail "rows of ${arm}"
  [[ "$(grep -c "\"arm\":\"${arm}\".*\"step_seconds\":" "${out}/runs.jsonl")" -eq 3 ]] || fail "times of ${arm}"
done
grep -q '^holds: S4-LegS, up to 128 rows: the kernel' "${TEST_TMPDIR}/text" || fail "$(cat "${TEST_TMPDIR}/text")"
grep -q '</html>' "${out}/report.html" || fail "report.html is cut short"

cp "${out}/rows.jsonl" "${TEST_TMPDIR}/first"
"${kernel}" --preset=smoke --out="${out}" --quiet --threads=1 > /dev/null || fail "again: it ended with $?"
cmp "${out}/rows.jsonl" "${TEST_TMPDIR}/first" || fail "rows.jsonl is not the same on one thread"

[[ "$("${kernel}" --preset=paper --dry_run)" == "2 systems at 3 lengths; "* ]] || fail "no forecast"
said="$("${kernel}" --preset=smoke --set length=64,32 2>&1)"
[[ $? -eq 2 && "${said}" == *"length: 32 (expected ascending"* ]] || fail "mistake: ${said}"
said="$("${kernel}" --preset=smoke --set arm.0.config.d_state=3 2>&1)"
[[ $? -eq 2 && "${said}" == *"arm S4-LegS: d_state: 3"* ]] || fail "mistake: ${said}"
exit 0
