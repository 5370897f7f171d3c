#include "kernels/embedding/embedding.h"

#include "kernels/embedding/reference.h"
#include "kernels/testing.h"

namespace longrange::kernels {
namespace {

const Rng kRng(13);

TEST(Embedding, EqualsReference) {
  for (const int64_t n : {0, 1, 5, 3000}) {
    for (const int64_t d : {1, 3, 17, 100}) {
      for (const DType id_type : {DType::kInt32, DType::kInt64}) {
        SCOPED_TRACE(testing::Message() << n << " " << d);
        constexpr int64_t kV = 37;  // so ids repeat, and for small n rows stay untouched
        const Tensor table = RandomNormal({kV, d}, kRng.Child("table"));
        const Tensor ids = RandomIds({n}, kRng.Child("ids"), kV, id_type);
        const Tensor dy = RandomNormal({n, d}, kRng.Child("dy"));
        const Tensor y = Tensor::Empty({n, d}), dtable = Tensor::Full({kV, d}, 99);
        EmbeddingForward(table, ids, y);
        EmbeddingBackward(ids, dy, dtable);
        const Tensor want = Tensor::Empty({n, d}, DType::kFloat64);
        const Tensor dwant = Tensor::Empty({kV, d}, DType::kFloat64);
        reference::EmbeddingForward(n, d, Double(table).data<double>(), ids.ToInts().data(),
                                    want.mutable_data<double>());
        reference::EmbeddingBackward(n, kV, d, ids.ToInts().data(), Double(dy).data<double>(),
                                     dwant.mutable_data<double>());
        EXPECT_THAT(y, BitEqual(want.To(DType::kFloat32)));
        EXPECT_THAT(dtable, RmsClose(dwant, kFloat32GradientRms));
        const Tensor exact = Tensor::EmptyLike(dwant);
        EmbeddingBackward(ids, Double(dy), exact);
        EXPECT_THAT(exact, BitEqual(dwant));
      }
    }
  }
}

TEST(Embedding, GradientOfReference) {
  const Tensor table = RandomNormal({4, 3}, kRng.Child("table"), 1, DType::kFloat64);
  const Tensor dy = RandomNormal({2, 3, 3}, kRng.Child("dy"), 1, DType::kFloat64);
  const Tensor ids = Tensor::FromVector<int32_t>({2, 3}, {1, 1, 3, 0, 1, 3});
  const Tensor dtable = Tensor::EmptyLike(table);
  EmbeddingBackward(ids, dy, dtable);
  ExpectGradient(table, dtable, [&] {
    const Tensor y = Tensor::EmptyLike(dy);
    EmbeddingForward(table, ids, y);
    return Dot(y, dy);
  });
}

// One id that takes nearly everything, as a space does in text.
TEST(Embedding, SameBitsForAnyThreadCount) {
  const Tensor ids = RandomIds({20000}, kRng.Child("ids"), 300);
  for (int64_t i = 0; i < 20000; i += 3) ids.mutable_data<int64_t>()[i] = 17;
  const Tensor table = RandomNormal({300, 33}, kRng), dy = RandomNormal({20000, 33}, kRng);
  ExpectSameBits([&] {
    const Tensor y = Tensor::EmptyLike(dy), dtable = Tensor::EmptyLike(table);
    EmbeddingForward(table, ids, y);
    EmbeddingBackward(ids, dy, dtable);
    return std::vector<Tensor>{y, dtable};
  });
}

TEST(Embedding, MetaCountsWhatTheCpuCounts) {
  const auto run = [](const Tensor& table, const Tensor& ids, const Tensor& y) {
    return CostOf([&] {
      EmbeddingForward(table, ids, y);
      EmbeddingBackward(ids, y, table);
    });
  };
  const Tensor table = Tensor::Zeros({4, 3}), y = Tensor::Zeros({2, 3});
  const Tensor ids = Tensor::Zeros({2}, DType::kInt32);
  const Cost cpu = run(table, ids, y), meta = run(Meta(table), Meta(ids), Meta(y));
  EXPECT_GT(cpu.bytes, 0);
  EXPECT_EQ(meta.flops, cpu.flops);
  EXPECT_EQ(meta.bytes, cpu.bytes);
}

TEST(EmbeddingDeathTest, RefusesIdsOutsideTheTable) {
  const Tensor table = Tensor::Zeros({4, 3}), y = Tensor::Zeros({1, 3});
  for (const int64_t id : {-1, 4}) {
    const Tensor ids = Tensor::FromVector<int64_t>({1}, {id});
    EXPECT_DEATH(EmbeddingForward(table, ids, y), "of 4 rows");
    EXPECT_DEATH(EmbeddingBackward(ids, y, table), "of 4 rows");
  }
}

}  // namespace
}  // namespace longrange::kernels
