#!/usr/bin/env bash
# The smoke preset from end to end, alone and with a peer; a plan; and mistakes.
set -uo pipefail

speed="$1"
here="$(dirname "$0")"
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

# The program starts the peer as "PYTHON SCRIPT --threads=N"; this one leaves out the script.
cat > "${TEST_TMPDIR}/python" <<END
#!/bin/sh
exec "$(realpath "${here}/testdata/peer.sh")"
END
chmod +x "${TEST_TMPDIR}/python"

"${speed}" --preset=smoke --out="${out}" --quiet > "${TEST_TMPDIR}/text" || fail "it ended with $?"
grep -q "Gemm/m:512/k:512/n:512" "${TEST_TMPDIR}/text" || fail "no kernel: $(cat "${TEST_TMPDIR}/text")"
grep -q "TrainingStep/attention" "${TEST_TMPDIR}/text" || fail "no training step"
[[ "$(grep -c '"kind":"forward_backward",' "${out}/runs.jsonl")" -eq 5 ]] || fail "a quadratic layer stops at 32, the other does not"
[[ "$(grep -c '"kind":"decode",' "${out}/runs.jsonl")" -eq 4 ]] || fail "two arms decode behind two contexts"
grep -q ratio "${TEST_TMPDIR}/text" "${out}/runs.jsonl" && fail "a ratio without a peer"
grep -q '</html>' "${out}/report.html" || fail "report.html is cut short"

cp "${out}/rows.jsonl" "${TEST_TMPDIR}/first"
"${speed}" --preset=smoke --out="${out}" --quiet --threads=1 --peers="${TEST_TMPDIR}/python" > "${TEST_TMPDIR}/text" ||
  fail "with a peer it ended with $?"
cmp "${out}/rows.jsonl" "${TEST_TMPDIR}/first" || fail "rows.jsonl is not the same in a second run"
grep -q "compared with stand-in 1" "${TEST_TMPDIR}/text" || fail "no comparison: $(cat "${TEST_TMPDIR}/text")"
grep '"name":"Rotary' "${out}/runs.jsonl" | grep -q ratio && fail "a ratio for what the peer does not have"
grep '"name":"Gemm' "${out}/runs.jsonl" | grep -q ratio || fail "no ratio"

# All of the default preset can run, and is not run here.
plan="$("${speed}" --dry_run)" || fail "no plan"
[[ "${plan}" == *"SelectiveScan/forward_backward/b:1/d:256/l:16384/n:16"*"TrainingStep/mamba"*"S5: steps behind 16384 tokens"* ]] ||
  fail "plan: ${plan}"

mistake() {  # TEXT FLAGS...
  local output code
  output="$("${speed}" --preset=smoke --out="${out}" "${@:2}" 2>&1)"
  code=$?
  [[ "${code}" -eq 2 && "${output}" == *"$1"* ]] || fail "expected exit code 2 and '$1', got ${code}: ${output}"
}
mistake "finds none" --set kernels=NoSuchKernel
mistake "rounds: 0" --set rounds=0
mistake "a Python with torch" --peers=/nowhere/python
exit 0
