// Tensors by name, in the order of their names: the content of a file, a parameter tree, a state.

#ifndef LONGRANGE_COMMON_IO_TENSOR_MAP_H_
#define LONGRANGE_COMMON_IO_TENSOR_MAP_H_

#include <map>
#include <string>

#include "common/tensor/tensor.h"

namespace longrange {

using TensorMap = std::map<std::string, Tensor>;

}  // namespace longrange

#endif  // LONGRANGE_COMMON_IO_TENSOR_MAP_H_
