#!/usr/bin/env bash
# Runs a study from end to end on a text of its own: STUDY FLAGS...
set -euo pipefail

study="$1"
out="${TEST_TMPDIR}/out"
text="${TEST_TMPDIR}/words.txt"
# Words in a random but fixed order: text with no licence and no installation.
awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) printf "%s%s", substr("the of and to in is that it was for on are with as his they be at one have", 1 + int(rand() * 70), 2 + int(rand() * 7)), (i % 12 == 11 ? ".\n" : " ") }' > "${text}"

"${study}" "${@:2}" "--corpus=${text}" "--out=${out}" --quiet > "${TEST_TMPDIR}/summary"

arms=("$(dirname "${study}")"/arms/*.textproto)
[[ -e "${arms[0]}" ]] || { echo "no arms beside ${study}"; exit 1; }
for arm in "${arms[@]}"; do
  name="$(basename "${arm}" .textproto)"
  grep -q "\"${name}\"" "${out}/rows.jsonl" || { echo "arm ${name}: no row in rows.jsonl"; exit 1; }
done
grep -q '</html>' "${out}/report.html" || { echo "report.html is cut short"; exit 1; }
echo "$(wc -l < "${out}/rows.jsonl") rows"
