// Text to train and to measure on.

#ifndef LONGRANGE_COMMON_DATA_CORPUS_H_
#define LONGRANGE_COMMON_DATA_CORPUS_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// Contiguous bytes in three parts, cut at fixed places: with n = size / 20, the last n bytes are
// the test part, the n before them the validation part, the rest is for training. Cheap to copy.
class Corpus {
 public:
  Corpus(std::string name, std::string text, int64_t num_documents = 1);

  const std::string& name() const { return name_; }
  int64_t num_documents() const { return num_documents_; }   // files that are not empty
  const std::string& checksum() const { return checksum_; }  // XXH3 of all bytes, 16 hex digits

  absl::string_view text() const { return {text_->data(), text_->size()}; }
  absl::string_view train() const { return text().substr(0, text_->size() - 2 * held_out()); }
  absl::string_view validation() const {
    return text().substr(text_->size() - 2 * held_out(), held_out());
  }
  absl::string_view test() const { return text().substr(text_->size() - held_out()); }

 private:
  size_t held_out() const { return text_->size() / 20; }

  std::string name_;
  std::shared_ptr<const std::string> text_;
  int64_t num_documents_;
  std::string checksum_;
};

// "anarchism" and "bible_kjv" are the corpora that third_party/install.sh writes to CorporaDir().
// Anything else is the path of a text file, or of a folder: its *.txt and *.md files at any depth,
// in order of their paths, hidden ones left out, each ended by a newline. A relative path is the
// user's (UserPath); "./anarchism" is a path. NotFound: no such corpus, file or folder.
// InvalidArgument: nothing in it, or a file that is not text (has a NUL byte).
absl::StatusOr<Corpus> OpenCorpus(absl::string_view name_or_path);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_DATA_CORPUS_H_
