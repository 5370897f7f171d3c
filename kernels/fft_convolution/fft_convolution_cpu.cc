#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/fft_convolution/fft_convolution.h"
#include "kernels/fft_convolution/reference.h"

namespace longrange::kernels {
namespace {

reference::ConvolutionShape CheckShapes(const FftConvolutionInputs& in) {
  const Tensor& x = in.x_btd;
  CHECK_EQ(x.rank(), 3) << "x is [B, T, D], got " << x.shape();
  reference::ConvolutionShape s{x.dim(0), x.dim(1), x.dim(2)};
  const auto check = [&](const Tensor& t, const Shape& shape, const char* name) {
    CHECK(t.shape() == shape) << name << " " << t.shape() << ", expected " << shape << " for x "
                              << x.shape();
    CHECK(t.dtype() == x.dtype()) << name << " is " << Name(t.dtype()) << ", x " << Name(x.dtype());
  };
  CHECK_EQ(in.filter_ld.rank(), 2) << "a filter is [L, D], got " << in.filter_ld.shape();
  s.past = in.filter_ld.dim(0);
  check(in.filter_ld, {s.past, s.d}, "filter");
  if (in.future_ld.defined()) {
    CHECK_EQ(in.future_ld.rank(), 2) << "a filter is [L, D], got " << in.future_ld.shape();
    s.future = in.future_ld.dim(0);
    check(in.future_ld, {s.future, s.d}, "future filter");
  }
  if (in.skip_d.defined()) check(in.skip_d, {s.d}, "skip");
  if (in.gate_btd.defined()) check(in.gate_btd, x.shape(), "gate");
  return s;
}

const double* Data(const Tensor& t) { return t.defined() ? t.data<double>() : nullptr; }
Tensor Wide(const Tensor& t) { return t.defined() ? t.To(DType::kFloat64) : t; }

}  // namespace

Tensor FftConvolutionForward(const FftConvolutionInputs& in) {
  const reference::ConvolutionShape s = CheckShapes(in);
  const TraceSpan span("FftConvolutionForward");
  if (in.x_btd.is_meta()) return Tensor::EmptyLike(in.x_btd);
  const Tensor x = Wide(in.x_btd), past = Wide(in.filter_ld), future = Wide(in.future_ld),
               skip = Wide(in.skip_d), gate = Wide(in.gate_btd), y = Tensor::EmptyLike(x);
  reference::Convolution(s, Data(x), Data(past), Data(future), Data(skip), Data(gate),
                         y.mutable_data<double>());
  return y.To(in.x_btd.dtype());
}

void FftConvolutionBackward(const FftConvolutionInputs& in, const Tensor& dy_btd,
                            const FftConvolutionGradients& gradients) {
  const reference::ConvolutionShape s = CheckShapes(in);
  CHECK(dy_btd.shape() == in.x_btd.shape()) << dy_btd.shape() << " for x " << in.x_btd.shape();
  const TraceSpan span("FftConvolutionBackward");
  if (in.x_btd.is_meta()) return;
  const Tensor x = Wide(in.x_btd), past = Wide(in.filter_ld), future = Wide(in.future_ld),
               skip = Wide(in.skip_d), gate = Wide(in.gate_btd), dy = Wide(dy_btd);
  const auto like = [](const Tensor& t) { return t.defined() ? Tensor::EmptyLike(t) : t; };
  const Tensor dx = like(x), dpast = like(past), dfuture = like(future), dskip = like(skip),
               dgate = like(gate);
  const auto data = [](const Tensor& t) {
    return t.defined() ? t.mutable_data<double>() : nullptr;
  };
  reference::ConvolutionBackward(s, Data(x), Data(past), Data(future), Data(skip), Data(gate),
                                 Data(dy), data(dx), data(dpast), data(dfuture), data(dskip),
                                 data(dgate));
  const auto give = [](const Tensor& to, const Tensor& from) {
    if (to.defined()) to.CopyFrom(from.To(to.dtype()));
  };
  give(gradients.dx_btd, dx);
  give(gradients.dfilter_ld, dpast);
  give(gradients.dfuture_ld, dfuture);
  give(gradients.dskip_d, dskip);
  give(gradients.dgate_btd, dgate);
}

}  // namespace longrange::kernels
