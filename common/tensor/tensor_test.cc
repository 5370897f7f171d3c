// Tensors: handles, views, types, and the memory behind them.

#include "common/tensor/tensor.h"

#include <gtest/gtest.h>

#include <cmath>

#include "common/tensor/cost.h"

namespace longrange {
namespace {

TEST(Tensor, HandlesShareAndClonesDoNot) {
  const Tensor a = Tensor::FromVector<float>({2, 2}, {1, 2, 3, 4});
  const Tensor same = a, copy = a.Clone();
  a.mutable_data<float>()[0] = 9;
  EXPECT_EQ(same.ToDoubles()[0], 9);
  EXPECT_EQ(copy.ToDoubles()[0], 1);
  EXPECT_TRUE(same.Is(a));
  EXPECT_FALSE(copy.Is(a));
}

TEST(Tensor, ViewsShareMemory) {
  const Tensor a = Tensor::FromVector<int32_t>({2, 3}, {0, 1, 2, 3, 4, 5});
  EXPECT_EQ(a.View({3, -1}).shape(), (Shape{3, 2}));
  EXPECT_EQ(a.ViewRows(1, 2).ToInts(), (std::vector<int64_t>{3, 4, 5}));
  a.ViewRows(1, 2).mutable_data<int32_t>()[0] = 7;
  EXPECT_EQ(a.ToInts()[3], 7);
  EXPECT_EQ(a.ViewRows(2, 2).numel(), 0);
}

TEST(Tensor, EmptyShapesAndScalars) {
  EXPECT_EQ(Tensor::Scalar(2.5).item(), 2.5);
  EXPECT_EQ(Tensor::Scalar(2.5).rank(), 0);
  const Tensor none = Tensor::Zeros({0, 3});
  EXPECT_EQ(none.numel(), 0);
  EXPECT_EQ(none.Clone().shape(), (Shape{0, 3}));
}

TEST(Tensor, BFloat16RoundsToNearestEven) {
  const std::pair<float, float> cases[] = {{1.0f, 1.0f},
                                           {1.00390625f, 1.0f},
                                           {1.01171875f, 1.015625f},
                                           {-3.14159265f, -3.140625f},
                                           {0.0f, 0.0f}};
  for (const auto& [in, out] : cases) EXPECT_EQ(static_cast<float>(BFloat16(in)), out) << in;
  EXPECT_TRUE(std::isnan(static_cast<float>(BFloat16(NAN))));
  EXPECT_EQ(static_cast<float>(BFloat16(INFINITY)), INFINITY);
  EXPECT_EQ(static_cast<float>(BFloat16(3.4e38f)), INFINITY);  // beyond the largest bfloat16
  const Tensor t = Tensor::FromVector<float>({2}, {1.01171875f, -2}).To(DType::kBFloat16);
  EXPECT_EQ(t.bytes(), 4);
  EXPECT_EQ(t.To(DType::kFloat32).ToDoubles(), (std::vector<double>{1.015625, -2}));
}

TEST(Tensor, MetaHasAShapeAndNoMemory) {
  const int64_t before = GetMemoryStats(Device::kMeta).live_bytes,
                cpu = GetMemoryStats(Device::kCpu).live_bytes;
  {
    const Tensor huge = Tensor::Zeros({int64_t{1} << 40}, DType::kFloat32, Device::kMeta);
    EXPECT_GE(GetMemoryStats(Device::kMeta).live_bytes - before, int64_t{1} << 42);
    EXPECT_EQ(huge.Clone().device(), Device::kMeta);
  }
  EXPECT_EQ(GetMemoryStats(Device::kMeta).live_bytes, before);
  EXPECT_EQ(GetMemoryStats(Device::kCpu).live_bytes, cpu);
}

TEST(Allocator, ReusesBlocksAndCountsThePeak) {
  ReleaseCached();
  const void* first = Tensor::Zeros({1000}).raw_data();
  const Tensor again = Tensor::Zeros({1001});  // the same size class
  EXPECT_EQ(again.raw_data(), first);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(again.raw_data()) % 64, 0u);
  ResetPeak(Device::kCpu);
  const int64_t live = GetMemoryStats(Device::kCpu).live_bytes;
  { const Tensor big = Tensor::Empty({1 << 20}); }
  EXPECT_GE(GetMemoryStats(Device::kCpu).peak_bytes, live + (4 << 20));
  EXPECT_EQ(GetMemoryStats(Device::kCpu).live_bytes, live);
  ReleaseCached();
  EXPECT_EQ(GetMemoryStats(Device::kCpu).cached_bytes, 0);
}

TEST(Cost, ScopesNest) {
  const CostScope outer;
  RecordCost(1, 10);
  {
    const CostScope inner;
    RecordCost(2, 20);
    EXPECT_EQ(inner.cost().flops, 2);
  }
  EXPECT_EQ(outer.cost().flops, 3);
  EXPECT_EQ(outer.cost().bytes, 30);
}

TEST(TensorDeathTest, WrongUseSaysWhatIsWrong) {
  const Tensor a = Tensor::Zeros({2, 3});
  EXPECT_DEATH(a.data<double>(), "element type is float32, read as float64");
  EXPECT_DEATH(a.View({4}), "cannot view \\[2, 3\\] as \\[4\\]");
  EXPECT_DEATH(a.ViewRows(1, 3), "rows \\[1, 3\\)");
  EXPECT_DEATH(Tensor().shape(), "undefined tensor");
  EXPECT_DEATH(a.item(), "item\\(\\) of shape");
  EXPECT_DEATH(Tensor::Zeros({2}, DType::kFloat32, Device::kMeta).data<float>(),
               "no host data on device meta");
}

TEST(MemoryChecks, NewMemoryIsNaN) {
  SetMemoryChecks(true);
  EXPECT_TRUE(std::isnan(Tensor::Empty({3}).data<float>()[2]));
  EXPECT_TRUE(std::isnan(Tensor::Empty({3}, DType::kFloat64).data<double>()[2]));
  EXPECT_EQ(Tensor::Empty({3}, DType::kInt32).data<int32_t>()[2], -1);
}

TEST(MemoryChecksDeathTest, WritingPastTheEndIsFatal) {
  SetMemoryChecks(true);
  EXPECT_DEATH(
      {
        const Tensor t = Tensor::Zeros({3});
        t.mutable_data<float>()[3] = 0;
      },
      "a tensor of 12 bytes was written past its end");
}

}  // namespace
}  // namespace longrange
