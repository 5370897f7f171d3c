// The precision in which matrix products of float32 tensors are computed.

#ifndef LONGRANGE_KERNELS_GEMM_PRECISION_H_
#define LONGRANGE_KERNELS_GEMM_PRECISION_H_

namespace longrange::kernels {

// kBfloat16: factors are rounded to bfloat16 (8 bits of mantissa), to nearest; products are added
// in float32. Twice as fast where the processor has AVX512_BF16, and right, but no faster, where it
// has not. The order of additions is the same as of float32, so bits depend on the shape, and on
// the kind of processor, alone.
enum class Precision { kFloat32, kBfloat16 };

// What is set now; kFloat32 where nobody has set it.
Precision GetPrecision();

// Sets it for the whole process while it lives. Not to be opened or closed while kernels run on
// another thread.
class PrecisionScope {
 public:
  explicit PrecisionScope(Precision precision);
  ~PrecisionScope();
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  const Precision before_;
};

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_GEMM_PRECISION_H_
