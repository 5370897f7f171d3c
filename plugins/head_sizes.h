// The heads of an attention layer, as the fields of a config state them.

#ifndef LONGRANGE_PLUGINS_HEAD_SIZES_H_
#define LONGRANGE_PLUGINS_HEAD_SIZES_H_

#include <cstdint>

#include "absl/status/statusor.h"

namespace longrange {

struct HeadSizes {
  int64_t heads = 0, kv_heads = 0, head_width = 0;
};

// Of the fields `heads`, `kv_heads` (0: as many as heads) and `head_width` (0: width / heads) of a
// layer of `width` channels. InvalidArgument: the first one that does not fit, by its name.
absl::StatusOr<HeadSizes> CheckHeads(int64_t heads, int64_t kv_heads, int64_t head_width,
                                     int64_t width);

}  // namespace longrange

#endif  // LONGRANGE_PLUGINS_HEAD_SIZES_H_
