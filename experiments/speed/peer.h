// PyTorch's side: a Python process that times workloads by name, when it is told to (peers.py).

#ifndef LONGRANGE_EXPERIMENTS_SPEED_PEER_H_
#define LONGRANGE_EXPERIMENTS_SPEED_PEER_H_

#include <sys/types.h>

#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "common/io/rows.h"

namespace longrange {

class Peer {
 public:
  // Starts `python script --threads=N`. Unavailable: it does not come up; what it says about that
  // is on standard error.
  static absl::StatusOr<std::unique_ptr<Peer>> Start(const std::string& python,
                                                     const std::string& script, int threads);
  ~Peer();  // ends the process
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  const std::string& name() const { return name_; }  // "torch 2.5.1, 2 threads"

  // Has it run a workload for about so long; the median time of a run in seconds. NotFound: it has
  // no such workload, or lacks a package for it. Unavailable: it has ended.
  absl::StatusOr<double> Time(absl::string_view workload, double seconds);

 private:
  Peer(pid_t pid, int socket) : pid_(pid), socket_(socket) {}
  absl::StatusOr<Row> ReadAnswer();

  const pid_t pid_;
  const int socket_;  // its standard input and output
  std::string name_;
  std::string unread_;
};

}  // namespace longrange

#endif  // LONGRANGE_EXPERIMENTS_SPEED_PEER_H_
