// The factors by which torchscale divides rows of retention, form by form (section 2.2, "Retention
// Score Normalization"; torchscale's multiscale_retention.py). Each is [B, T, H, 1] and no gradient
// flows through it. q, k [B, T, H, D] as retention takes them, v [B, T, H, E]; float32 or float64.

#ifndef LONGRANGE_PAPERS_RETNET_SCORE_SCALE_H_
#define LONGRANGE_PAPERS_RETNET_SCORE_SCALE_H_

#include <cstdint>
#include <vector>

#include "common/tensor/tensor.h"

namespace longrange::retnet {

// sum over m <= n of gamma^(n - m), for n = 0 .. rows - 1.
std::vector<double> DecaySums(double log_decay, int64_t rows);

// Parallel form: sqrt(decay sum) times the absolute sum of the scores that are divided by it, held
// to [1, 5e4].
Tensor ParallelScale(const Tensor& q_bthd, const Tensor& k_bthd,
                     const std::vector<double>& log_decay_h);

// Recurrent form: sqrt(decay sum).
Tensor RecurrentScale(const Tensor& q_bthd, const std::vector<double>& log_decay_h);

// Chunkwise form: as the parallel one inside chunks, with the larger of its absolute sum and of the
// memory's, both 1 or more.
Tensor ChunkScale(const Tensor& q_bthd, const Tensor& k_bthd, const Tensor& v_bthe,
                  const std::vector<double>& log_decay_h, int64_t chunk);

}  // namespace longrange::retnet

#endif  // LONGRANGE_PAPERS_RETNET_SCORE_SCALE_H_
