#include <algorithm>
#include <cstring>
#include <vector>

#include "common/base/thread_pool.h"
#include "common/base/trace.h"
#include "common/tensor/cost.h"
#include "kernels/embedding/embedding.h"

namespace longrange::kernels {
namespace {

// Ids as int64 positions of the table; fatal where one is not in [0, v).
std::vector<int64_t> CheckedIds(const Tensor& ids, int64_t v) {
  std::vector<int64_t> checked = ids.ToInts();
  for (const int64_t id : checked)
    CHECK(id >= 0 && id < v) << "id " << id << " of " << v << " rows";
  return checked;
}

int64_t CheckShapes(const Tensor& table_vd, const Tensor& ids, const Tensor& y_nd) {
  CHECK_EQ(table_vd.rank(), 2) << "the table is [V, D], got " << table_vd.shape();
  CHECK(ids.dtype() == DType::kInt32 || ids.dtype() == DType::kInt64)
      << "ids are int32 or int64, got " << Name(ids.dtype());
  CHECK(table_vd.dtype() == y_nd.dtype())
      << Name(table_vd.dtype()) << " and " << Name(y_nd.dtype());
  CHECK_EQ(y_nd.numel(), ids.numel() * table_vd.dim(1))
      << "table " << table_vd.shape() << ", ids " << ids.shape() << ", y " << y_nd.shape();
  return table_vd.dim(1);
}

// Every row of the table adds up the rows of dy that have its id, in their order.
template <typename T>
void Scatter(const std::vector<int64_t>& ids, int64_t v, int64_t d, const T* dy, T* dtable) {
  // Positions sorted by id, stably (counting sort): those of row r are order[first[r]] ..
  // order[first[r + 1] - 1].
  std::vector<int64_t> first(v + 1, 0), order(ids.size());
  for (const int64_t id : ids) ++first[id + 1];
  for (int64_t r = 0; r < v; ++r) first[r + 1] += first[r];
  std::vector<int64_t> next(first.begin(), first.end() - 1);
  for (size_t n = 0; n < ids.size(); ++n) order[next[ids[n]]++] = static_cast<int64_t>(n);
  // Tasks of about equal work (rows to add): a frequent id must not leave one thread with
  // everything else.
  constexpr int64_t kTasks = 64;
  const int64_t total = static_cast<int64_t>(ids.size()) + v;
  const auto boundary =
      [&](int64_t task) {  // the first row whose work starts at or after the task's share
        const int64_t share = task * total / kTasks;
        int64_t low = 0, high = v;
        while (low < high) {
          const int64_t middle = (low + high) / 2;
          first[middle] + middle < share ? low = middle + 1 : high = middle;
        }
        return low;
      };
  ParallelFor(kTasks, [&](int64_t task) {
    const int64_t end = task == kTasks - 1 ? v : boundary(task + 1);
    for (int64_t r = boundary(task); r < end; ++r) {
      T* to = dtable + r * d;
      std::fill(to, to + d, T{0});
      for (int64_t at = first[r]; at < first[r + 1]; ++at) {
        const T* from = dy + order[at] * d;
        for (int64_t i = 0; i < d; ++i) to[i] += from[i];
      }
    }
  });
}

}  // namespace

void EmbeddingForward(const Tensor& table_vd, const Tensor& ids, const Tensor& y_nd) {
  const int64_t d = CheckShapes(table_vd, ids, y_nd);
  const TraceSpan span("EmbeddingForward");
  RecordCost(0, 2.0 * y_nd.bytes() + ids.bytes());
  if (table_vd.is_meta() || y_nd.numel() == 0) return;
  const std::vector<int64_t> rows = CheckedIds(ids, table_vd.dim(0));
  const int64_t row_bytes = d * SizeOf(table_vd.dtype());
  const char* table = static_cast<const char*>(table_vd.raw_data());
  char* y = static_cast<char*>(y_nd.mutable_raw_data());
  constexpr int64_t kGrainBytes = 1 << 16;
  ParallelForRange(ids.numel(), std::max<int64_t>(1, kGrainBytes / row_bytes),
                   [&](int64_t begin, int64_t end) {
                     for (int64_t n = begin; n < end; ++n) {
                       std::memcpy(y + n * row_bytes, table + rows[n] * row_bytes, row_bytes);
                     }
                   });
}

void EmbeddingBackward(const Tensor& ids, const Tensor& dy_nd, const Tensor& dtable_vd) {
  const int64_t d = CheckShapes(dtable_vd, ids, dy_nd);
  const TraceSpan span("EmbeddingBackward");
  RecordCost(dy_nd.numel(), dy_nd.bytes() + dtable_vd.bytes() + ids.bytes());
  if (dtable_vd.is_meta()) return;
  const int64_t v = dtable_vd.dim(0);
  const std::vector<int64_t> rows = CheckedIds(ids, v);
  if (dy_nd.dtype() == DType::kFloat64) {
    Scatter(rows, v, d, dy_nd.data<double>(), dtable_vd.mutable_data<double>());
  } else {
    Scatter(rows, v, d, dy_nd.data<float>(), dtable_vd.mutable_data<float>());
  }
}

}  // namespace longrange::kernels
