#!/usr/bin/env bash
# Mistakes of a user, a line each: the program says in one line what was wrong and what would be right, prints nothing else,
# writes nothing, and exits with 2 where the user can mend it by asking differently, with 1 where the machine failed.
#
#   expect CODE 'WHAT WAS WRONG' 'WHAT WOULD BE RIGHT' PROGRAM FLAGS...
set -uo pipefail

study="$(realpath "$1")" lm_step="$(realpath "$2")" goldens="$(realpath "$3")" doctor="$(realpath "$4")"
protocol="$(realpath "$(dirname "$1")/protocol.textproto")"
cd "${TEST_TMPDIR}" || exit 1
failed=0 count=0

expect() {
  local code="$1" cause="$2" cure="$3" said stdout got
  stdout="$(timeout 60 "${@:4}" 2> said)"  # what is no mistake would run for long
  got=$?
  said="$(< said)"
  count=$((count + 1))
  if [[ "${got}" -ne "${code}" || "${said}" != *"${cause}"* || "${said}" != *"${cure}"* ||
        "$(wc -l < said)" -ne 1 || -n "${stdout}" || "${said}" =~ ^[FEWI][0-9]{8} ]]; then
    printf '%s\n  expected exit code %s and one line with "%s" and "%s"\n  got %s: %s\n%s\n' \
        "${*:4}" "${code}" "${cause}" "${cure}" "${got}" "${said}" "${stdout}"
    failed=1
  fi
}

# What the mistakes are made on: a text, a study of this test's own, and things that are neither.
mkdir -p text empty notext mine/arms bare
for i in $(seq 2500); do echo "$((i * 7919 % 10007)) of the words and $((i * 104729 % 10009))"; done > text/words.txt
echo x > notext/a.bin
: > void.txt
printf 'a\0b' > binary.txt
echo "a short text" > short.txt
ln -s loop loop
# The smoke preset of the study, on this test's text.
run() { expect "$1" "$2" "$3" "${study}" --preset=smoke --quiet --out=out --corpus=text "${@:4}"; }
set() { run "$1" "$2" "$3" --set "$4"; }
corpus() { expect "$1" "$2" "$3" "${study}" --preset=smoke --quiet --out=out "${@:4}"; }
out() { expect "$1" "$2" "$3" "${study}" --preset=smoke --quiet --corpus=text "${@:4}"; }
# An arm with this text in a study that is right otherwise.
arm() {
  cp "${protocol}" mine/
  echo "$4" > mine/arms/mine.textproto
  run "$1" "$2" "$3" --study=mine
}
position() {
  arm "$1" "$2" "$3" "settings { model { backbone { [type.googleapis.com/longrange.StackConfig] { mixer {
    [type.googleapis.com/longrange.TransformerConfig] { position { $4 } } } } } } }"
}
# The protocol after a change by sed.
protocol() {
  echo > mine/arms/mine.textproto
  sed "$4" "${protocol}" > mine/protocol.textproto
  run "$1" "$2" "$3" --study=mine
}

# Flags
run 2 'unknown flag --armz' "did you mean '--arms'?" --armz=pi_tuned
run 2 'unknown flag --colour' '--help lists all flags' --colour=red
run 2 'unknown flag --minloglevel' '--help lists all flags' --minloglevel=2
run 2 "stray argument 'full'" 'flags are written --name=value' full
run 2 "stray argument '-threads=1'" 'flags are written --name=value' -threads=1
run 2 '--threads needs a value' '--threads=...' --threads
run 2 '--quiet is given twice' '' --quiet
run 2 '--dry_run=maybe' 'expected true or false' --dry_run=maybe
run 2 '--threads=many' 'expected an integer' --threads=many
run 2 '--threads=2.5' 'expected an integer' --threads=2.5
run 2 '--threads=-1' 'expected 0 (all processors) to 1024' --threads=-1
run 2 '--threads=100000' 'expected 0 (all processors) to 1024' --threads=100000
run 2 '--device=gpu' 'expected cpu or cuda' --device=gpu
run 2 '--device=cuda' 'expected --device=cpu' --device=cuda
expect 2 "unknown preset 'ful'" "did you mean 'full'?" "${study}" --preset=ful
run 2 "unknown arm 'pi_tune'" "did you mean 'pi_tuned'" --arms=pi_tune
run 2 "arm 'pi_tuned' is asked for twice" '' --arms=pi_tuned,pi_tuned
run 2 '--arms=,' 'expected names with commas between them' --arms=,

# --set
run 2 '--set needs a value' '--set=...' --set
set 2 '--set base.steps' 'expected PATH=VALUE' base.steps
set 2 "no field 'bath'" "did you mean 'batch'?" base.bath=3
set 2 "no field 'steps'" 'fields: data, model, task, base' steps=3
set 2 "base.steps=x: expected an integer, got 'x'" 'an integer' base.steps=x
set 2 "got '1.5'" 'expected an integer' base.steps=1.5
set 2 "got '1e3'" 'expected an integer' evaluation.length=128,1e3
set 2 "got '9'" 'expected an index from 0 to 3' evaluation.length.9=3
set 2 "'data.corpus' is a text" "no field 'x'" data.corpus.x=3
set 2 "got 'COSIN'" "did you mean 'COSINE'?" base.optimizer.schedule.kind=COSIN
set 2 "'longrange.NeedleInAHaystakConfig'" "did you mean 'longrange.NeedleInAHaystackConfig'" \
    'task={ [type.googleapis.com/longrange.NeedleInAHaystakConfig] {} }'
set 2 'Expected "{", found "["' 'expected { [type.googleapis.com/longrange.SomeConfig] {} }' \
    'task=[type.googleapis.com/longrange.NeedleInAHaystackConfig] {}'
set 2 "unknown task 'stack'" 'needle_in_a_haystack' 'task={ [type.googleapis.com/longrange.StackConfig] {} }'

# Values and lengths
set 2 'base.batch: 0' 'expected 1 or more' base.batch=0
set 2 'base.batch: 100000000000' 'expected 2147483647 or less' base.batch=100000000000
set 2 'base.length: -5' 'expected 1 or more' base.length=-5
set 2 'base.length: 127' 'expected trained_length of the protocol, 128' base.length=127
set 2 'tuning.length: 256' 'expected extended_length of the protocol, 512' tuning.length=256
set 2 'base.short_length: 256' 'expected at most base.length, 128' base.short_length=256
set 2 'base.check_every: 0' 'expected 1 or more' base.check_every=0
set 2 'base.task_share: 2' 'expected 0 to 1' base.task_share=2
set 2 'base.stop_at_score: 95' 'expected 0 to 1' base.stop_at_score=95
set 2 'schedule.learning_rate: -1' 'expected > 0' tuning.optimizer.schedule.learning_rate=-1
set 2 'clip_norm: nan' 'expected >= 0' base.optimizer.clip_norm=nan
set 2 'schedule.total_steps: 0' 'expected 1 or more for a schedule that decays' base.optimizer.schedule.kind=COSINE
set 2 'evaluation.length: 0' 'expected 1 or more' evaluation.length=128,0
set 2 'evaluation.length: 128 twice' 'expected every value once' evaluation.length=128,128
set 2 'windows of 1000000 need' 'the text has' evaluation.length=1000000
set 2 'length: 2' 'expected 6 or more' evaluation.task_length=2
set 2 'evaluation.task_depth: 120' 'expected 0 to 100' evaluation.task_depth=120
set 2 'evaluation.position_bucket: 0' 'expected 1 or more' evaluation.position_bucket=0
set 2 'heads: 5 does not divide the width 32' 'set head_width' model.backbone.mixer.heads=5
run 2 'tuning.carry_state: true' 'expected false for a model whose state grows with every row' --set tuning.carry_state=true --set tuning.task_share=0
set 2 'feed_forward.width: -5' 'expected 0 or more' model.backbone.feed_forward.width=-5
set 2 'model.vocabulary: 100' "the tokeniser's 290 tokens" model.vocabulary=100
set 1 'this study needs' 'a smaller batch or width needs less' base.batch=1000000

# Text
corpus 2 "corpus './nowhere' is neither" 'installed (anarchism, bible_kjv) nor a file or folder' --corpus=./nowhere
corpus 2 "corpus 'anarchsm'" "did you mean 'anarchism'?" --corpus=anarchsm
LONGRANGE_CORPORA=empty corpus 2 "corpus 'bible_kjv' not found at" 'run third_party/install.sh' --corpus=bible_kjv
corpus 2 'empty has no' '.txt or .md file' --corpus=empty
corpus 2 'notext has no' '.txt or .md file' --corpus=notext
corpus 2 'void.txt is empty' '' --corpus=void.txt
corpus 2 'binary.txt is not text' 'byte 1 is 0' --corpus=binary.txt
corpus 2 'the text has' 'need at least' --corpus=short.txt
corpus 1 'cannot open corpus' 'Too many levels of symbolic links' --corpus=loop
corpus 1 'cannot read /proc/self/mem' 'Input/output error' --corpus=/proc/self/mem

# Where results go
out 2 'void.txt is a file' 'expected a folder' --out=void.txt
out 2 'void.txt/x' 'give another --out' --out=void.txt/x
out 2 '--trace=missing/t.json: cannot write' 'No such file or directory' --trace=missing/t.json
out 1 '/sys/longrange' 'give another --out' --out=/sys/longrange

# Studies and arms
run 2 'missing/protocol.textproto' 'a study is a folder with protocol.textproto and arms/' --study=missing
cp "${protocol}" bare/
run 2 'no arms in' 'expected one NAME.textproto or more' --study=bare
arm 2 "arm 'mine' breaks the control: it sets base.batch to 64 where the protocol has 4" \
    'this study compares model.backbone.mixer.position' 'settings { base { batch: 64 } }'
arm 2 'tuning.steps to 500 where the protocol has 6' 'and nothing else' 'settings { tuning { steps: 500 } }'
arm 2 "mine.textproto: name: 'other'" "an arm is named as its file: 'mine'" 'name: "other"'
arm 2 "mine.textproto:1:9: longrange.StudyArm has no field 'setings'" "did you mean 'settings'?" 'setings { }'
arm 2 'mine.textproto:2:1:' 'is a } missing?' 'settings { tuning { steps: 0 }'
arm 2 'mine.textproto:1:28: Expected integer' 'got: x' 'settings { tuning { steps: x } }'
arm 2 'mine.textproto:1:10: a text without' 'its closing quote' 'label: "x'
arm 2 '"label" is specified multiple times' 'Non-repeated' 'label: "x" label: "y"'
arm 2 "'COSIN' is no value of kind" "did you mean 'COSINE'?" 'settings { tuning { optimizer { schedule { kind: COSIN } } } }'
arm 2 "got a field 'mixer'" 'expected a plugin, [type.googleapis.com/' 'settings { model { backbone { mixer { } } } }'
arm 2 "no message 'longrange.StakConfig'" "did you mean 'longrange.StackConfig'" \
    'settings { model { backbone { [type.googleapis.com/longrange.StakConfig] { } } } }'
position 2 "unknown position scheme 'transformer'" "did you mean 'transformer_rope'" \
    '[type.googleapis.com/longrange.TransformerConfig] { }'
position 2 "no field 'factr'" "did you mean 'factor'?" '[type.googleapis.com/longrange.PositionInterpolationConfig] { factr: 4 }'
position 2 "arm 'mine': factor: 0" 'expected 1 or more' '[type.googleapis.com/longrange.PositionInterpolationConfig] { factor: 0 }'
position 2 'original_length: 0' 'expected the length that the model was trained at' \
    '[type.googleapis.com/longrange.PositionInterpolationConfig] { dynamic: true }'
position 2 'beta_fast: 1' 'expected more than beta_slow, which is 8' \
    '[type.googleapis.com/longrange.RopeExtensionYarnConfig] { original_length: 128 factor: 4 beta_fast: 1 beta_slow: 8 }'
protocol 2 "protocol.textproto:$(grep -n ' evaluation {' "${protocol}" | head -n 1 | cut -d: -f1):13: longrange.StudySettings has no field 'evaluaton'" "did you mean 'evaluation'?" \
    's/evaluation {/evaluaton {/'
protocol 2 'base.length: 128' 'expected trained_length of the protocol, 100' 's/trained_length: 128/trained_length: 100/'
protocol 2 'base_seed: -1' 'expected 0 or more' 's/base_seed: 1/base_seed: -1/'
protocol 2 "no field 'bckbone'" "did you mean 'backbone'?" 's/^compares: .*/compares: "model.bckbone"/'
protocol 2 "compares: 'data'" 'expected model, tuning or a path under one of them' 's/^compares: .*/compares: "data"/'
protocol 2 "name: '../x'" 'expected the name of a folder' 's/^name: .*/name: "..\/x"/'
protocol 2 "preset 'smoke': of_arm: unknown arm 'mien'" "did you mean 'mine'?" '/name: "smoke"/a of_arm { arm: "mien" settings {} }'
protocol 2 "unknown preset 'smoke'" 'the protocol has none' 'd'

# Other programs
expect 2 'mixer: mambo' 'expected one of attention' "${lm_step}" --mixer=mambo
expect 2 'length: 0' 'expected 1 to' "${lm_step}" --length=0
expect 2 'length: 99999999999' 'expected 1 to' "${lm_step}" --length=99999999999
expect 2 'batch x length: 1000000000000' 'tokens or fewer' "${lm_step}" --batch=1000000 --length=1000000
expect 1 'a step needs' 'smaller batch, length or width' "${lm_step}" --batch=16384 --length=1024 --dim=8192
expect 2 'heads: 3 does not divide the width 128' 'set head_width' "${lm_step}" --heads=3
expect 2 '--warmup: -1' 'expected 0 to' "${lm_step}" --warmup=-1
expect 2 'nowhere' 'No such file' "${lm_step}" --load=nowhere
expect 2 'void.txt: no safetensors: it has 0 bytes' 'expected at least 8' "${lm_step}" --load=void.txt
expect 2 '--device=cuda' 'expected --device=cpu' "${lm_step}" --device=cuda
expect 2 '--dir is missing' 'the folder with the golden cases' "${goldens}"
expect 2 'nowhere' 'No such file or directory' "${goldens}" --dir=nowhere
expect 2 'no golden case in this folder' 'empty' "${goldens}" --dir=empty
expect 2 'unknown flag --dirr' "did you mean '--dir'?" "${goldens}" --dirr=x
expect 2 "unknown argument 'x'" 'none but --help' "${doctor}" x

[[ ! -e out ]] || { echo "a mistake left an output folder"; failed=1; }
echo "${count} mistakes"
[[ "${count}" -ge 50 ]] || failed=1
exit "${failed}"
