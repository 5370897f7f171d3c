// Alone, as the solver takes long to compile.

#include <Eigen/Eigenvalues>

#include "papers/induction_heads/scores.h"

namespace longrange::induction_heads {

double PositiveEigenvalues(absl::Span<const double> matrix, int64_t p) {
  using Matrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;
  const Eigen::EigenSolver<Matrix> solver(Eigen::Map<const Matrix>(matrix.data(), p, p),
                                          /*computeEigenvectors=*/false);
  double sum = 0, magnitudes = 0;
  for (const std::complex<double>& value : solver.eigenvalues()) {
    sum += value.real();  // complex ones come in pairs
    magnitudes += std::abs(value);
  }
  return magnitudes > 0 ? sum / magnitudes : 0;
}

}  // namespace longrange::induction_heads
