#!/usr/bin/env bash
# The smoke preset from end to end, a forecast, and mistakes.
set -uo pipefail

program="$1"
source "$(dirname "${BASH_SOURCE[0]}")/text.sh"
text="${TEST_TMPDIR}/text"
make_words "${text}" 20000
out="${TEST_TMPDIR}/out"
fail() { echo "$1"; exit 1; }

"${program}" --preset=smoke "--corpus=${text}" --out="${out}" --quiet > "${TEST_TMPDIR}/said" || fail "it ended with $?"
for arm in transformer_xl transformer_xl_longer_memory no_recurrence no_recurrence_longer_segment transformer; do
  # Four contexts; three gains and a length for each of two shares.
  [[ "$(grep -c "\"arm\":\"${arm}\"" "${out}/effective_context.jsonl")" -eq 12 ]] || fail "rows of ${arm}"
done
grep -q '^Transformer-XL, longer memory' "${TEST_TMPDIR}/said" || fail "$(cat "${TEST_TMPDIR}/said")"
for page in report effective_context; do
  grep -q '</html>' "${out}/${page}.html" || fail "${page}.html is cut short"
done
# What can use no more than 16 tokens gains nothing beyond them.
[[ "$(grep -c '"kind":"gain","arm":"transformer","seed":1,"hardest":1.0,"context":\(16\|24\),"perplexity_gain":0.0,' "${out}/effective_context.jsonl")" -eq 2 ]] ||
  fail "gains of the transformer: $(grep '"kind":"gain","arm":"transformer"' "${out}/effective_context.jsonl")"

cp "${out}/effective_context.jsonl" "${TEST_TMPDIR}/first"
"${program}" --preset=smoke "--corpus=${text}" --out="${out}" --quiet --threads=1 > /dev/null || fail "again: it ended with $?"
cmp "${out}/effective_context.jsonl" "${TEST_TMPDIR}/first" || fail "other rows from one thread"

"${program}" --preset=smoke "--corpus=${text}" --dry_run | grep -q transformer_xl || fail "no forecast"
said="$("${program}" --preset=smoke "--corpus=${text}" --set model.backbone.mixer.segment=6 2>&1)"
[[ $? -eq 2 && "${said}" == *"arm 'transformer_xl'"*"tuning.length: 16 (expected a multiple of the model's segment, 6"* ]] || fail "mistake: ${said}"
said="$("${program}" --preset=smoke "--corpus=${text}" --set tuning.carry_state=true --set tuning.task_share=0.5 2>&1)"
[[ $? -eq 2 && "${said}" == *"tuning.task_share: 0.5 (expected 0 "* ]] || fail "mistake: ${said}"
exit 0
