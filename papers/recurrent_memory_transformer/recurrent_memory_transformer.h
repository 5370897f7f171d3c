// Recurrent Memory Transformer (Bulatov, Kuratov, Burtsev; NeurIPS 2022, arXiv 2207.06881): a
// backbone around another one, which reads a sequence in segments. B batch, D width, N rows of a
// segment, M rows of memory.

#ifndef LONGRANGE_PAPERS_RECURRENT_MEMORY_TRANSFORMER_RECURRENT_MEMORY_TRANSFORMER_H_
#define LONGRANGE_PAPERS_RECURRENT_MEMORY_TRANSFORMER_RECURRENT_MEMORY_TRANSFORMER_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "absl/status/statusor.h"
#include "papers/recurrent_memory_transformer/recurrent_memory_transformer.pb.h"
#include "plugins/backbone.h"

namespace longrange {

// The rows of the wrapped backbone for a whole segment.
int64_t RecurrentMemoryRows(const RecurrentMemoryTransformerConfig& config);

// The number of rows in each segment of a sequence of `rows`.
std::vector<int64_t> RecurrentMemorySegments(const RecurrentMemoryTransformerConfig& config,
                                             int64_t rows);

// Around a backbone that is made already; config.backbone is not looked at. InvalidArgument where
// the config is out of range or the backbone cannot be wrapped so.
absl::StatusOr<std::unique_ptr<Backbone>> WrapInRecurrentMemory(
    const RecurrentMemoryTransformerConfig& config, std::unique_ptr<Backbone> inner,
    const BuildArgs& args);

}  // namespace longrange

#endif  // LONGRANGE_PAPERS_RECURRENT_MEMORY_TRANSFORMER_RECURRENT_MEMORY_TRANSFORMER_H_
