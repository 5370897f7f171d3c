// What the processor can do at most, measured here and now: the two edges of the roofline.

#ifndef LONGRANGE_EXPERIMENTS_SPEED_MACHINE_H_
#define LONGRANGE_EXPERIMENTS_SPEED_MACHINE_H_

namespace longrange {

struct Peak {
  double flops = 0;  // float32 operations a second: fused multiply-adds on registers
  double bytes = 0;  // a second, to and from memory: STREAM's triad, a[i] = b[i] + s c[i]
};

// On all threads of the pool; about `seconds` for each of the two, of which the fastest part
// counts.
Peak MeasurePeak(double seconds);

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_MACHINE_H_
