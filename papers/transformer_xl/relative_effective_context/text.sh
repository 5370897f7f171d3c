# For tests of this folder: text with no licence and no installation.

# Writes FOLDER/words.txt: COUNT words in a random but fixed order.
make_words() {
  mkdir -p "$1"
  awk -v count="$2" 'BEGIN {
    srand(7)
    for (i = 0; i < count; i++)
      printf "%s%s", substr("the of and to in is that it was for on are with as his they be at one have", 1 + int(rand() * 70), 2 + int(rand() * 7)), (i % 12 == 11 ? ".\n" : " ")
  }' > "$1/words.txt"
}
