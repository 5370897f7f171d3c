#!/usr/bin/env bash
# Runs a study from end to end: STUDY FOLDER text|symbols FLAGS...; with "text", on one of its own.
set -euo pipefail

study="$1"
folder="$2"
out="${TEST_TMPDIR}/out"
data=()
if [[ "$3" == text ]]; then
  text="${TEST_TMPDIR}/words.txt"
  # Words in a random but fixed order: text with no licence and no installation.
  awk 'BEGIN { srand(7); for (i = 0; i < 60000; i++) printf "%s%s", substr("the of and to in is that it was for on are with as his they be at one have", 1 + int(rand() * 70), 2 + int(rand() * 7)), (i % 12 == 11 ? ".\n" : " ") }' > "${text}"
  data=("--corpus=${text}")
fi

"${study}" "${@:4}" "${data[@]}" "--out=${out}" --quiet > "${TEST_TMPDIR}/summary"

arms=("${folder}"/arms/*.textproto)
[[ -e "${arms[0]}" ]] || { echo "no arms in ${folder}"; exit 1; }
for arm in "${arms[@]}"; do
  name="$(basename "${arm}" .textproto)"
  grep -q "\"${name}\"" "${out}/rows.jsonl" || { echo "arm ${name}: no row in rows.jsonl"; exit 1; }
done
help="$("${study}" --help)"
while read -r preset; do
  grep -q -e "--preset=${preset}:" <<< "${help}" || { echo "--help does not name preset ${preset}"; exit 1; }
done < <(sed -nE '/^preset \{/,/name:/s/^ *name: "([^"]*)".*/\1/p' "${folder}/protocol.textproto")
grep -q '</html>' "${out}/report.html" || { echo "report.html is cut short"; exit 1; }
echo "$(wc -l < "${out}/rows.jsonl") rows"
