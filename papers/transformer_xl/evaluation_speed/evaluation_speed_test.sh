#!/usr/bin/env bash
# The smoke preset from end to end, the same rows from one thread, a forecast, and mistakes.
set -uo pipefail

speed="$1"
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

"${speed}" --preset=smoke --out="${out}" --quiet > "${TEST_TMPDIR}/text" || fail "it ended with $?"
for way in "memory, token by token" "memory, by segments" "window read anew"; do
  [[ "$(grep -c "\"way\":\"${way}\"" "${out}/rows.jsonl")" -eq 3 ]] || fail "rows: ${way}"
  [[ "$(grep -c "\"way\":\"${way}\".*\"seconds\":" "${out}/runs.jsonl")" -eq 3 ]] || fail "times: ${way}"
done
# Two layers' memory of 31 rows of 16 floats.
grep -q '"way":"memory, token by token","attention":31,.*"state_bytes":3968' "${out}/rows.jsonl" || fail "$(cat "${out}/rows.jsonl")"
grep -q '</html>' "${out}/report.html" || fail "report.html is cut short"

cp "${out}/rows.jsonl" "${TEST_TMPDIR}/first"
"${speed}" --preset=smoke --out="${out}" --quiet --threads=1 > /dev/null || fail "again: it ended with $?"
cmp "${out}/rows.jsonl" "${TEST_TMPDIR}/first" || fail "rows.jsonl is not the same on one thread"

[[ "$("${speed}" --preset=paper --dry_run)" == "4 attention lengths, "* ]] || fail "no forecast"
said="$("${speed}" --preset=smoke --set attention=64,32 2>&1)"
[[ $? -eq 2 && "${said}" == *"attention: 32 (expected ascending"* ]] || fail "mistake: ${said}"
said="$("${speed}" --preset=smoke --set heads=3 2>&1)"
[[ $? -eq 2 && "${said}" == *"heads: 3 does not divide the width "* ]] || fail "mistake: ${said}"
exit 0
