// The systems of a new layer, as the paper starts them (Gu, Goel, Ré 2022, section 3.4 and appendix
// D; released code, version 4).

#ifndef LONGRANGE_PAPERS_S4_INIT_H_
#define LONGRANGE_PAPERS_S4_INIT_H_

#include <cstdint>

#include "common/nn/parameters.h"
#include "papers/s4/s4.pb.h"
#include "papers/s4/system.h"

namespace longrange::s4 {

// Is A without a term of low rank?
bool IsDiagonal(const S4Config& config);

// Systems of `width` features with `outputs` each, their parameters created in `scope`: "dt_raw"
// [H], "a_real" and "a_imag" [S, M], "b" [S, M, 2], "p" [R, S, M, 2] and "c" [C, H, M, 2]. The
// config is one that the layer accepts.
System CreateSystem(const S4Config& config, int64_t width, int64_t outputs, const nn::Scope& scope);

}  // namespace longrange::s4

#endif  // LONGRANGE_PAPERS_S4_INIT_H_
