#include "papers/long_range_arena/data_files.h"

#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <memory>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/io/sha256.h"

namespace longrange::long_range_arena {

std::string Described(const DataSet& set) {
  return absl::StrCat(set.name, ", published at ", set.published);
}

absl::Status CheckDataFile(const DataSet& set, const DataFile& file, const std::string& folder) {
  const std::string path = absl::StrCat(folder, "/", file.name);
  struct stat info;
  if (stat(path.c_str(), &info) != 0) {
    return absl::NotFoundError(
        absl::StrCat("no file ", file.name, " in ", folder, " (", Described(set), ")"));
  }
  if (!S_ISREG(info.st_mode))
    return absl::InvalidArgumentError(absl::StrCat(path, " is no regular file"));
  if (file.bytes >= 0 && info.st_size != file.bytes) {
    return absl::DataLossError(absl::StrCat(path, ": ", info.st_size, " bytes (expected ",
                                            file.bytes, "; ", Described(set), ")"));
  }
  if (file.sha256.empty()) return absl::OkStatus();
  LR_ASSIGN_OR_RETURN(const std::string sum, Sha256OfFile(path));
  if (sum == file.sha256) return absl::OkStatus();
  return absl::DataLossError(
      absl::StrCat(path, ": SHA-256 ", sum, " (expected ", file.sha256, "; ", Described(set), ")"));
}

absl::Status ForEachTabbedLine(
    const std::string& path, int columns, int64_t keep,
    absl::FunctionRef<absl::Status(absl::Span<const std::string> fields, absl::string_view what)>
        fn) {
  const std::unique_ptr<FILE, int (*)(FILE*)> file(std::fopen(path.c_str(), "rbe"), std::fclose);
  if (file == nullptr) return absl::ErrnoToStatus(errno, absl::StrCat("cannot open ", path));
  std::vector<std::string> fields(columns);
  std::vector<char> piece(1 << 16);
  int64_t number = 1, bytes = 0;
  int column = 0;
  bool in_line = false;
  const auto what = [&] { return absl::StrCat(path, ": line ", number); };
  while (true) {
    const size_t got = std::fread(piece.data(), 1, piece.size(), file.get());
    if (got == 0) break;
    bytes += static_cast<int64_t>(got);
    for (const char c : absl::string_view(piece.data(), got)) {
      in_line = true;
      if (c == '\t') {
        if (++column == columns) {
          return absl::DataLossError(
              absl::StrCat(what(), ": more than ", columns, " fields between tabs"));
        }
      } else if (c == '\n') {
        if (column + 1 < columns) {
          return absl::DataLossError(
              absl::StrCat(what(), ": ", column + 1, " of ", columns, " fields between tabs"));
        }
        LR_RETURN_IF_ERROR(fn(fields, what()));
        for (std::string& field : fields) field.clear();
        column = 0;
        in_line = false;
        ++number;
      } else if (c == '\0') {
        return absl::DataLossError(absl::StrCat(what(), ": no text, it has a byte 0"));
      } else if (static_cast<int64_t>(fields[column].size()) < keep) {
        fields[column] += c;
      }
    }
  }
  if (std::ferror(file.get()) != 0)
    return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  if (bytes == 0) return absl::DataLossError(absl::StrCat(path, " is empty"));
  if (in_line) return absl::DataLossError(absl::StrCat(what(), ": cut short, no end of line"));
  return absl::OkStatus();
}

}  // namespace longrange::long_range_arena
