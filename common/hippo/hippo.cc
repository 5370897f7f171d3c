#include "common/hippo/hippo.h"

#include <Eigen/Eigenvalues>
#include <cmath>
#include <complex>

namespace longrange::hippo {
namespace {

using Complex = std::complex<double>;
using RowMajor = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
using ComplexRowMajor = Eigen::Matrix<Complex, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

Eigen::Map<const RowMajor> Matrix(const Tensor& t) {
  return {t.data<double>(), t.dim(0), t.dim(1)};
}

// [rows, columns, 2]; std::complex is laid out as such a pair.
Tensor FromComplex(const ComplexRowMajor& m) {
  const Tensor t = Tensor::Empty({m.rows(), m.cols(), 2}, DType::kFloat64);
  Eigen::Map<ComplexRowMajor>(reinterpret_cast<Complex*>(t.mutable_data<double>()), m.rows(),
                              m.cols()) = m;
  return t;
}

// Turns the column so that its first component that is not zero is positive.
void FixPhase(Eigen::Ref<Eigen::VectorXcd> column) {
  for (Eigen::Index i = 0; i < column.size(); ++i) {
    const double size = std::abs(column[i]);
    if (size < 1e-8) continue;
    column *= std::conj(column[i]) / size;
    column[i] = std::abs(column[i]);
    return;
  }
}

}  // namespace

System MakeSystem(Measure measure, int64_t n) {
  CHECK_GE(n, 1);
  const int64_t rank = measure == Measure::kLegT ? 2 : 1;
  const System s{Tensor::Zeros({n, n}, DType::kFloat64), Tensor::Zeros({n}, DType::kFloat64),
                 Tensor::Zeros({rank, n}, DType::kFloat64)};
  double* const a = s.a_nn.mutable_data<double>();
  double* const b = s.b_n.mutable_data<double>();
  double* const p = s.p_rn.mutable_data<double>();
  const auto root = [](int64_t i) { return std::sqrt(2.0 * static_cast<double>(i) + 1); };
  switch (measure) {
    case Measure::kLegS:
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < i; ++k) a[i * n + k] = -root(i) * root(k);
        a[i * n + i] = -static_cast<double>(i + 1);
        b[i] = root(i);
        p[i] = root(i) * std::sqrt(0.5);
      }
      break;
    case Measure::kLegT:
      // Halved, so that the window is one unit of time; P splits the ones by their parity.
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < n; ++k) {
          a[i * n + k] = -0.5 * root(i) * root(k) * (i < k && (k - i) % 2 == 1 ? -1 : 1);
        }
        b[i] = 0.5 * root(i);
        p[(1 - i % 2) * n + i] = root(i) * std::sqrt(0.5);
      }
      break;
    case Measure::kFourier:
      CHECK_EQ(n % 2, 0) << "Fourier modes come in pairs";
      for (int64_t i = 0; i < n; i += 2) b[i] = p[i] = i == 0 ? 1 : std::sqrt(2.0);
      for (int64_t i = 0; i < n; ++i) {
        for (int64_t k = 0; k < n; ++k) a[i * n + k] = -b[i] * b[k];
      }
      for (int64_t f = 1; f < n / 2; ++f) {
        const double turn = M_PI * static_cast<double>(f);
        a[2 * f * n + 2 * f + 1] -= turn;
        a[(2 * f + 1) * n + 2 * f] += turn;
      }
      break;
  }
  return s;
}

NormalForm Diagonalise(const System& system, Modes modes) {
  const int64_t n = system.a_nn.dim(0), kept = modes == Modes::kAll ? n : n / 2;
  CHECK(modes == Modes::kAll || n % 2 == 0) << "half the modes of an odd state size " << n;
  const auto p = Matrix(system.p_rn);
  const Eigen::MatrixXd normal = Matrix(system.a_nn) + p.transpose() * p;
  const double real = normal.trace() / static_cast<double>(n);
  const Eigen::MatrixXd skew = 0.5 * (normal - normal.transpose());
  CHECK_LE((normal - skew - real * Eigen::MatrixXd::Identity(n, n)).norm(), 1e-9 * normal.norm())
      << "A + P Pᵀ is no multiple of the identity plus a skew matrix";

  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXcd> solver(skew.cast<Complex>() *
                                                               Complex(0, -1));
  CHECK(solver.info() == Eigen::Success) << "the eigenvalues of a HiPPO matrix do not converge";
  Eigen::VectorXd imaginary = solver.eigenvalues();
  Eigen::MatrixXcd v = solver.eigenvectors();
  for (int64_t m = 0; m < n; ++m) FixPhase(v.col(m));
  // Two modes may share the eigenvalue 0 (the constant of Fourier), of which any basis is as good
  // to the solver: take a conjugate pair.
  if (n % 2 == 0 && std::abs(imaginary[n / 2]) < 1e-9 * (1 + imaginary.cwiseAbs().maxCoeff())) {
    CHECK_EQ(skew.topRows(std::min<int64_t>(n, 2)).norm(), 0) << "an unknown pair of zero modes";
    v.col(n / 2 - 1).setZero();
    v(0, n / 2 - 1) = std::sqrt(0.5);
    v(1, n / 2 - 1) = Complex(0, std::sqrt(0.5));
    v.col(n / 2) = v.col(n / 2 - 1).conjugate();
    imaginary[n / 2 - 1] = imaginary[n / 2] = 0;
  }

  const auto columns = v.leftCols(kept);
  const Eigen::VectorXcd lambda =
      imaginary.head(kept).cast<Complex>() * Complex(0, 1) + Eigen::VectorXcd::Constant(kept, real);
  const Eigen::Map<const Eigen::VectorXd> b(system.b_n.data<double>(), n);
  return {FromComplex(lambda).View({kept, 2}), FromComplex(columns),
          FromComplex(columns.adjoint() * b.cast<Complex>()).View({kept, 2}),
          FromComplex((columns.adjoint() * p.transpose().cast<Complex>()).transpose())};
}

Tensor DiagonalModes(Diagonal kind, int64_t n) {
  CHECK_EQ(n % 2, 0) << "half the modes of an odd state size " << n;
  if (kind == Diagonal::kLegS) {
    return Diagonalise(MakeSystem(Measure::kLegS, n), Modes::kHalf).lambda_m2;
  }
  const Tensor lambda = Tensor::Empty({n / 2, 2}, DType::kFloat64);
  for (int64_t m = 0; m < n / 2; ++m) {
    const double at = static_cast<double>(m), size = static_cast<double>(n);
    double* const mode = lambda.mutable_data<double>() + 2 * m;
    mode[0] = kind == Diagonal::kReal ? -(at + 1) : -0.5;
    mode[1] = 0;
    if (kind == Diagonal::kLin) mode[1] = -M_PI * at;
    if (kind == Diagonal::kInv) mode[1] = -size / M_PI * (size / (2 * at + 1) - 1);
    if (kind == Diagonal::kQuad) mode[1] = -(2 * at + 1) * (2 * at + 1) / M_PI;
  }
  return lambda;
}

}  // namespace longrange::hippo
