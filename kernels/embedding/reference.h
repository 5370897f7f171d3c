// Embedding from its definition, in double: the truth of the tests.

#ifndef LONGRANGE_KERNELS_EMBEDDING_REFERENCE_H_
#define LONGRANGE_KERNELS_EMBEDDING_REFERENCE_H_

#include <cstdint>

namespace longrange::kernels {
namespace reference {

// y[n] = table[ids[n]], table [v, d].
inline void EmbeddingForward(int64_t n, int64_t d, const double* table, const int64_t* ids,
                             double* y) {
  for (int64_t i = 0; i < n * d; ++i) y[i] = table[ids[i / d] * d + i % d];
}

// dtable[ids[n]] += dy[n] in the order of n, from zeros.
inline void EmbeddingBackward(int64_t n, int64_t v, int64_t d, const int64_t* ids, const double* dy,
                              double* dtable) {
  for (int64_t i = 0; i < v * d; ++i) dtable[i] = 0;
  for (int64_t i = 0; i < n * d; ++i) dtable[ids[i / d] * d + i % d] += dy[i];
}

}  // namespace reference
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_EMBEDDING_REFERENCE_H_
