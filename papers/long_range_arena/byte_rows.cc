#include "papers/long_range_arena/byte_rows.h"

#include <algorithm>
#include <cmath>

#include "common/base/refuse.h"
#include "papers/long_range_arena/class_task.h"
#include "papers/long_range_arena/documents.h"

namespace longrange::long_range_arena {

void AppendByteTokens(std::vector<std::string>* tokens) {
  AppendLevels("byte", tokens);
  tokens->push_back("<pad>");
}

int64_t FillBytes(absl::string_view text, int64_t length,
                  absl::FunctionRef<int32_t(int64_t byte)> id_of, std::vector<int32_t>* ids) {
  ids->assign(length, id_of(kPadByte));
  const absl::string_view kept = text.substr(0, length);
  for (size_t i = 0; i < kept.size(); ++i) (*ids)[i] = id_of(static_cast<unsigned char>(kept[i]));
  return std::max<int64_t>(1, static_cast<int64_t>(kept.size()));
}

absl::Status CheckOrigin(absl::string_view folder, const std::vector<std::string>& sources,
                         double shortest) {
  if (folder.empty() && sources.empty()) {
    return Refuse(
        "folder", "none",
        "the folder with the files, or two corpora or more as source, which then stand in "
        "for them");
  }
  if (!folder.empty() && !sources.empty())
    return Refuse("source", Listed(sources), "none where there is a folder");
  if (sources.size() == 1) return Refuse("source", sources[0], "two corpora or more");
  if (!(shortest > 0 && shortest <= 1)) return Refuse("shortest", shortest, "more than 0, to 1");
  return absl::OkStatus();
}

absl::Status CheckMaxLength(int64_t max_length) {
  constexpr int64_t kLongest = int64_t{1} << 20;
  if (max_length < 1 || max_length > kLongest)
    return Refuse("max_length", max_length, "1 to 1048576");
  return absl::OkStatus();
}

int64_t PassageLength(int64_t most, double shortest, RngStream* draw) {
  const auto least =
      std::max<int64_t>(1, static_cast<int64_t>(std::ceil(shortest * static_cast<double>(most))));
  return least + draw->UniformInt(most - least + 1);
}

}  // namespace longrange::long_range_arena
