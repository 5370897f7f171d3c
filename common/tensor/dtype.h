// Element types and devices of tensors.

#ifndef LONGRANGE_COMMON_TENSOR_DTYPE_H_
#define LONGRANGE_COMMON_TENSOR_DTYPE_H_

#include <cstdint>
#include <cstring>

#include "absl/strings/string_view.h"

namespace longrange {

// float32 is the default, float64 is for gradient checks and references, bfloat16 is storage, the
// integers are ids.
enum class DType : uint8_t { kFloat32, kFloat64, kBFloat16, kInt32, kInt64, kUInt8 };

// Meta tensors have a shape and no memory: a model run on them adds up flops and bytes.
enum class Device : uint8_t { kCpu, kMeta, kCuda };

int64_t SizeOf(DType dtype);            // bytes of one element
absl::string_view Name(DType dtype);    // "float32", ...
absl::string_view Name(Device device);  // "cpu", "meta", "cuda"
inline bool IsFloating(DType d) { return d <= DType::kBFloat16; }

// The upper half of a float32, rounded to nearest even.
struct BFloat16 {
  uint16_t bits = 0;

  BFloat16() = default;
  explicit BFloat16(float value) {
    uint32_t u;
    std::memcpy(&u, &value, sizeof(u));
    if ((u & 0x7FFFFFFF) > 0x7F800000) {
      bits = static_cast<uint16_t>((u >> 16) | 0x40);  // a quiet NaN stays one
    } else {
      bits = static_cast<uint16_t>((u + 0x7FFF + ((u >> 16) & 1)) >> 16);
    }
  }
  explicit operator float() const {
    const uint32_t u = uint32_t{bits} << 16;
    float value;
    std::memcpy(&value, &u, sizeof(value));
    return value;
  }
};

template <typename T>
struct DTypeOf;
template <>
struct DTypeOf<float> {
  static constexpr DType value = DType::kFloat32;
};
template <>
struct DTypeOf<double> {
  static constexpr DType value = DType::kFloat64;
};
template <>
struct DTypeOf<BFloat16> {
  static constexpr DType value = DType::kBFloat16;
};
template <>
struct DTypeOf<int32_t> {
  static constexpr DType value = DType::kInt32;
};
template <>
struct DTypeOf<int64_t> {
  static constexpr DType value = DType::kInt64;
};
template <>
struct DTypeOf<uint8_t> {
  static constexpr DType value = DType::kUInt8;
};

}  // namespace longrange

#endif  // LONGRANGE_COMMON_TENSOR_DTYPE_H_
