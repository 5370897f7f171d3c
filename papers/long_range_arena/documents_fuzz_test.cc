#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/testing/fuzz.h"
#include "glog/logging.h"
#include "papers/long_range_arena/data_files.h"
#include "papers/long_range_arena/documents.h"
#include "papers/long_range_arena/images.h"

namespace longrange::long_range_arena {

// Whatever is in a file of reviews, of pairs or of images: its content, or an error that names the
// file. Lines that are given out, joined again, are the file.
void Try(absl::string_view input) {
  const std::string path = FuzzFile(input);
  for (const int columns : {2, 5}) {
    std::string again;
    const absl::Status read = ForEachTabbedLine(
        path, columns, static_cast<int64_t>(input.size()) + 1,
        [&](absl::Span<const std::string> fields, absl::string_view what) -> absl::Status {
          CHECK_EQ(static_cast<int>(fields.size()), columns);
          for (size_t i = 0; i < fields.size(); ++i)
            absl::StrAppend(&again, fields[i], i + 1 < fields.size() ? "\t" : "\n");
          const absl::StatusOr<int32_t> label = LabelOf(fields[0], what);
          if (label.ok()) CHECK(*label == 0 || *label == 1);
          return absl::OkStatus();
        });
    if (read.ok()) {
      CHECK(again == input);
    } else {
      CHECK(absl::IsDataLoss(read) && read.message().find(path) != absl::string_view::npos) << read;
    }
  }
  Images images;
  const absl::Status read = AppendCifar(input, "batch", Gray::kPillow, &images);
  const size_t whole = input.size() / 3073;
  if (read.ok()) {
    CHECK_EQ(input.size(), whole * 3073);
    CHECK_EQ(images.labels.size(), whole);
    CHECK_EQ(images.pixels.size(), whole * 1024);
    for (const uint8_t label : images.labels) CHECK_LT(label, 10);
  } else {
    CHECK(absl::IsDataLoss(read)) << read;
  }
}

}  // namespace longrange::long_range_arena

namespace longrange {

void FuzzOne(absl::string_view input) { long_range_arena::Try(input); }

std::vector<std::string> FuzzSeeds() {
  std::string image(3073, '\x07');
  return {"1\tgood\n0\tbad\n", "0.0\ta\tb\tone\ttwo\n1.0\tc\td\tthree\tfour\n", image,
          image + image};
}

}  // namespace longrange
