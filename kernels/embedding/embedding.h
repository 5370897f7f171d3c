// Embedding: rows of a table by id. V rows of the table, D channels, N ids (any shape). Ids are
// int32 or int64.

#ifndef LONGRANGE_KERNELS_EMBEDDING_EMBEDDING_H_
#define LONGRANGE_KERNELS_EMBEDDING_EMBEDDING_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y_nd[n] = table_vd[ids[n]]. y has N · D elements. An id outside [0, V) is fatal.
void EmbeddingForward(const Tensor& table_vd, const Tensor& ids, const Tensor& y_nd);

// dtable_vd[v] = sum over n with ids[n] = v of dy_nd[n], in the order of n; overwritten.
void EmbeddingBackward(const Tensor& ids, const Tensor& dy_nd, const Tensor& dtable_vd);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_EMBEDDING_EMBEDDING_H_
