// Where a row stands: Fourier codes of places on a grid (section 3.3, appendix D), and shuffles of
// the places. R places, A axes, K bands.

#ifndef LONGRANGE_PAPERS_PERCEIVER_POSITIONS_H_
#define LONGRANGE_PAPERS_PERCEIVER_POSITIONS_H_

#include <cstdint>
#include <vector>

#include "papers/perceiver/perceiver.pb.h"

namespace longrange::perceiver {

// Coordinates of the first `places` places of a grid, line by line, [R, A]: from -1 to 1 along each
// axis, -1 on an axis of length 1.
std::vector<double> GridCoordinates(const std::vector<int64_t>& axis, int64_t places);

// Channels of the code of one place: A (2 K + 1).
int64_t FourierWidth(int64_t axes, int64_t bands);

// Codes [R, A (2 K + 1)] of coordinates [R, A]. Of each axis, frequencies are equally spaced from 1
// to half its maximum resolution; one band alone has frequency 1.
std::vector<double> FourierCodes(const std::vector<double>& coordinates,
                                 const std::vector<double>& max_resolution, int64_t bands,
                                 PerceiverConfig::FourierOrder order);

// Shuffle number `number` of 0 .. places - 1.
std::vector<int64_t> Permutation(int64_t places, int64_t number);

}  // namespace longrange::perceiver

#endif  // LONGRANGE_PAPERS_PERCEIVER_POSITIONS_H_
