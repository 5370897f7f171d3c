#include "papers/s4/complex.h"

#include <Eigen/LU>
#include <cmath>
#include <complex>
#include <vector>

#include "common/autograd/ops.h"
#include "common/autograd/tape.h"
#include "common/tensor/cost.h"

namespace longrange::s4 {
namespace {

// y_i = fn(x_i) over `n` elements of type T.
template <typename T, typename Fn>
void Transform(const T* x, int64_t n, T* y, Fn fn) {
  for (int64_t i = 0; i < n; ++i) y[i] = fn(x[i]);
}

// The values and the derivatives of an analytic function, as complex tensors.
template <typename Value, typename Slope>
Tensor Analytic(absl::string_view name, const Tensor& x, Value value, Slope slope) {
  CHECK_EQ(x.dim(-1), 2) << x.shape();
  RecordCost(4.0 * x.numel(), 2.0 * x.bytes());
  const auto apply = [](const Tensor& t, auto fn) {
    const Tensor result = Tensor::EmptyLike(t);
    if (t.is_meta()) return result;
    const auto run = [&](auto zero) {
      using C = std::complex<decltype(zero)>;
      Transform(reinterpret_cast<const C*>(t.data<decltype(zero)>()), t.numel() / 2,
                reinterpret_cast<C*>(result.mutable_data<decltype(zero)>()), fn);
    };
    t.dtype() == DType::kFloat64 ? run(0.0) : run(0.0f);
    return result;
  };
  const Tensor y = apply(x, value);
  if (WillRecord({x})) {
    // Of w = f(z) the pair of gradients is that of w times the conjugate of f'(z).
    Record(name, {x}, {y}, [kx = x.Detach(), apply, slope](const std::vector<Tensor>& dy) {
      return std::vector<Tensor>{ComplexMul(dy[0], Conj(apply(kx, slope)))};
    });
  }
  return y;
}

Tensor Part(const Tensor& x, int64_t part) { return Narrow(x, x.rank() - 1, part, 1); }

}  // namespace

Tensor ComplexMul(const Tensor& a, const Tensor& b) {
  const Tensor a_re = Part(a, 0), a_im = Part(a, 1), b_re = Part(b, 0), b_im = Part(b, 1);
  const Tensor re = Sub(Mul(a_re, b_re), Mul(a_im, b_im)),
               im = Add(Mul(a_re, b_im), Mul(a_im, b_re));
  return Concat({re, im}, re.rank() - 1);
}

Tensor Conj(const Tensor& x) { return Concat({Part(x, 0), Neg(Part(x, 1))}, x.rank() - 1); }

Tensor AddReal(const Tensor& x, double offset) {
  return Concat({Affine(Part(x, 0), 1, offset), Part(x, 1)}, x.rank() - 1);
}

Tensor ComplexExp(const Tensor& x) {
  const auto exp = [](auto z) { return std::exp(z); };
  return Analytic("ComplexExp", x, exp, exp);
}

Tensor ComplexLog(const Tensor& x) {
  return Analytic(
      "ComplexLog", x, [](auto z) { return std::log(z); },
      [](auto z) { return decltype(z)(1) / z; });
}

Tensor ComplexReciprocal(const Tensor& x) {
  return Analytic(
      "ComplexReciprocal", x, [](auto z) { return decltype(z)(1) / z; },
      [](auto z) { return decltype(z)(-1) / (z * z); });
}

Tensor Softplus(const Tensor& x) {
  const Tensor y = Tensor::EmptyLike(x);
  RecordCost(4.0 * x.numel(), 2.0 * x.bytes());
  if (!x.is_meta()) {
    const auto softplus = [](auto v) {
      return std::max<decltype(v)>(v, 0) + std::log1p(std::exp(-std::abs(v)));
    };
    if (x.dtype() == DType::kFloat64) {
      Transform(x.data<double>(), x.numel(), y.mutable_data<double>(), softplus);
    } else {
      Transform(x.data<float>(), x.numel(), y.mutable_data<float>(), softplus);
    }
  }
  if (WillRecord({x})) {
    Record("Softplus", {x}, {y}, [kx = x.Detach()](const std::vector<Tensor>& dy) {
      return std::vector<Tensor>{Mul(dy[0], Sigmoid(kx))};
    });
  }
  return y;
}

Tensor Inverse(const Tensor& x_gnn) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  CHECK(x_gnn.dtype() == DType::kFloat64) << Name(x_gnn.dtype());
  const int64_t groups = x_gnn.dim(0), n = x_gnn.dim(1);
  CHECK(x_gnn.rank() == 3 && x_gnn.dim(2) == n) << x_gnn.shape();
  const Tensor y = Tensor::EmptyLike(x_gnn);
  RecordCost(2.0 * groups * n * n * n, 2.0 * x_gnn.bytes());
  for (int64_t g = 0; !x_gnn.is_meta() && g < groups; ++g) {
    Eigen::Map<Matrix>(y.mutable_data<double>() + g * n * n, n, n) =
        Eigen::Map<const Matrix>(x_gnn.data<double>() + g * n * n, n, n).partialPivLu().inverse();
  }
  if (WillRecord({x_gnn})) {
    Record("Inverse", {x_gnn}, {y}, [ky = y.Detach()](const std::vector<Tensor>& dy) {
      const Tensor right = MatMul(dy[0], ky, false, true);
      return std::vector<Tensor>{Neg(MatMul(ky, right, true, false))};
    });
  }
  return y;
}

Tensor MatrixPower(const Tensor& x_gnn, int64_t n) {
  CHECK_GE(n, 1);
  Tensor result, square = x_gnn;
  for (; n > 0; n >>= 1) {
    if (n & 1) result = result.defined() ? MatMul(result, square) : square;
    if (n > 1) square = MatMul(square, square);
  }
  return result;
}

}  // namespace longrange::s4
