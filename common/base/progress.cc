#include "common/base/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"

namespace longrange {
namespace {

constexpr double kRedrawSeconds = 0.1;
constexpr double kLineSeconds = 10,
                 kQuietSeconds =
                     60;            // between plain lines: at least; at most, while little changes
constexpr double kRateSeconds = 1;  // a speed measured over less says nothing
constexpr char kClearLine[] = "\r\x1b[K";

double SteadySeconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

void WriteToStderr(absl::string_view text) {
  std::fwrite(text.data(), 1, text.size(), stderr);
  std::fflush(stderr);
}

}  // namespace

ProgressOutput ProgressOutput::Stderr() {
  ProgressOutput output;
  const char* term = std::getenv("TERM");
  output.is_terminal =
      isatty(STDERR_FILENO) != 0 && term != nullptr && absl::string_view(term) != "dumb";
  winsize size = {};
  if (output.is_terminal && ioctl(STDERR_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0) {
    output.columns = size.ws_col;
  }
  output.seconds = SteadySeconds;
  output.write = WriteToStderr;
  return output;
}

ProgressOutput ProgressOutput::Quiet() {
  ProgressOutput output;
  output.seconds = SteadySeconds;
  return output;
}

std::string FormatDuration(double seconds) {
  const int64_t total = std::isfinite(seconds) ? std::llround(std::max(0.0, seconds)) : 0;
  if (total < 3600) return absl::StrFormat("%d:%02d", total / 60, total % 60);
  return absl::StrFormat("%d:%02d:%02d", total / 3600, total / 60 % 60, total % 60);
}

std::string FormatCount(double count) {
  const char* prefix = "";
  for (const char* next : {"k", "M", "G", "T"}) {
    if (count < 999.5) break;
    count /= 1000;
    prefix = next;
  }
  const int decimals = count < 9.995 ? 2 : count < 99.95 ? 1 : 0;
  return absl::StrFormat("%.*f%s", decimals, count, prefix);
}

Progress::Progress(ProgressOptions options, ProgressOutput output)
    : options_(std::move(options)),
      output_(std::move(output)),
      start_(output_.seconds()),
      done_(options_.done),
      last_time_(start_),
      last_done_(options_.done) {}

Progress::~Progress() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (drawn_) output_.write("\n");
}

double Progress::Elapsed() const { return output_.seconds() - start_; }

std::string Progress::Rate() const {
  const double elapsed = Elapsed();
  if (units_ == 0 || elapsed < kRateSeconds) return "";
  return absl::StrCat(FormatCount(static_cast<double>(units_) / elapsed), " ", options_.unit, "/s");
}

std::string Progress::Left() const {
  const int64_t here = done_ - options_.done;  // steps of this run
  const double elapsed = Elapsed();
  if (here <= 0 || done_ >= options_.total || elapsed < kRateSeconds) return "";
  return absl::StrCat(FormatDuration(elapsed * static_cast<double>(options_.total - done_) /
                                     static_cast<double>(here)),
                      " left");
}

void Progress::Advance(int64_t steps, int64_t units, absl::string_view message) {
  std::lock_guard<std::mutex> lock(mutex_);
  done_ += steps;
  units_ += units;
  if (!message.empty()) message_ = std::string(message);
  if (!output_.write || finished_) return;
  const double now = output_.seconds();
  if (output_.is_terminal) {
    if (!drawn_ || now - last_time_ >= kRedrawSeconds) Draw();
    return;
  }
  const double waited = now - last_time_;
  const bool moved = 100 * (done_ - last_done_) >= options_.total;
  if ((waited >= kLineSeconds && moved) || waited >= kQuietSeconds) WriteLine();
}

void Progress::Print(absl::string_view line) {
  std::lock_guard<std::mutex> lock(mutex_);
  if (!output_.write) return;
  output_.write(absl::StrCat(drawn_ ? kClearLine : "", line, "\n"));
  if (drawn_) Draw();
}

void Progress::Finish() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (finished_) return;
  finished_ = true;
  if (!output_.write) return;
  std::vector<std::string> parts = {
      absl::StrCat(done_, options_.total > 0 ? absl::StrCat("/", options_.total) : "", " in ",
                   FormatDuration(Elapsed()))};
  for (const std::string& part : {Rate(), message_}) {
    if (!part.empty()) parts.push_back(part);
  }
  output_.write(absl::StrCat(drawn_ ? kClearLine : "", options_.title, ": ",
                             absl::StrJoin(parts, ", "), "\n"));
  drawn_ = false;
}

// title  [=====>    ]  43 %  41.2k tokens/s  loss 1.832  1:45 left
void Progress::Draw() {
  std::string tail;
  const int64_t total = options_.total;
  const double share =
      total > 0 ? std::min(1.0, static_cast<double>(done_) / static_cast<double>(total)) : 0;
  if (total > 0) {
    absl::StrAppendFormat(&tail, " %3d %%", static_cast<int>(100 * share));
  } else {
    absl::StrAppend(&tail, "  ", done_);
  }
  for (const std::string& part : {Rate(), message_, Left()}) {
    if (!part.empty()) absl::StrAppend(&tail, "  ", part);
  }
  std::string line = options_.title;
  // A terminal may wrap when its last column is written.
  const int room = output_.columns - 1 - static_cast<int>(line.size() + tail.size()) - 4;
  if (total > 0 && room >= 10) {
    const int width = std::min(room, 20);
    const int full = static_cast<int>(share * width);
    std::string bar(static_cast<size_t>(full), '=');
    if (full < width) bar += '>';
    bar.resize(static_cast<size_t>(width), ' ');
    absl::StrAppend(&line, "  [", bar, "]");
  }
  line += tail;
  size_t size = std::min(line.size(), static_cast<size_t>(std::max(0, output_.columns - 1)));
  while (size > 0 && size < line.size() && (line[size] & 0xC0) == 0x80)
    --size;  // not within a UTF-8 sequence
  line.resize(size);
  output_.write(absl::StrCat(kClearLine, line));
  drawn_ = true;
  last_time_ = output_.seconds();
  last_done_ = done_;
}

// title: 43 % (1720/4000), 41.2k tokens/s, loss 1.832, 1:45 left
void Progress::WriteLine() {
  std::vector<std::string> parts;
  const int64_t total = options_.total;
  if (total > 0) {
    parts.push_back(absl::StrFormat("%d %% (%d/%d)", 100 * done_ / total, done_, total));
  } else {
    parts.push_back(absl::StrCat(done_));
  }
  for (const std::string& part : {Rate(), message_, Left()}) {
    if (!part.empty()) parts.push_back(part);
  }
  output_.write(absl::StrCat(options_.title, ": ", absl::StrJoin(parts, ", "), "\n"));
  last_time_ = output_.seconds();
  last_done_ = done_;
}

}  // namespace longrange
