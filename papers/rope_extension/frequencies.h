// Frequencies of the extended rotary position embeddings, as functions of the length; what the
// schemes are made of.
//
// d rotary channels, pairs j = 0 .. d/2 - 1, b base, theta_j = b^(-2j/d) in radians per position, L
// trained length, n length of the call (both in tokens), s the factor of extension. Every vector
// has d/2 elements. Sections and definitions are those of YaRN (Peng et al., ICLR 2024) unless
// another paper is named.

#ifndef LONGRANGE_PAPERS_ROPE_EXTENSION_FREQUENCIES_H_
#define LONGRANGE_PAPERS_ROPE_EXTENSION_FREQUENCIES_H_

#include <cstdint>
#include <vector>

namespace longrange::rope_extension {

// b' = b u^(d/(d-2)) (Definition 1 with s = u): the slowest pair turns u times slower, pair 0 as
// before. d >= 4.
double NtkBase(double base, int64_t dims, double u);

// u = s n / L - (s - 1) for n > L, else 1 (emozilla 2023; "kappa" of the extension study, Lu et al.
// 2024, is u^(d/(d-2))).
double DynamicNtkScale(double factor, int64_t original_length, int64_t length);

// b'^(-2j/d) with b' = NtkBase(b, d, u) (Definition 1).
std::vector<double> NtkFrequencies(double base, int64_t dims, double u);

// The share by which pair j is interpolated, rising from 0 at `fast` turns within L to 1 at `slow`
// turns:
//   r_j = clamp((j - low) / (high - low), 0, 1), low = floor(p(fast)), high = ceil(p(slow)),
//   p(r) = d ln(L / (2 pi r)) / (2 ln b): the pair that makes r turns within L.
// The released code's form, linear in j, with its limits 0 <= low, high <= d - 1 (not d/2 - 1) and
// high + 0.001 where they meet. The paper's gamma (section 3.2) is linear in the number of turns
// instead; released models are trained with the code's.
std::vector<double> TurnRamp(double base, int64_t dims, int64_t original_length, double fast,
                             double slow);

// h(theta_j) = r_j theta_j / s + (1 - r_j) theta_j (Definition 2), r_j = TurnRamp(beta_fast,
// beta_slow).
std::vector<double> YarnFrequencies(double base, int64_t dims, double factor,
                                    int64_t original_length, double beta_fast, double beta_slow);
// sqrt(1/t) = 0.1 ln s + 1 (section 3.4); 1 for s <= 1.
double YarnMagnitude(double factor);

// m_j = r_j theta_j / s + (1 - r_j) NTK_j(s),  h_j = r'_j m_j + (1 - r'_j) theta_j
// with r = TurnRamp(beta_0, beta_1), r' = TurnRamp(gamma_0, gamma_1) (bloc97, July 2023; class
// LlamaPartNTKScaled...).
std::vector<double> ByPartsFrequencies(double base, int64_t dims, double factor,
                                       int64_t original_length, double beta_0, double beta_1,
                                       double gamma_0, double gamma_1);

// theta_j / e_j (LongRoPE, Ding et al., arXiv 2402.13753, section 3.1); d/2 divisors.
std::vector<double> LongRopeFrequencies(double base, int64_t dims,
                                        const std::vector<double>& divisors);
// sqrt(1 + ln s / ln L); 1 for s <= 1 (as released: Phi-3, transformers).
double LongRopeMagnitude(double factor, int64_t original_length);

// By wavelength w_j = 2 pi / theta_j: theta_j for w < L/high, theta_j / s for w > L/low, between
// them
//   (1 - g) theta_j / s + g theta_j,  g = (L / w - low) / (high - low)
// (Llama 3.1, apply_scaling in its reference code).
std::vector<double> Llama3Frequencies(double base, int64_t dims, double factor,
                                      double low_freq_factor, double high_freq_factor,
                                      int64_t original_length);

}  // namespace longrange::rope_extension

#endif  // LONGRANGE_PAPERS_ROPE_EXTENSION_FREQUENCIES_H_
