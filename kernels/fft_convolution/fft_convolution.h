// Long convolution over time, a filter a channel (S4's Eq. 5 and every later long filter).
// B batch, T tokens, D channels, L taps.

#ifndef LONGRANGE_KERNELS_FFT_CONVOLUTION_FFT_CONVOLUTION_H_
#define LONGRANGE_KERNELS_FFT_CONVOLUTION_FFT_CONVOLUTION_H_

#include "common/tensor/tensor.h"

namespace longrange::kernels {

// y[t] = gate[t] (sum_{j <= t} filter[j] x[t - j] + sum_j future[j] x[t + 1 + j] + skip x[t]).
// float32 or float64, all of one type. L may be anything: taps that no token reaches do nothing.
struct FftConvolutionInputs {
  Tensor x_btd;
  Tensor filter_ld;
  Tensor future_ld;  // the filter for what comes, starting one step ahead; undefined: causal
  Tensor skip_d;     // undefined: none
  Tensor gate_btd;   // undefined: none
};

// Returns y [B, T, D].
Tensor FftConvolutionForward(const FftConvolutionInputs& in);

// Gradients with respect to the inputs; an undefined one is not wanted and not computed.
struct FftConvolutionGradients {
  Tensor dx_btd;
  Tensor dfilter_ld;
  Tensor dfuture_ld;
  Tensor dskip_d;
  Tensor dgate_btd;
};

// Overwrites the gradients. Nothing is kept from the forward pass: the spectra are made again.
// Sums over the batch are taken in its order, those of the filters on the spectra.
void FftConvolutionBackward(const FftConvolutionInputs& in, const Tensor& dy_btd,
                            const FftConvolutionGradients& gradients);

}  // namespace longrange::kernels

#endif  // LONGRANGE_KERNELS_FFT_CONVOLUTION_FFT_CONVOLUTION_H_
