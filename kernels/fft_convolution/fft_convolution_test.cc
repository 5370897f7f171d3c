#include "kernels/fft_convolution/fft_convolution.h"

#include <limits>

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
    {1, 1, 1, 1, 0, false, false},        {2, 5, 3, 5, 0, false, false},
    {2, 5, 3, 9, 7, true, true},          {3, 33, 17, 4, 2, true, false},
    {2, 100, 16, 100, 0, true, true},     {1, 127, 40, 127, 127, false, true},
    {2, 200, 5, 130, 70, true, true},     {1, 257, 16, 257, 256, true, false},
    {5, 300, 18, 300, 0, false, true},    {1, 1000, 19, 1200, 900, true, true},
    {1, 640, 8, 640, 0, false, false},    {0, 3, 2, 8, 8, true, true},
    {2, 0, 2, 8, 8, true, true},          {2, 3, 0, 8, 8, true, true},
    {2, 70, 2, 0, 0, true, true},         {2, 70, 2, 0, 50, false, false},
    {1, 64, 3, 64, 0, false, false},      {1, 160, 3, 160, 160, false, false},
    {1, 384, 3, 384, 1, true, false},     {1, 2000, 2, 2000, 0, false, false},
    {1, 5000, 1, 30, 4999, false, false}, {5, 500, 112, 90, 0, true, true},
    {5, 500, 112, 9, 0, true, true},
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

// Only some gradients: the same bits as with all.
TEST(FftConvolution, GradientsOneByOne) {
  for (const int64_t taps : {5, 90}) {
    const Case s{3, 90, 20, taps, taps, true, true};
    const FftConvolutionInputs in = Make(s, DType::kFloat32);
    const Tensor dy = RandomNormal({s.b, s.t, s.d}, kRng.Child("dy"));
    const auto all = Compute(in, dy);
    for (int i = 1; i < 6; ++i) {
      FftConvolutionGradients g;
      Tensor* const wanted[] = {&g.dx_btd, &g.dfilter_ld, &g.dfuture_ld, &g.dskip_d, &g.dgate_btd};
      *wanted[i - 1] = Tensor::EmptyLike(all[i]);
      FftConvolutionBackward(in, dy, g);
      EXPECT_THAT(*wanted[i - 1], RmsClose(all[i], 1e-6)) << i;
    }
  }
}

// Without a skip or beyond the reach of the taps nothing of x is touched: an infinity elsewhere
// does not spread.
TEST(FftConvolution, SkipIsLeftOutWhereThereIsNone) {
  const Tensor x = Tensor::Zeros({1, 3, 1}), filter = Tensor::Zeros({0, 1});
  x.Fill(std::numeric_limits<double>::infinity());
  EXPECT_THAT(FftConvolutionForward({x, filter, Tensor(), Tensor(), Tensor()}),
              BitEqual(Tensor::Zeros({1, 3, 1})));
}

TEST(FftConvolution, SameBitsForAnyThreadCount) {
  for (const Case& s :
       {Case{3, 300, 20, 300, 100, true, true}, Case{3, 300, 20, 9, 4, true, true}}) {
    const FftConvolutionInputs in = Make(s, DType::kFloat32);
    const Tensor dy = RandomNormal({s.b, s.t, s.d}, kRng.Child("dy"));
    ExpectSameBits([&] { return Compute(in, dy); });
  }
}

// A sample's result does not depend on the others of its batch.
TEST(FftConvolution, SamplesAreIndependent) {
  const FftConvolutionInputs in = Make({3, 200, 20, 200, 0, false, false}, DType::kFloat32);
  const Tensor y = FftConvolutionForward(in);
  for (int64_t b = 0; b < 3; ++b) {
    FftConvolutionInputs one = in;
    one.x_btd = in.x_btd.ViewRows(b, b + 1);
    EXPECT_THAT(FftConvolutionForward(one), BitEqual(y.ViewRows(b, b + 1)));
  }
}

// One thread holds the filters as transforms and one sample's group of channels: memory beside the
// results does not grow with the batch.
TEST(FftConvolution, MemoryBesideTheResults) {
  SetNumThreads(1);
  std::vector<int64_t> forward, backward;
  for (const int64_t b : {2, 9}) {
    const FftConvolutionInputs in = Make({b, 1000, 80, 1000, 0, false, false}, DType::kFloat32);
    const Tensor dy = RandomNormal({b, 1000, 80}, kRng.Child("dy"));
    const FftConvolutionGradients g{Tensor::EmptyLike(in.x_btd), Tensor::EmptyLike(in.filter_ld)};
    const auto peak_of = [](auto run) {
      const int64_t live = GetMemoryStats(Device::kCpu).live_bytes;
      ResetPeak(Device::kCpu);
      run();
      return GetMemoryStats(Device::kCpu).peak_bytes - live;
    };
    forward.push_back(peak_of([&] { FftConvolutionForward(in); }) - in.x_btd.bytes());
    backward.push_back(peak_of([&] { FftConvolutionBackward(in, dy, g); }));
  }
  SetNumThreads(0);
  EXPECT_NEAR(forward[0], forward[1], 1 << 16);             // sizes are rounded up
  EXPECT_LE(backward[1], backward[0] + 2 * 1000 * 80 * 4);  // parts of the batch have gradients
  EXPECT_LE(forward[0], 4 * 1000 * 80 * 4);
}

TEST(FftConvolution, MetaCountsWhatTheCpuCounts) {
  for (const int64_t taps : {4, 90}) {
    const FftConvolutionInputs in = Make({2, 90, 3, taps, taps, true, true}, DType::kFloat32);
    const Tensor dy = RandomNormal({2, 90, 3}, kRng.Child("dy"));
    const Cost cpu = CostOf([&] { Compute(in, dy); });
    const Cost meta = CostOf([&] { Compute(Map(in, Meta), Meta(dy)); });
    EXPECT_GT(cpu.flops, 0);
    EXPECT_EQ(meta.flops, cpu.flops);
    EXPECT_EQ(meta.bytes, cpu.bytes);
  }
}

TEST(FftConvolutionDeathTest, RefusesShapesThatDoNotFit) {
  const Tensor x = Tensor::Zeros({1, 3, 4});
  EXPECT_DEATH(FftConvolutionForward({x, Tensor::Zeros({5, 3})}), "filter \\[5, 3\\], expected");
  EXPECT_DEATH(FftConvolutionForward({x, Tensor::Zeros({5, 4}), Tensor(), Tensor::Zeros({3})}),
               "skip \\[3\\], expected \\[4\\]");
}

}  // namespace
}  // namespace longrange::kernels
