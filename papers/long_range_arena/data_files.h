// Files of published data sets: are they where they are said to be, and the ones that were
// published? And the two plain formats among them, read a piece at a time.

#ifndef LONGRANGE_PAPERS_LONG_RANGE_ARENA_DATA_FILES_H_
#define LONGRANGE_PAPERS_LONG_RANGE_ARENA_DATA_FILES_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/functional/function_ref.h"
#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

namespace longrange::long_range_arena {

struct DataFile {
  std::string name;    // below the folder of its data set
  int64_t bytes = -1;  // -1: not known
  std::string sha256;  // 64 lower-case hexadecimal digits; "": not known
};

struct DataSet {
  std::string name;       // "CIFAR-10, binary version"
  std::string published;  // where, and what to unpack
  std::vector<DataFile> files;
};

// "NAME, published at PLACE".
std::string Described(const DataSet& set);

// Is the file in the folder, with the size and digest that are known of it? NotFound says which
// file, which folder, and where it is published; DataLoss what it is instead.
absl::Status CheckDataFile(const DataSet& set, const DataFile& file, const std::string& folder);

// Calls fn with the fields of each line of a file, which stand with tabs between them; of each no
// more than the first `keep` bytes. `what` is "PATH: line N". Stops at the first error. DataLoss:
// a line of another number of fields, a last line without its end, a NUL, an empty file. Never
// holds more than a line's kept bytes.
absl::Status ForEachTabbedLine(
    const std::string& path, int columns, int64_t keep,
    absl::FunctionRef<absl::Status(absl::Span<const std::string> fields, absl::string_view what)>
        fn);

}  // namespace longrange::long_range_arena

#endif  // LONGRANGE_PAPERS_LONG_RANGE_ARENA_DATA_FILES_H_
