// Progress of one phase of work: a bar with the time left on a terminal, now and then a plain line
// elsewhere.
//
//   Progress progress({"base model", /*total=*/4000});
//   for (...) progress.Advance(1, batch_tokens, absl::StrFormat("loss %.3f", loss));
//   progress.Finish();

#ifndef LONGRANGE_COMMON_BASE_PROGRESS_H_
#define LONGRANGE_COMMON_BASE_PROGRESS_H_

#include <cstdint>
#include <functional>
#include <mutex>
#include <string>

#include "absl/strings/string_view.h"

namespace longrange {

// Where progress goes and what it knows of time; tests inject their own.
struct ProgressOutput {
  bool is_terminal = false;
  int columns = 80;                              // of the terminal; the bar is cut to fit
  std::function<double()> seconds;               // a clock that never goes back
  std::function<void(absl::string_view)> write;  // no function: nothing is written

  static ProgressOutput Stderr();
  static ProgressOutput Quiet();
};

struct ProgressOptions {
  std::string title;
  int64_t total = 0;  // in steps; 0: unknown, then neither share nor time left is shown
  int64_t done = 0;   // steps done before, by an earlier run; they do not count towards the speed
  std::string unit = "tokens";  // of Advance's `units`, for the rate
};

// Thread-safe. On a terminal the bar is redrawn at most ten times a second. Elsewhere a line comes
// when ten seconds have passed since the last one and at least 1 % more is done, or a minute has
// passed; Finish() adds a last line.
class Progress {
 public:
  explicit Progress(ProgressOptions options, ProgressOutput output = ProgressOutput::Stderr());
  // Where Finish() was not called, as after an error: leaves the bar as it is and ends its line.
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // `steps` more are done, and `units` (tokens) with them; an empty message keeps the last one.
  void Advance(int64_t steps, int64_t units = 0, absl::string_view message = {});
  // Writes a line of text above the bar.
  void Print(absl::string_view line);
  // Writes the closing line: steps, time, rate, message.
  void Finish();

 private:
  double Elapsed() const;
  // "41.2k tokens/s", "1:45 left"; empty where nothing can be said yet.
  std::string Rate() const;
  std::string Left() const;
  void Draw();
  void WriteLine();

  std::mutex mutex_;
  const ProgressOptions options_;
  const ProgressOutput output_;
  const double start_;
  int64_t done_;
  int64_t units_ = 0;
  std::string message_;
  double last_time_;    // of the last line or drawing
  int64_t last_done_;   // then
  bool drawn_ = false;  // the cursor stands behind a bar
  bool finished_ = false;
};

// "0:07", "12:34", "1:02:03".
std::string FormatDuration(double seconds);
// Three digits and a prefix: "7.25", "412", "41.2k", "1.03M".
std::string FormatCount(double count);

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_PROGRESS_H_
