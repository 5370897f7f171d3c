// Constants of retention by head and channel.

#ifndef LONGRANGE_PAPERS_RETNET_SCHEDULE_H_
#define LONGRANGE_PAPERS_RETNET_SCHEDULE_H_

#include <cstdint>
#include <vector>

#include "papers/retnet/retnet.pb.h"

namespace longrange::retnet {

// ln gamma of each head. The config's gamma, where given, has one or `heads` entries.
std::vector<double> LogDecays(const RetnetConfig& config);

// Radians by which each pair of a head's `width` channels turns a row; empty: no rotation.
std::vector<double> Frequencies(const RetnetConfig& config, int64_t width);

}  // namespace longrange::retnet

#endif  // LONGRANGE_PAPERS_RETNET_SCHEDULE_H_
