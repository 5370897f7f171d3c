#include "common/data/corpus.h"

#include <algorithm>
#include <filesystem>
#include <system_error>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "common/base/hash.h"
#include "common/base/near_names.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace longrange {
namespace {

namespace fs = std::filesystem;

const std::vector<std::string>& Installed() {
  static const auto* names = new std::vector<std::string>{"anarchism", "bible_kjv"};
  return *names;
}

bool IsText(const fs::path& path) {
  const std::string extension = absl::AsciiStrToLower(path.extension().string());
  return extension == ".txt" || extension == ".md";
}

absl::StatusOr<std::string> ReadTextFile(const std::string& path) {
  LR_ASSIGN_OR_RETURN(std::string text, ReadWholeFile(path));
  const size_t nul = text.find('\0');
  if (nul != std::string::npos) {
    return absl::InvalidArgumentError(
        absl::StrCat("corpus file ", path, " is not text: byte ", nul, " is 0"));
  }
  return text;
}

// The text files under `folder`, in order of their paths.
absl::StatusOr<std::vector<std::string>> ListTextFiles(const std::string& folder) {
  std::vector<std::string> files;
  std::error_code error;
  const auto failed = [&] {
    return absl::ErrnoToStatus(error.value(),
                               absl::StrCat("cannot list the corpus folder ", folder));
  };
  fs::recursive_directory_iterator it(folder, error);
  if (error) return failed();
  while (it != fs::recursive_directory_iterator()) {
    const bool hidden = absl::StartsWith(it->path().filename().string(), ".");
    if (hidden) it.disable_recursion_pending();
    if (!hidden && IsText(it->path()) && fs::is_regular_file(it->path(), error))
      files.push_back(it->path().string());
    it.increment(error);
    if (error) return failed();
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Corpus::Corpus(std::string name, std::string text, int64_t num_documents)
    : name_(std::move(name)),
      text_(std::make_shared<const std::string>(std::move(text))),
      num_documents_(num_documents),
      checksum_(Hash(this->text())) {}

absl::StatusOr<Corpus> OpenCorpus(absl::string_view name_or_path) {
  const std::string name(name_or_path);
  if (name.empty()) {
    return absl::InvalidArgumentError(
        "no corpus is named; give 'anarchism', 'bible_kjv', or a file or folder of text");
  }
  const bool installed =
      std::find(Installed().begin(), Installed().end(), name) != Installed().end();
  const std::string path =
      installed ? absl::StrCat(CorporaDir(), "/", name, ".txt") : UserPath(name);
  std::error_code error;
  const fs::file_status found = fs::status(path, error);
  if (!fs::exists(found)) {
    if (error && error != std::errc::no_such_file_or_directory &&
        error != std::errc::not_a_directory) {
      return absl::ErrnoToStatus(error.value(), absl::StrCat("cannot open corpus ", path));
    }
    if (installed) {
      return absl::NotFoundError(
          absl::StrCat("corpus '", name, "' not found at ", path,
                       "; run third_party/install.sh, or name a file or folder of text instead"));
    }
    return absl::NotFoundError(absl::StrCat(
        "corpus '", name, "' is neither installed (anarchism, bible_kjv) nor a file or folder: ",
        "there is no ", path, DidYouMean(name, Installed())));
  }
  if (!fs::is_directory(found)) {
    // A device may have no end, a pipe no writer.
    if (!fs::is_regular_file(found)) {
      return absl::InvalidArgumentError(
          absl::StrCat("corpus ", path, " is neither a regular file nor a folder"));
    }
    LR_ASSIGN_OR_RETURN(std::string text, ReadTextFile(path));
    if (text.empty())
      return absl::InvalidArgumentError(absl::StrCat("corpus file ", path, " is empty"));
    return Corpus(name, std::move(text));
  }
  LR_ASSIGN_OR_RETURN(const std::vector<std::string> files, ListTextFiles(path));
  if (files.empty()) {
    return absl::InvalidArgumentError(
        absl::StrCat("corpus folder ", path, " has no .txt or .md file"));
  }
  // Grown at once: growing it step by step would take three times its bytes.
  size_t bytes = 0;
  for (const std::string& file : files) {
    const uintmax_t size = fs::file_size(file, error);
    if (!error) bytes += size + 1;
  }
  std::string all;
  all.reserve(bytes);
  int64_t num_documents = 0;
  for (const std::string& file : files) {
    LR_ASSIGN_OR_RETURN(const std::string text, ReadTextFile(file));
    if (text.empty()) continue;
    ++num_documents;
    absl::StrAppend(&all, text, text.back() == '\n' ? "" : "\n");
  }
  if (all.empty())
    return absl::InvalidArgumentError(
        absl::StrCat("the text files of corpus folder ", path, " are all empty"));
  return Corpus(name, std::move(all), num_documents);
}

}  // namespace longrange
