#include "kernels/gemm/precision.h"

#include <atomic>

namespace longrange::kernels {
namespace {

std::atomic<Precision> current{Precision::kFloat32};

}  // namespace

Precision GetPrecision() { return current.load(std::memory_order_relaxed); }

PrecisionScope::PrecisionScope(Precision precision) : before_(current.exchange(precision)) {}

PrecisionScope::~PrecisionScope() { current.store(before_); }

}  // namespace longrange::kernels
