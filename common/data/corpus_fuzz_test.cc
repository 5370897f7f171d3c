#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/data/corpus.h"
#include "common/data/tokenizer.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"

namespace longrange {

// A corpus is the bytes of its file in three parts, and its tokens read back as its text. Nothing
// but an empty file and a NUL is refused.
void FuzzOne(absl::string_view input) {
  const absl::StatusOr<Corpus> corpus = OpenCorpus(FuzzFile(input));
  CHECK_EQ(corpus.ok(), !input.empty() && input.find('\0') == absl::string_view::npos)
      << corpus.status();
  if (corpus.ok()) {
    CHECK(corpus->text() == input);
    CHECK(absl::StrCat(corpus->train(), corpus->validation(), corpus->test()) == input);
    CHECK_EQ(corpus->test().size(), input.size() / 20);
    static const auto* tokenizer = new ByteTokenizer({"<bos>", "<mark>"});
    CHECK(tokenizer->Decode(tokenizer->Encode(input)) == input);
  }
}

std::vector<std::string> FuzzSeeds() {
  std::string text = "In the beginning <bos> was the word.\nÉt \xF0\x9F\x98\x80 <mark>\r\n";
  return {text, text + text + text, std::string(100, '\n'), "\xFF\xFE\x80"};
}

}  // namespace longrange
