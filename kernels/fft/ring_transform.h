// Fast transforms of many columns at a time: a lane a channel, a row a time step.
//
// A polynomial z(Z) over the complex numbers modulo Z^N - root is split again and again:
//   modulo Z^M - rho  ->  modulo Z^(M/2) - sigma and modulo Z^(M/2) + sigma,  sigma^2 = rho,
//   (low, high)       ->  (low + sigma high, low - sigma high),
// down to its values at the N roots, in the order of the tree (bit-reversed). With root 1 that is
// the discrete Fourier transform. With root i it is what a convolution of real rows wants: real
// polynomials modulo Z^2N + 1 are complex ones modulo Z^N - i by z[n] = x[n] + i x[n + N], so a
// product of transforms, inverted, is the negacyclic convolution of length 2N, with no unpacking of
// halves; rows that are zero from N on make z real, which the first pass uses. Products with the
// conjugate are correlations. The order of the values does not matter to either, so nothing is
// ever reversed.
// A factor sigma belongs to a whole node of the tree: one value for all rows of a pass over it.
//
// N = f Q S: the first pass splits by f = 1, 3 or 5, then columns of Q rows, S apart, are
// transformed one by one through a scratch that stays in the first-level cache, then Q f blocks of
// S neighbouring rows, likewise. Nothing else is swept.

#ifndef LONGRANGE_KERNELS_FFT_RING_TRANSFORM_H_
#define LONGRANGE_KERNELS_FFT_RING_TRANSFORM_H_

#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/simd/wide.h"

namespace longrange::kernels {
namespace fft {

// A vector of complex numbers.
template <typename T>
struct Complex {
  simd::Wide<T> re, im;
};

template <typename T>
LR_SIMD_INLINE Complex<T> FromReal(simd::Wide<T> re) {
  return {re, simd::Wide<T>{}};
}
template <typename T>
LR_SIMD_INLINE Complex<T> Multiply(Complex<T> a, Complex<T> b) {
  return {a.re * b.re - a.im * b.im, a.re * b.im + a.im * b.re};
}
template <typename T>
LR_SIMD_INLINE Complex<T> MultiplyConjugate(Complex<T> a, Complex<T> b) {  // a* b
  return {a.re * b.re + a.im * b.im, a.re * b.im - a.im * b.re};
}

// The factors of a node with root e^(2 pi i phi), for three levels at once: sigma of the node, at
// phi / 2; of its first child, at phi / 4 (that of the second is i times it); of its first and
// third grandchild, at phi / 8 and (phi + 1) / 8 (the others are i times these). Pairs (re, im).
template <typename T>
struct Twiddle {
  T level1[2], level2[2], level3[2], level3_third[2];
};

// Trees of one depth, pass by pass.
template <typename T>
struct Trees {
  std::vector<int> levels;                     // of each pass, 1 to 3
  std::vector<std::vector<Twiddle<T>>> nodes;  // [pass][tree, node of the tree]
  int64_t size;                                // rows of a tree

  int passes() const { return static_cast<int>(levels.size()); }
  // Nodes of one tree at the start of pass p.
  int64_t num_nodes(int p) const {
    int64_t n = 1;
    for (int i = 0; i < p; ++i) n <<= levels[i];
    return n;
  }
};

template <typename T>
class RingPlan {
 public:
  // Memoised; lives as long as the program. `size` is one that GoodSize() returns; the root is 1 or
  // i.
  static const RingPlan& Of(int64_t size, bool root_is_i);

  int64_t size() const { return factor_ * columns_ * block_; }
  int64_t factor() const { return factor_; }                      // f
  int64_t columns() const { return columns_; }                    // Q
  int64_t block() const { return block_; }                        // S
  int64_t blocks() const { return factor_ * columns_; }           // f Q
  const Trees<T>& column_trees() const { return column_trees_; }  // f of them
  const Trees<T>& block_trees() const { return block_trees_; }    // f Q of them
  // The j-th power of root m of the first pass, which splits by f: a pair.
  const T* power(int64_t m, int64_t j) const { return &powers_[2 * (m * factor_ + j)]; }
  // Value i is the one at e^(2 pi i turns(i)).
  double turns(int64_t i) const { return turns_[i]; }

  // Elements of the memory that holds the rows of a transform. A row is a vector of real parts and
  // one of imaginary parts; one row lies unused behind each block, so that rows of a column are not
  // powers of two apart, which caches do not like.
  int64_t work_elements() const { return blocks() * (block_ + 1) * kRow; }
  T* Block(T* work, int64_t block) const { return work + block * (block_ + 1) * kRow; }
  // Of the memory for one column.
  int64_t scratch_elements() const { return blocks() * kRow; }

  static constexpr int64_t kRow = 2 * simd::kWideLanes<T>;

 private:
  RingPlan(int64_t size, bool root_is_i);

  int64_t factor_ = 1, columns_ = 1, block_ = 1;
  Trees<T> column_trees_, block_trees_;
  std::vector<T> powers_;
  std::vector<double> turns_;
};

// The smallest size at least n that a plan can have: 2^a, 3 2^a or 5 2^a, a >= 4.
int64_t GoodSize(int64_t n);

template <typename T>
LR_SIMD_INLINE Complex<T> LoadRow(const T* p) {
  return {simd::LoadWide(p), simd::LoadWide(p + simd::kWideLanes<T>)};
}
template <typename T>
LR_SIMD_INLINE void StoreRow(T* p, Complex<T> v) {
  simd::StoreWide(p, v.re);
  simd::StoreWide(p + simd::kWideLanes<T>, v.im);
}

namespace fft_internal {

// (low, high) -> (low + s high, low - s high), and its inverse but for a factor of 2.
template <typename T>
LR_SIMD_INLINE void Split(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = s[0] * high.re - s[1] * high.im, im = s[0] * high.im + s[1] * high.re;
  high = {low.re - re, low.im - im};
  low = {low.re + re, low.im + im};
}
template <typename T>
LR_SIMD_INLINE void Merge(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = low.re - high.re, im = low.im - high.im;
  low = {low.re + high.re, low.im + high.im};
  high = {s[0] * re + s[1] * im, s[0] * im - s[1] * re};
}
// The same with i s in the place of s.
template <typename T>
LR_SIMD_INLINE void SplitByI(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = s[0] * high.re - s[1] * high.im, im = s[0] * high.im + s[1] * high.re;
  high = {low.re + im, low.im - re};
  low = {low.re - im, low.im + re};
}
template <typename T>
LR_SIMD_INLINE void MergeByI(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = low.re - high.re, im = low.im - high.im;
  low = {low.re + high.re, low.im + high.im};
  high = {s[0] * im - s[1] * re, -(s[0] * re) - s[1] * im};
}
// Split of real rows; Merge where only the real parts are wanted.
template <typename T>
LR_SIMD_INLINE void SplitReal(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = s[0] * high.re, im = s[1] * high.re;
  high = {low.re - re, -im};
  low = {low.re + re, im};
}
template <typename T>
LR_SIMD_INLINE void MergeReal(const T (&s)[2], Complex<T>& low, Complex<T>& high) {
  const simd::Wide<T> re = low.re - high.re, im = low.im - high.im;
  low.re = low.re + high.re;
  high.re = s[0] * re + s[1] * im;
}

// `kLevels` levels of the tree under one node, on one row of each of its descendants.
template <int kLevels, bool kReal, typename T>
LR_SIMD_INLINE void SplitNode(const Twiddle<T>& w, Complex<T> (&v)[1 << kLevels]) {
  constexpr int kHalf = 1 << (kLevels - 1);
#pragma GCC unroll 4
  for (int i = 0; i < kHalf; ++i) {
    if constexpr (kReal) {
      SplitReal(w.level1, v[i], v[i + kHalf]);
    } else {
      Split(w.level1, v[i], v[i + kHalf]);
    }
  }
  if constexpr (kLevels >= 2) {
    constexpr int kQuarter = kHalf / 2;
#pragma GCC unroll 2
    for (int i = 0; i < kQuarter; ++i) {
      Split(w.level2, v[i], v[i + kQuarter]);
      SplitByI(w.level2, v[kHalf + i], v[kHalf + i + kQuarter]);
    }
  }
  if constexpr (kLevels == 3) {
    Split(w.level3, v[0], v[1]);
    SplitByI(w.level3, v[2], v[3]);
    Split(w.level3_third, v[4], v[5]);
    SplitByI(w.level3_third, v[6], v[7]);
  }
}

// The inverse but for a factor of 2^kLevels.
template <int kLevels, bool kReal, typename T>
LR_SIMD_INLINE void MergeNode(const Twiddle<T>& w, Complex<T> (&v)[1 << kLevels]) {
  constexpr int kHalf = 1 << (kLevels - 1);
  if constexpr (kLevels == 3) {
    Merge(w.level3, v[0], v[1]);
    MergeByI(w.level3, v[2], v[3]);
    Merge(w.level3_third, v[4], v[5]);
    MergeByI(w.level3_third, v[6], v[7]);
  }
  if constexpr (kLevels >= 2) {
    constexpr int kQuarter = kHalf / 2;
#pragma GCC unroll 2
    for (int i = 0; i < kQuarter; ++i) {
      Merge(w.level2, v[i], v[i + kQuarter]);
      MergeByI(w.level2, v[kHalf + i], v[kHalf + i + kQuarter]);
    }
  }
#pragma GCC unroll 4
  for (int i = 0; i < kHalf; ++i) {
    if constexpr (kReal) {
      MergeReal(w.level1, v[i], v[i + kHalf]);
    } else {
      Merge(w.level1, v[i], v[i + kHalf]);
    }
  }
}

// One pass over a tree of `size` rows that has split into `nodes` nodes: load(i) and store(i, v)
// are of row i. kForward splits, otherwise merges.
template <bool kForward, bool kReal, int kLevels, typename T, typename Load, typename Store>
LR_SIMD_INLINE void PassOf(const Twiddle<T>* twiddles, int64_t nodes, int64_t size,
                           const Load& load, const Store& store) {
  const int64_t apart = size / nodes >> kLevels;
  for (int64_t node = 0; node < nodes; ++node) {
    const Twiddle<T> w = twiddles[node];
    const int64_t begin = node * (apart << kLevels);
    for (int64_t i = begin; i < begin + apart; ++i) {
      Complex<T> v[1 << kLevels];
#pragma GCC unroll 8
      for (int k = 0; k < 1 << kLevels; ++k) v[k] = load(i + k * apart);
      if constexpr (kForward) {
        SplitNode<kLevels, kReal>(w, v);
      } else {
        MergeNode<kLevels, kReal>(w, v);
      }
#pragma GCC unroll 8
      for (int k = 0; k < 1 << kLevels; ++k) store(i + k * apart, v[k]);
    }
  }
}

template <bool kForward, bool kReal, typename T, typename Load, typename Store>
void Pass(const Trees<T>& trees, int pass, int64_t tree, const Load& load, const Store& store) {
  const int64_t nodes = trees.num_nodes(pass);
  const Twiddle<T>* twiddles = trees.nodes[pass].data() + tree * nodes;
  switch (trees.levels[pass]) {
    case 1:
      return PassOf<kForward, kReal, 1>(twiddles, nodes, trees.size, load, store);
    case 2:
      return PassOf<kForward, kReal, 2>(twiddles, nodes, trees.size, load, store);
    default:
      return PassOf<kForward, kReal, 3>(twiddles, nodes, trees.size, load, store);
  }
}

// The last splitting pass, op(i, v) on every value v, and the first merging pass, in registers.
template <int kLevels, typename T, typename Op>
LR_SIMD_INLINE void SplitAndMergeOf(const Twiddle<T>* twiddles, int64_t nodes, T* rows,
                                    const Op& op) {
  constexpr int64_t kRow = RingPlan<T>::kRow;
  for (int64_t node = 0; node < nodes; ++node) {
    const Twiddle<T> w = twiddles[node];
    const int64_t begin = node << kLevels;
    Complex<T> v[1 << kLevels];
#pragma GCC unroll 8
    for (int k = 0; k < 1 << kLevels; ++k) v[k] = LoadRow(rows + (begin + k) * kRow);
    SplitNode<kLevels, false>(w, v);
#pragma GCC unroll 8
    for (int k = 0; k < 1 << kLevels; ++k) v[k] = op(begin + k, v[k]);
    MergeNode<kLevels, false>(w, v);
#pragma GCC unroll 8
    for (int k = 0; k < 1 << kLevels; ++k) StoreRow(rows + (begin + k) * kRow, v[k]);
  }
}

// Row i of a scratch or of a block, as load(i) and store(i, v).
template <typename T>
struct LoadFrom {
  const T* rows;
  LR_SIMD_INLINE Complex<T> operator()(int64_t i) const {
    return LoadRow(rows + i * RingPlan<T>::kRow);
  }
};
template <typename T>
struct StoreTo {
  T* rows;
  LR_SIMD_INLINE void operator()(int64_t i, Complex<T> v) const {
    StoreRow(rows + i * RingPlan<T>::kRow, v);
  }
};

// Row i of one column: of the input or output of the whole transform, and of its blocks.
template <typename T, typename Load>
struct LoadColumn {
  const Load& load;
  int64_t apart, column;
  LR_SIMD_INLINE Complex<T> operator()(int64_t i) const { return load(i * apart + column); }
};
template <typename T, typename Store>
struct StoreColumn {
  const Store& store;
  int64_t apart, column;
  LR_SIMD_INLINE void operator()(int64_t i, Complex<T> v) const { store(i * apart + column, v); }
};

}  // namespace fft_internal

// The columns of a transform, forward: load(n) gives row n < N of the input, whose imaginary part
// is not looked at where kReal is set; the blocks of `work` are ready for SplitBlock.
template <bool kReal, typename T, typename Load>
void SplitColumns(const RingPlan<T>& plan, const Load& load, T* work, T* scratch) {
  constexpr int64_t kRow = RingPlan<T>::kRow;
  const Trees<T>& trees = plan.column_trees();
  const int64_t f = plan.factor(), columns = plan.columns(), block = plan.block();
  const int last = trees.passes() - 1;
  for (int64_t column = 0; column < block; ++column) {
    for (int64_t m = 0; m < f; ++m) {
      T* rows = scratch + m * columns * kRow;
      for (int64_t q = 0; f > 1 && q < columns; ++q) {
        const int64_t n = q * block + column;
        Complex<T> sum = load(n);
        if (kReal) sum.im = simd::Wide<T>{};
        for (int64_t j = 1; j < f; ++j) {
          const Complex<T> v = load(n + j * columns * block);
          const T* power = plan.power(m, j);
          sum.re += power[0] * v.re;
          sum.im += power[1] * v.re;
          if (!kReal) {
            sum.re -= power[1] * v.im;
            sum.im += power[0] * v.im;
          }
        }
        StoreRow(rows + q * kRow, sum);
      }
      const fft_internal::LoadColumn<T, Load> input{load, block, column};
      const fft_internal::StoreTo<T> to_blocks{plan.Block(work, m * columns) + column * kRow};
      const fft_internal::StoreColumn<T, fft_internal::StoreTo<T>> output{to_blocks, block + 1, 0};
      const fft_internal::LoadFrom<T> kept{rows};
      const fft_internal::StoreTo<T> keep{rows};
      for (int p = 0; p <= last; ++p) {
        if (p == 0 && f == 1) {
          last == 0 ? fft_internal::Pass<true, kReal>(trees, p, m, input, output)
                    : fft_internal::Pass<true, kReal>(trees, p, m, input, keep);
        } else {
          p == last ? fft_internal::Pass<true, false>(trees, p, m, kept, output)
                    : fft_internal::Pass<true, false>(trees, p, m, kept, keep);
        }
      }
    }
  }
}

// The columns of an inverse transform but for the factor N: blocks of `work` from MergeBlock, to
// store(n, v) of row n; only the real part of v is one where kReal is set.
template <bool kReal, typename T, typename Store>
void MergeColumns(const RingPlan<T>& plan, T* work, const Store& store, T* scratch) {
  constexpr int64_t kRow = RingPlan<T>::kRow;
  const Trees<T>& trees = plan.column_trees();
  const int64_t f = plan.factor(), columns = plan.columns(), block = plan.block();
  const int last = trees.passes() - 1;
  for (int64_t column = 0; column < block; ++column) {
    for (int64_t m = 0; m < f; ++m) {
      T* rows = scratch + m * columns * kRow;
      const fft_internal::LoadFrom<T> from_blocks{plan.Block(work, m * columns) + column * kRow};
      const fft_internal::LoadColumn<T, fft_internal::LoadFrom<T>> input{from_blocks, block + 1, 0};
      const fft_internal::StoreColumn<T, Store> output{store, block, column};
      const fft_internal::LoadFrom<T> kept{rows};
      const fft_internal::StoreTo<T> keep{rows};
      for (int p = last; p >= 0; --p) {
        if (p == 0 && f == 1) {
          last == 0 ? fft_internal::Pass<false, kReal>(trees, p, m, input, output)
                    : fft_internal::Pass<false, kReal>(trees, p, m, kept, output);
        } else {
          p == last ? fft_internal::Pass<false, false>(trees, p, m, input, keep)
                    : fft_internal::Pass<false, false>(trees, p, m, kept, keep);
        }
      }
    }
    for (int64_t q = 0; f > 1 && q < columns; ++q) {
      for (int64_t j = 0; j < f; ++j) {
        Complex<T> sum = {};
        for (int64_t m = 0; m < f; ++m) {
          const Complex<T> v = LoadRow(scratch + (m * columns + q) * kRow);
          const T* power = plan.power(m, j);  // times its conjugate
          sum.re += power[0] * v.re + power[1] * v.im;
          if (!kReal) sum.im += power[0] * v.im - power[1] * v.re;
        }
        store((j * columns + q) * block + column, sum);
      }
    }
  }
}

// Block number `block` of a transform, in place, to its values and back (but for the factor N).
template <typename T>
void SplitBlock(const RingPlan<T>& plan, int64_t block, T* work) {
  T* rows = plan.Block(work, block);
  const fft_internal::LoadFrom<T> load{rows};
  const fft_internal::StoreTo<T> store{rows};
  for (int p = 0; p < plan.block_trees().passes(); ++p) {
    fft_internal::Pass<true, false>(plan.block_trees(), p, block, load, store);
  }
}
template <typename T>
void MergeBlock(const RingPlan<T>& plan, int64_t block, T* work) {
  T* rows = plan.Block(work, block);
  const fft_internal::LoadFrom<T> load{rows};
  const fft_internal::StoreTo<T> store{rows};
  for (int p = plan.block_trees().passes() - 1; p >= 0; --p) {
    fft_internal::Pass<false, false>(plan.block_trees(), p, block, load, store);
  }
}

// SplitBlock, v = op(i, v) on the value in every row i of the block, MergeBlock.
template <typename T, typename Op>
void ApplyInBlock(const RingPlan<T>& plan, int64_t block, T* work, const Op& op) {
  const Trees<T>& trees = plan.block_trees();
  T* rows = plan.Block(work, block);
  const fft_internal::LoadFrom<T> load{rows};
  const fft_internal::StoreTo<T> store{rows};
  const int last = trees.passes() - 1;
  for (int p = 0; p < last; ++p) {
    fft_internal::Pass<true, false>(trees, p, block, load, store);
  }
  const int64_t nodes = trees.num_nodes(last);
  const Twiddle<T>* twiddles = trees.nodes[last].data() + block * nodes;
  switch (trees.levels[last]) {
    case 1:
      fft_internal::SplitAndMergeOf<1>(twiddles, nodes, rows, op);
      break;
    case 2:
      fft_internal::SplitAndMergeOf<2>(twiddles, nodes, rows, op);
      break;
    default:
      fft_internal::SplitAndMergeOf<3>(twiddles, nodes, rows, op);
  }
  for (int p = last - 1; p >= 0; --p) {
    fft_internal::Pass<false, false>(trees, p, block, load, store);
  }
}

}  // namespace fft
}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_FFT_RING_TRANSFORM_H_
