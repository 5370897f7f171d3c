#include "common/base/hash.h"

#include <xxhash.h>

#include "absl/strings/str_format.h"

namespace longrange {

std::string Hash(absl::string_view bytes) {
  return absl::StrFormat("%016x", static_cast<uint64_t>(XXH3_64bits(bytes.data(), bytes.size())));
}

}  // namespace longrange
