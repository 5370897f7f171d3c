// Which rows of a call are padding (Rows::begin_b, Rows::end_b), for layers to which a row of zeros
// is as no row.

#ifndef LONGRANGE_COMMON_NN_PADDING_H_
#define LONGRANGE_COMMON_NN_PADDING_H_

#include "common/nn/call.h"

namespace longrange::nn {

// uint8 [B, T, 1], 1 where row t of x [B, T, ..] is none of its sample's [begin, end); undefined
// where `rows` says nothing of padding. Rows are those of the call, so that a stream's padding,
// which comes with its first rows, ends within them.
Tensor PaddingOf(const Rows& rows, const Tensor& x);

// x [B, T, ..] with zeros in the rows that are padding.
Tensor WithoutPadding(const Tensor& x, const Rows& rows);

}  // namespace longrange::nn

#endif  // LONGRANGE_COMMON_NN_PADDING_H_
