#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/power_kernel/power_kernel.h"
#include "kernels/power_kernel/reference.h"

namespace longrange::kernels {
namespace {

using Complex = std::complex<double>;

reference::PowerShape CheckShapes(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length) {
  CHECK(c_chn2.rank() == 4 && c_chn2.dim(3) == 2) << "c is [C, H, N/2, 2], got " << c_chn2.shape();
  const reference::PowerShape s{c_chn2.dim(0), c_chn2.dim(1), c_chn2.dim(2), length};
  CHECK(log_a_hn2.shape() == Shape({s.h, s.n, 2}))
      << "log a " << log_a_hn2.shape() << " for c " << c_chn2.shape();
  CHECK(log_a_hn2.dtype() == c_chn2.dtype())
      << Name(log_a_hn2.dtype()) << " and " << Name(c_chn2.dtype());
  CHECK_GE(length, 0);
  return s;
}

void RecordKernelCost(const reference::PowerShape& s, double flops_a_power, const Tensor& c_chn2) {
  const double powers = static_cast<double>(s.c * s.h * s.n) * static_cast<double>(s.length);
  RecordCost(flops_a_power * powers,
             SizeOf(c_chn2.dtype()) *
                 static_cast<double>(2 * (s.c + 1) * s.h * s.n + s.c * s.length * s.h));
}

const Complex* Pairs(const Tensor& t) { return reinterpret_cast<const Complex*>(t.data<double>()); }
Complex* MutablePairs(const Tensor& t) {
  return reinterpret_cast<Complex*>(t.mutable_data<double>());
}

}  // namespace

Tensor PowerKernelForward(const Tensor& c_chn2, const Tensor& log_a_hn2, int64_t length) {
  const reference::PowerShape s = CheckShapes(c_chn2, log_a_hn2, length);
  const TraceSpan span("PowerKernelForward");
  RecordKernelCost(s, 4, c_chn2);
  const Shape shape{s.c, length, s.h};
  if (c_chn2.is_meta()) return Tensor::Empty(shape, c_chn2.dtype(), Device::kMeta);
  const Tensor c = c_chn2.To(DType::kFloat64), log_a = log_a_hn2.To(DType::kFloat64),
               kernel = Tensor::Empty(shape, DType::kFloat64);
  reference::PowerKernel(s, Pairs(c), Pairs(log_a), kernel.mutable_data<double>());
  return kernel.To(c_chn2.dtype());
}

PowerKernelGradients PowerKernelBackward(const Tensor& c_chn2, const Tensor& log_a_hn2,
                                         const Tensor& dkernel_clh) {
  CHECK_EQ(dkernel_clh.rank(), 3) << "a kernel is [C, L, H], got " << dkernel_clh.shape();
  const reference::PowerShape s = CheckShapes(c_chn2, log_a_hn2, dkernel_clh.dim(1));
  CHECK(dkernel_clh.shape() == Shape({s.c, s.length, s.h}))
      << "dK " << dkernel_clh.shape() << " for c " << c_chn2.shape();
  const TraceSpan span("PowerKernelBackward");
  RecordKernelCost(s, 16, c_chn2);
  if (c_chn2.is_meta()) return {Tensor::EmptyLike(c_chn2), Tensor::EmptyLike(log_a_hn2)};
  const Tensor c = c_chn2.To(DType::kFloat64), log_a = log_a_hn2.To(DType::kFloat64),
               dkernel = dkernel_clh.To(DType::kFloat64), dc = Tensor::EmptyLike(c),
               dlog_a = Tensor::EmptyLike(log_a);
  reference::PowerKernelBackward(s, Pairs(c), Pairs(log_a), dkernel.data<double>(),
                                 MutablePairs(dc), MutablePairs(dlog_a));
  return {dc.To(c_chn2.dtype()), dlog_a.To(c_chn2.dtype())};
}

}  // namespace longrange::kernels
