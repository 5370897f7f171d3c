#include "kernels/fft_convolution/fft_convolution.h"

#include "kernels/fft_convolution/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(5);

struct Case {
  int64_t b, t, d, past, future;
  bool skip, gate;
};
const Case kCases[] = {
    {1, 1, 1, 1, 0, false, false},     {2, 5, 3, 5, 0, false, false},
    {2, 5, 3, 9, 7, true, true},       {3, 33, 17, 4, 2, true, false},
    {2, 100, 16, 100, 0, true, true},  {1, 127, 40, 127, 127, false, true},
    {2, 200, 5, 130, 70, true, true},  {1, 257, 16, 257, 256, true, false},
    {5, 300, 18, 300, 0, false, true}, {1, 1000, 19, 1200, 900, true, true},
    {1, 640, 8, 640, 0, false, false}, {0, 3, 2, 8, 8, true, true},
    {2, 0, 2, 8, 8, true, true},       {2, 3, 0, 8, 8, true, true},
    {2, 70, 2, 0, 0, true, true},      {2, 70, 2, 0, 50, false, false},
};

FftConvolutionInputs Make(const Case& s, DType dtype) {
  const auto random = [&](const Shape& shape, const char* name) {
    return RandomNormal(shape, kRng.Child(name), 1, dtype);
  };
  FftConvolutionInputs in;
  in.x_btd = random({s.b, s.t, s.d}, "x");
  in.filter_ld = random({s.past, s.d}, "filter");
  if (s.future > 0) in.future_ld = random({s.future, s.d}, "future");
  if (s.skip) in.skip_d = random({s.d}, "skip");
  if (s.gate) in.gate_btd = random({s.b, s.t, s.d}, "gate");
  return in;
}

FftConvolutionInputs Map(const FftConvolutionInputs& in, Tensor (*fn)(const Tensor&)) {
  return {fn(in.x_btd), fn(in.filter_ld), fn(in.future_ld), fn(in.skip_d), fn(in.gate_btd)};
}

Tensor Like(const Tensor& t) { return t.defined() ? Tensor::Full(t.shape(), 7, t.dtype()) : t; }

// y, dx, dfilter, dfuture, dskip, dgate; undefined where the input is.
std::vector<Tensor> Compute(const FftConvolutionInputs& in, const Tensor& dy) {
  const Tensor y = FftConvolutionForward(in);
  const auto like = [](const Tensor& t) {
    return t.defined() && !t.is_meta() ? Like(t) : Tensor(t);
  };
  const FftConvolutionGradients g{like(in.x_btd), like(in.filter_ld), like(in.future_ld),
                                  like(in.skip_d), like(in.gate_btd)};
  FftConvolutionBackward(in, dy, g);
  return {y, g.dx_btd, g.dfilter_ld, g.dfuture_ld, g.dskip_d, g.dgate_btd};
}

std::vector<Tensor> Reference(const Case& s, const FftConvolutionInputs& in, const Tensor& dy) {
  const reference::ConvolutionShape shape{s.b, s.t, s.d, s.past, s.future};
  const auto data = [](const Tensor& t) { return t.defined() ? t.data<double>() : nullptr; };
  std::vector<Tensor> out = {Tensor::EmptyLike(in.x_btd), Like(in.x_btd),  Like(in.filter_ld),
                             Like(in.future_ld),          Like(in.skip_d), Like(in.gate_btd)};
  const auto result = [&](int i) {
    return out[i].defined() ? out[i].mutable_data<double>() : nullptr;
  };
  reference::Convolution(shape, data(in.x_btd), data(in.filter_ld), data(in.future_ld),
                         data(in.skip_d), data(in.gate_btd), result(0));
  reference::ConvolutionBackward(shape, data(in.x_btd), data(in.filter_ld), data(in.future_ld),
                                 data(in.skip_d), data(in.gate_btd), data(dy), result(1), result(2),
                                 result(3), result(4), result(5));
  return out;
}

TEST(FftConvolution, EqualsReference) {
  for (const Case& s : kCases) {
    SCOPED_TRACE(testing::Message() << s.b << " " << s.t << " " << s.d << " " << s.past << " "
                                    << s.future << " " << s.skip << s.gate);
    for (const DType dtype : {DType::kFloat32, DType::kFloat64}) {
      const bool narrow = dtype == DType::kFloat32;
      const FftConvolutionInputs in = Make(s, dtype);
      const Tensor dy = RandomNormal({s.b, s.t, s.d}, kRng.Child("dy"), 1, dtype);
      const auto out = Compute(in, dy);
      const auto expected = Reference(s, Map(in, Double), Double(dy));
      for (size_t i = 0; i < out.size(); ++i) {
        if (!expected[i].defined()) continue;
        EXPECT_THAT(Double(out[i]), RmsClose(expected[i], narrow ? 1e-6 : kFloat64Rms)) << i;
      }
    }
  }
}

TEST(FftConvolution, GradientOfReference) {
  const Case s{2, 5, 2, 4, 6, true, true};
  const FftConvolutionInputs in = Make(s, DType::kFloat64);
  const Tensor dy = RandomNormal({s.b, s.t, s.d}, kRng.Child("dy"), 1, DType::kFloat64);
  const auto out = Reference(s, in, dy);
  const auto loss = [&] { return Dot(Reference(s, in, dy)[0], dy); };
  ExpectGradient(in.x_btd, out[1], loss);
  ExpectGradient(in.filter_ld, out[2], loss);
  ExpectGradient(in.future_ld, out[3], loss);
  ExpectGradient(in.skip_d, out[4], loss);
  ExpectGradient(in.gate_btd, out[5], loss);
}

}  // namespace
}  // namespace longrange::kernels
