#!/usr/bin/env bash
# The smoke preset from end to end, choosing arms, a forecast, and a mistake.
set -uo pipefail

decode="$1"
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

"${decode}" --preset=smoke --out="${out}" --quiet > "${TEST_TMPDIR}/text" || fail "it ended with $?"
for arm in retnet transformer; do
  [[ "$(grep -c "\"kind\":\"step\",\"arm\":\"${arm}\"" "${out}/rows.jsonl")" -eq 3 ]] || fail "rows of ${arm}"
  grep -q "${arm} tokens/s" "${TEST_TMPDIR}/text" || fail "no column of ${arm}"
done
# Two layers of two heads' 8 x 16 floats and a count of rows, whatever the context.
[[ "$(grep -c '"arm":"retnet","context":[0-9]*,"state_bytes":2064' "${out}/rows.jsonl")" -eq 3 ]] || fail "state of retnet"
# The parallel form stops at quadratic_most.
grep -q '"form":"parallel","length":32' "${out}/rows.jsonl" || fail "no parallel form"
grep -q '"arm":"retnet","form":"parallel","length":64' "${out}/rows.jsonl" && fail "a parallel form too long"
grep -q '</html>' "${out}/report.html" || fail "report.html is cut short"

cp "${out}/rows.jsonl" "${TEST_TMPDIR}/first"
"${decode}" --preset=smoke --out="${out}" --quiet --threads=1 > /dev/null || fail "again: it ended with $?"
cmp "${out}/rows.jsonl" "${TEST_TMPDIR}/first" || fail "rows.jsonl is not the same on one thread"

"${decode}" --preset=smoke --out="${TEST_TMPDIR}/one" --quiet --mixers=transformer > /dev/null || fail "one arm"
grep -q retnet "${TEST_TMPDIR}/one/rows.jsonl" && fail "an arm that was not asked for"
[[ "$("${decode}" --preset=paper --dry_run)" == *"retnet: "*"transformer: "* ]] || fail "no forecast"

said="$("${decode}" --preset=smoke --mixers=retnot 2>&1)"
[[ $? -eq 2 && "${said}" == *"'retnot' (expected some of retnet, transformer)"* ]] || fail "mistake: ${said}"
exit 0
