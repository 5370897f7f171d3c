// A new paper: a folder of working files made from papers/_skeleton, and its line in papers.bzl.

#ifndef LONGRANGE_PAPERS_NEW_PAPER_H_
#define LONGRANGE_PAPERS_NEW_PAPER_H_

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace longrange {

// Kinds of plugin that a paper can start with: "mixer", "scheme", ...
std::vector<std::string> NewPaperKinds();

// "linear_recurrence" -> "LinearRecurrence", the start of its config message's name.
std::string CamelCase(absl::string_view name);

// `bzl`, the text of papers.bzl, with the line of `name` in its place. AlreadyExists: it has one.
// InvalidArgument: there is no list that a line could be put into.
absl::StatusOr<std::string> WithPaper(const std::string& bzl, absl::string_view name);

// Writes papers/<name> and its line in papers.bzl under `root`, the repository; after an error both
// are as before. Returns what to do next, for a terminal. InvalidArgument and AlreadyExists: what
// is wrong with the name or the kind; else what the file system says.
absl::StatusOr<std::string> MakePaper(const std::string& root, const std::string& name,
                                      const std::string& kind);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_NEW_PAPER_H_
