// Where is a tensor not finite?

#ifndef LONGRANGE_COMMON_TENSOR_FINITE_H_
#define LONGRANGE_COMMON_TENSOR_FINITE_H_

#include <string>

#include "common/tensor/tensor.h"

namespace longrange {

// The first element, in memory's order, that is NaN or infinite: "NaN at [0, 3, 7]", "-inf at [2]";
// empty where all are finite. Integers and tensors on meta always are. One pass over the memory.
std::string FirstNonFinite(const Tensor& t);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TENSOR_FINITE_H_
