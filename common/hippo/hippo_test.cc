#include "common/hippo/hippo.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <Eigen/Core>
#include <cmath>
#include <complex>
#include <vector>

namespace longrange::hippo {
namespace {

using Complex = std::complex<double>;
using testing::DoubleEq;
using testing::DoubleNear;
using testing::ElementsAre;
using testing::Pointwise;

Eigen::MatrixXd Real(const Tensor& t, int64_t rows, int64_t columns) {
  return Eigen::Map<const Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      t.data<double>(), rows, columns);
}

Eigen::MatrixXcd Complexes(const Tensor& t, int64_t rows, int64_t columns) {
  return Eigen::Map<const Eigen::Matrix<Complex, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>>(
      reinterpret_cast<const Complex*>(t.data<double>()), rows, columns);
}

TEST(MakeSystem, LegSOfThree) {
  const System s = MakeSystem(Measure::kLegS, 3);
  const double r3 = std::sqrt(3.0), r5 = std::sqrt(5.0), r15 = std::sqrt(15.0);
  EXPECT_THAT(s.a_nn.ToDoubles(),
              Pointwise(DoubleNear(1e-14), {-1.0, 0.0, 0.0, -r3, -2.0, 0.0, -r5, -r15, -3.0}));
  EXPECT_THAT(s.b_n.ToDoubles(), ElementsAre(1, DoubleEq(r3), DoubleEq(r5)));
  EXPECT_THAT(s.p_rn.ToDoubles(),
              Pointwise(DoubleNear(1e-15), {std::sqrt(0.5), std::sqrt(1.5), std::sqrt(2.5)}));
}

TEST(MakeSystem, LegTOfTwo) {
  const System s = MakeSystem(Measure::kLegT, 2);
  const double half = std::sqrt(3.0) / 2;
  EXPECT_THAT(s.a_nn.ToDoubles(), Pointwise(DoubleNear(1e-15), {-0.5, half, -half, -1.5}));
  EXPECT_THAT(s.p_rn.ToDoubles(),
              Pointwise(DoubleNear(1e-15), {0.0, std::sqrt(1.5), std::sqrt(0.5), 0.0}));
}

TEST(MakeSystem, FourierOfFour) {
  const System s = MakeSystem(Measure::kFourier, 4);
  const double r2 = std::sqrt(2.0);
  EXPECT_THAT(s.a_nn.ToDoubles(),
              Pointwise(DoubleNear(1e-15), {-1.0, 0.0, -r2, 0.0, 0.0, 0.0, 0.0, 0.0, -r2, 0.0, -2.0,
                                            -M_PI, 0.0, 0.0, M_PI, 0.0}));
}

struct SystemCase {
  Measure measure;
  int64_t n;
  double real;  // of every eigenvalue
};

class NormalForms : public testing::TestWithParam<SystemCase> {};

INSTANTIATE_TEST_SUITE_P(
    Systems, NormalForms,
    testing::Values(SystemCase{Measure::kLegS, 2, -0.5}, SystemCase{Measure::kLegS, 16, -0.5},
                    SystemCase{Measure::kLegS, 64, -0.5}, SystemCase{Measure::kLegS, 256, -0.5},
                    SystemCase{Measure::kLegT, 16, 0}, SystemCase{Measure::kLegT, 64, 0},
                    SystemCase{Measure::kFourier, 2, 0}, SystemCase{Measure::kFourier, 64, 0}));

// Equality to 1e-12 of the largest entry.
void ExpectNear(const Eigen::MatrixXd& actual, const Eigen::MatrixXd& expected) {
  EXPECT_LE((actual - expected).cwiseAbs().maxCoeff(), 1e-12 * expected.cwiseAbs().maxCoeff());
}

TEST_P(NormalForms, HalfTheModesGiveTheSystemBack) {
  const auto [measure, n, real] = GetParam();
  const System s = MakeSystem(measure, n);
  const NormalForm form = Diagonalise(s, Modes::kHalf);
  const int64_t rank = s.p_rn.dim(0);
  const Eigen::MatrixXcd lambda = Complexes(form.lambda_m2, n / 2, 1),
                         v = Complexes(form.v_nm2, n, n / 2);
  const Eigen::MatrixXd p = Real(s.p_rn, rank, n);
  ExpectNear(2 * (v * lambda.asDiagonal() * v.adjoint()).real() - p.transpose() * p,
             Real(s.a_nn, n, n));
  ExpectNear(2 * (v * Complexes(form.b_m2, n / 2, 1)).real(), Real(s.b_n, n, 1));
  ExpectNear(2 * (v * Complexes(form.p_rm2, rank, n / 2).transpose()).real(), p.transpose());
  for (int64_t m = 0; m < n / 2; ++m) {
    EXPECT_NEAR(lambda(m).real(), real, 1e-12);
    EXPECT_LE(lambda(m).imag(), 0);
    if (m > 0) {
      EXPECT_GE(lambda(m).imag(), lambda(m - 1).imag());
    }
  }
}

TEST_P(NormalForms, AllModesAreOrthonormalAndTheirFirstHalfIsTheHalf) {
  const auto [measure, n, real] = GetParam();
  const System s = MakeSystem(measure, n);
  const NormalForm all = Diagonalise(s, Modes::kAll), half = Diagonalise(s, Modes::kHalf);
  const Eigen::MatrixXcd v = Complexes(all.v_nm2, n, n);
  EXPECT_LE((v.adjoint() * v - Eigen::MatrixXcd::Identity(n, n)).norm(), 1e-12 * n);
  const Eigen::MatrixXd p = Real(s.p_rn, s.p_rn.dim(0), n);
  const Eigen::MatrixXcd normal = v * Complexes(all.lambda_m2, n, 1).asDiagonal() * v.adjoint();
  ExpectNear(normal.real(), Real(s.a_nn, n, n) + p.transpose() * p);
  EXPECT_LE(normal.imag().norm(), 1e-12 * normal.norm());
  EXPECT_EQ(Complexes(all.b_m2, n, 1).topRows(n / 2), Complexes(half.b_m2, n / 2, 1));
}

TEST(Diagonalise, FirstComponentsArePositive) {
  const NormalForm form = Diagonalise(MakeSystem(Measure::kLegS, 64), Modes::kHalf);
  const Eigen::MatrixXcd v = Complexes(form.v_nm2, 64, 32);
  for (int64_t m = 0; m < 32; ++m) {
    EXPECT_GT(v(0, m).real(), 0);
    EXPECT_EQ(v(0, m).imag(), 0);
  }
}

TEST(Diagonalise, TakesAnOddStateSize) {
  const NormalForm form = Diagonalise(MakeSystem(Measure::kLegS, 5), Modes::kAll);
  EXPECT_NEAR(form.lambda_m2.ToDoubles()[5], 0, 1e-12);  // the middle one is real
}

TEST(DiagonalModes, ClosedForms) {
  const auto near = [](std::vector<double> values) {
    return Pointwise(DoubleNear(1e-12), std::move(values));
  };
  EXPECT_THAT(DiagonalModes(Diagonal::kLin, 4).ToDoubles(), near({-0.5, 0, -0.5, -M_PI}));
  EXPECT_THAT(DiagonalModes(Diagonal::kInv, 4).ToDoubles(),
              near({-0.5, -12 / M_PI, -0.5, -4 / (3 * M_PI)}));
  EXPECT_THAT(DiagonalModes(Diagonal::kQuad, 4).ToDoubles(),
              near({-0.5, -1 / M_PI, -0.5, -9 / M_PI}));
  EXPECT_THAT(DiagonalModes(Diagonal::kReal, 4).ToDoubles(), near({-1, 0, -2, 0}));
  // LegS of two: A + P Pᵀ = [[-1/2, √3/2], [-√3/2, -1/2]].
  EXPECT_THAT(DiagonalModes(Diagonal::kLegS, 2).ToDoubles(), near({-0.5, -std::sqrt(3.0) / 2}));
}

}  // namespace
}  // namespace longrange::hippo
