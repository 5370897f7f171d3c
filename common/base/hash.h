// A short name for bytes: their XXH3 (64 bits).

#ifndef LONGRANGE_COMMON_BASE_HASH_H_
#define LONGRANGE_COMMON_BASE_HASH_H_

#include <string>

#include "absl/strings/string_view.h"

namespace longrange {

// 16 hex digits. Tells contents apart that are not made to collide; of resolved configs, corpora,
// checkpoints.
std::string Hash(absl::string_view bytes);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_HASH_H_
