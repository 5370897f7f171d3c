// Documents with labels, and where they come from: reviews, pairs of papers, and what stands in for
// both where they are not at hand.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_DOCUMENTS_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_DOCUMENTS_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/base/rng.h"
#include "plugins/task.h"

namespace longrange::long_range_arena {

// Documents in one piece of memory, `per_label` of them for each label.
class Documents {
 public:
  explicit Documents(int per_label = 1) : per_label_(per_label) {}

  int64_t size() const { return static_cast<int64_t>(labels_.size()); }
  int32_t label(int64_t i) const { return labels_[i]; }
  absl::string_view text(int64_t i, int which = 0) const;
  void Add(int32_t label, const std::vector<absl::string_view>& texts);

 private:
  int per_label_;
  std::string bytes_;
  std::vector<int64_t> ends_;  // of each text
  std::vector<int32_t> labels_;
};

struct DocumentSplits {
  Documents train, validation, test;
  const Documents& of(Split split) const;
  std::string described;  // "25000 reviews to train on, 25000 to test on"
};

// Reviews and whether they praise (1) or not (0), from one of two kinds of folder:
//   train/{neg,pos}/*.txt, test/{neg,pos}/*.txt   aclImdb as it is published, 12500 files each
//   train.tsv, test.tsv                           a review a line, its label, a tab, its text
// Every tenth review to train on is for validation: Long Range Arena's own code validates on the
// test set. Of each text no more than `keep` bytes are read. NotFound names the file, the folder
// and where it is published; DataLoss the file, the line and what is wrong with it.
absl::StatusOr<DocumentSplits> ReadReviews(const std::string& folder, int64_t keep);

// Pairs of papers of the ACL Anthology Network and whether one cites the other, from the files of
// Long Range Arena: new_aan_pairs.{train,eval,test}.tsv, a pair a line, label, two names, two
// texts, with tabs between. Errors as above.
absl::StatusOr<DocumentSplits> ReadPairs(const std::string& folder, int64_t keep);

// "0", "1", "0.0" or "1.0".
absl::StatusOr<int32_t> LabelOf(absl::string_view field, absl::string_view what);

// Passages of texts that stand in for documents. Only their letters are kept, in lower case, with
// single spaces where there was anything else, so that the layout of a text does not give it away.
class Passages {
 public:
  // `sources` as of OpenCorpus. InvalidArgument: fewer than two, or one twice.
  static absl::StatusOr<Passages> Open(const std::vector<std::string>& sources);

  int64_t sources() const { return static_cast<int64_t>(texts_.size()); }
  // So many bytes of the split's part of a source, anywhere in it. InvalidArgument: it has fewer.
  absl::StatusOr<absl::string_view> Draw(int64_t source, Split split, int64_t size,
                                         RngStream* draw) const;

 private:
  struct Source {
    std::string name;
    std::array<std::string, 3> parts;  // by split
  };
  std::vector<Source> texts_;
};

// "anarchism and bible_kjv".
std::string Listed(const std::vector<std::string>& names);

// Letters in lower case, and a space for each run of anything else.
std::string LettersOf(absl::string_view text);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_DOCUMENTS_H_
