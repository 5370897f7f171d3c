#include "papers/long_range_arena/documents.h"

#include <algorithm>
#include <set>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "common/base/refuse.h"
#include "common/base/status_macros.h"
#include "common/data/corpus.h"
#include "common/io/atomic_file.h"
#include "glog/logging.h"
#include "papers/long_range_arena/data_files.h"
#include "plugins/token_example.h"

namespace longrange::long_range_arena {
namespace {

constexpr int64_t kImdbFiles = 12500;  // of each split and label

const DataSet& Imdb() {
  static const auto* set = new DataSet{
      "Large Movie Review Dataset",
      "https://ai.stanford.edu/~amaas/data/sentiment/aclImdb_v1.tar.gz (84125825 bytes, SHA-256 "
      "c40f74a18d3b61f90feba1e17730e0d38e8b97c05fde7008942e91923d1658fe; unpack it and name its "
      "folder aclImdb)",
      {}};
  return *set;
}

const DataSet& Reviews() {
  static const auto* set =
      new DataSet{"reviews, one a line", "no one place: made of whichever are at hand", {}};
  return *set;
}

const DataSet& Aan() {
  static const auto* set =
      new DataSet{"ACL Anthology Network pairs of Long Range Arena",
                  "https://storage.googleapis.com/long-range-arena/lra_release.gz (unpack it and "
                  "name its folder lra_release/lra_release/tsv_data)",
                  {}};
  return *set;
}

// Validation is every so manieth document to train on.
constexpr int64_t kHeldOut = 10;

// Text files of aclImdb's folder for one split and label, into `documents` by turns.
absl::Status ReadImdbFiles(const std::string& folder, absl::string_view split, int32_t label,
                           int64_t keep, const std::vector<Documents*>& by_turns) {
  const std::string name = absl::StrCat(split, "/", label == 1 ? "pos" : "neg"),
                    path = absl::StrCat(folder, "/", name);
  if (!IsDirectory(path)) {
    return absl::NotFoundError(
        absl::StrCat("no folder ", name, " in ", folder, " (", Described(Imdb()), ")"));
  }
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> names, ListDir(path));
  int64_t count = 0;
  for (const std::string& file : names) {
    if (!absl::EndsWith(file, ".txt")) continue;
    LR_ASSIGN_OR_RETURN(const std::string text, ReadFile(absl::StrCat(path, "/", file)));
    by_turns[count % static_cast<int64_t>(by_turns.size())]->Add(
        label, {absl::string_view(text).substr(0, keep)});
    ++count;
  }
  if (count == kImdbFiles) return absl::OkStatus();
  return absl::DataLossError(absl::StrCat(path, ": ", count, " files *.txt (expected ", kImdbFiles,
                                          "; ", Described(Imdb()), ")"));
}

std::vector<Documents*> HeldOutLast(DocumentSplits* splits) {
  std::vector<Documents*> by_turns(kHeldOut, &splits->train);
  by_turns.back() = &splits->validation;
  return by_turns;
}

// A file of `columns` fields a line: the label, and texts in the last ones.
absl::Status ReadTabbed(const DataSet& set, const std::string& folder, const std::string& name,
                        int columns, int texts, int64_t keep,
                        const std::vector<Documents*>& by_turns) {
  LR_RETURN_IF_ERROR(CheckDataFile(set, {name}, folder));
  int64_t count = 0;
  return ForEachTabbedLine(
      absl::StrCat(folder, "/", name), columns, keep,
      [&](absl::Span<const std::string> fields, absl::string_view what) -> absl::Status {
        LR_ASSIGN_OR_RETURN(const int32_t label, LabelOf(fields[0], what));
        std::vector<absl::string_view> parts;
        for (int i = columns - texts; i < columns; ++i) parts.emplace_back(fields[i]);
        by_turns[count++ % static_cast<int64_t>(by_turns.size())]->Add(label, parts);
        return absl::OkStatus();
      });
}

}  // namespace

absl::string_view Documents::text(int64_t i, int which) const {
  const int64_t n = i * per_label_ + which, begin = n == 0 ? 0 : ends_[n - 1];
  return absl::string_view(bytes_).substr(begin, ends_[n] - begin);
}

void Documents::Add(int32_t label, const std::vector<absl::string_view>& texts) {
  CHECK_EQ(static_cast<int>(texts.size()), per_label_);
  labels_.push_back(label);
  for (const absl::string_view text : texts) {
    bytes_.append(text.data(), text.size());
    ends_.push_back(static_cast<int64_t>(bytes_.size()));
  }
}

const Documents& DocumentSplits::of(Split split) const {
  return split == Split::kTrain ? train : split == Split::kValidation ? validation : test;
}

absl::StatusOr<int32_t> LabelOf(absl::string_view field, absl::string_view what) {
  if (field == "0" || field == "0.0") return 0;
  if (field == "1" || field == "1.0") return 1;
  return absl::DataLossError(absl::StrCat(what, ": label '", field.substr(0, 20),
                                          "' (expected 0 or 1, before the first tab)"));
}

absl::StatusOr<DocumentSplits> ReadReviews(const std::string& folder, int64_t keep) {
  DocumentSplits splits;
  const auto has = [&](absl::string_view name) {
    return PathExists(absl::StrCat(folder, "/", name));
  };
  if (has("train.tsv") || has("test.tsv")) {
    LR_RETURN_IF_ERROR(
        ReadTabbed(Reviews(), folder, "train.tsv", 2, 1, keep, HeldOutLast(&splits)));
    LR_RETURN_IF_ERROR(ReadTabbed(Reviews(), folder, "test.tsv", 2, 1, keep, {&splits.test}));
  } else if (has("train") || has("test")) {
    for (const int32_t label : {0, 1}) {
      LR_RETURN_IF_ERROR(ReadImdbFiles(folder, "train", label, keep, HeldOutLast(&splits)));
      LR_RETURN_IF_ERROR(ReadImdbFiles(folder, "test", label, keep, {&splits.test}));
    }
  } else {
    return absl::NotFoundError(absl::StrCat("neither train/ and test/ (", Described(Imdb()),
                                            ") nor train.tsv and test.tsv (a review a line: 0 or "
                                            "1, a tab, the text) in ",
                                            folder));
  }
  if (splits.validation.size() == 0)
    return absl::DataLossError(absl::StrCat(folder, ": ", splits.train.size(),
                                            " reviews to train on (expected ", kHeldOut,
                                            " or more)"));
  splits.described =
      absl::StrCat(splits.train.size(), " reviews to train on, ", splits.validation.size(),
                   " to validate on and ", splits.test.size(), " to test on, from ", folder);
  return splits;
}

absl::StatusOr<DocumentSplits> ReadPairs(const std::string& folder, int64_t keep) {
  DocumentSplits splits = {Documents(2), Documents(2), Documents(2), ""};
  const auto read = [&](absl::string_view part, Documents* documents) {
    return ReadTabbed(Aan(), folder, absl::StrCat("new_aan_pairs.", part, ".tsv"), 5, 2, keep,
                      {documents});
  };
  LR_RETURN_IF_ERROR(read("train", &splits.train));
  LR_RETURN_IF_ERROR(read("eval", &splits.validation));
  LR_RETURN_IF_ERROR(read("test", &splits.test));
  splits.described =
      absl::StrCat(splits.train.size(), " pairs of papers to train on, ", splits.validation.size(),
                   " to validate on and ", splits.test.size(), " to test on, from ", folder);
  return splits;
}

std::string LettersOf(absl::string_view text) {
  std::string letters;
  letters.reserve(text.size());
  for (const char c : text) {
    if (absl::ascii_isalpha(static_cast<unsigned char>(c))) {
      letters += absl::ascii_tolower(static_cast<unsigned char>(c));
    } else if (!letters.empty() && letters.back() != ' ') {
      letters += ' ';
    }
  }
  return letters;
}

absl::StatusOr<Passages> Passages::Open(const std::vector<std::string>& sources) {
  if (sources.size() < 2)
    return Refuse("source", sources.empty() ? "none" : sources[0], "two corpora or more");
  const std::set<std::string> distinct(sources.begin(), sources.end());
  if (distinct.size() < sources.size()) return Refuse("source", Listed(sources), "each once");
  Passages passages;
  for (const std::string& name : sources) {
    LR_ASSIGN_OR_RETURN(const Corpus corpus, OpenCorpus(name));
    passages.texts_.push_back(
        {name,
         {LettersOf(corpus.train()), LettersOf(corpus.validation()), LettersOf(corpus.test())}});
  }
  return passages;
}

absl::StatusOr<absl::string_view> Passages::Draw(int64_t source, Split split, int64_t size,
                                                 RngStream* draw) const {
  const Source& from = texts_[source];
  const absl::string_view part = from.parts[static_cast<size_t>(split)];
  const auto has = static_cast<int64_t>(part.size());
  if (has < size) {
    return absl::InvalidArgumentError(
        absl::StrCat("the ", SplitName(split), " part of source ", from.name, " has ", has,
                     " letters and spaces; a passage of this length has ", size));
  }
  return part.substr(draw->UniformInt(has - size + 1), size);
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size(); ++i)
    absl::StrAppend(&text, i == 0 ? "" : i + 1 == names.size() ? " and " : ", ", names[i]);
  return text;
}

}  // namespace longrange::long_range_arena
