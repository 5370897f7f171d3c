#include "common/autograd/fft_convolution.h"

#include <vector>

#include "common/autograd/tape.h"
#include "kernels/fft_convolution/fft_convolution.h"

namespace longrange {

Tensor FftConvolution(const Tensor& x_btd, const Tensor& filter_ld, const Tensor& future_ld,
                      const Tensor& skip_d, const Tensor& gate_btd) {
  const auto data = [](const Tensor& t) { return t.defined() ? t.Detach() : t; };
  const kernels::FftConvolutionInputs in{data(x_btd), data(filter_ld), data(future_ld),
                                         data(skip_d), data(gate_btd)};
  const Tensor y = kernels::FftConvolutionForward(in);
  const std::vector<Tensor> inputs = {x_btd, filter_ld, future_ld, skip_d, gate_btd};
  if (!WillRecord(inputs)) return y;
  std::vector<bool> wanted;
  for (const Tensor& t : inputs) wanted.push_back(t.defined() && NeedsGradient(t));
  Record("FftConvolution", inputs, {y}, [in, wanted](const std::vector<Tensor>& dy) {
    const auto gradient = [&](size_t i, const Tensor& t) {
      return wanted[i] ? Tensor::EmptyLike(t) : Tensor();
    };
    const kernels::FftConvolutionGradients g{gradient(0, in.x_btd), gradient(1, in.filter_ld),
                                             gradient(2, in.future_ld), gradient(3, in.skip_d),
                                             gradient(4, in.gate_btd)};
    kernels::FftConvolutionBackward(in, dy[0], g);
    return std::vector<Tensor>{g.dx_btd, g.dfilter_ld, g.dfuture_ld, g.dskip_d, g.dgate_btd};
  });
  return y;
}

}  // namespace longrange
