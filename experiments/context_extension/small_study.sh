# For tests of this folder: text with no licence and no installation, and a study of a second.

# Writes FOLDER/words.txt: words in a random but fixed order.
make_words() {
  mkdir -p "$1"
  awk 'BEGIN {
    srand(7)
    for (i = 0; i < 60000; i++)
      printf "%s%s", substr("the of and to in is that it was for on are with as his they be at one have", 1 + int(rand() * 70), 2 + int(rand() * 7)), (i % 12 == 11 ? ".\n" : " ")
  }' > "$1/words.txt"
}

# Sets `flags` to those of a study on the text in FOLDER with a checkpoint every step: much of its time is spent writing
# files. A frozen arm and a tuned one with two seeds.
base_steps=24 tuning_steps=10
small_study() {
  flags=(--preset=smoke "--corpus=$1" --arms=direct_frozen,yarn_tuned --threads=1
    --set base.batch=2 --set "base.steps=${base_steps}" --set base.checkpoint_every=1
    --set base.check_every=8 --set base.check_examples=2
    --set "tuning.steps=${tuning_steps}" --set tuning.checkpoint_every=1
    --set evaluation.windows=48 --set evaluation.length=128,256 --set evaluation.task_length=128)
}
