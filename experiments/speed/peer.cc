#include "experiments/speed/peer.h"

#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstring>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

extern char** environ;

namespace longrange {

absl::StatusOr<std::unique_ptr<Peer>> Peer::Start(const std::string& python,
                                                  const std::string& script, int threads) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0)
    return absl::UnavailableError(absl::StrCat("socketpair: ", std::strerror(errno)));
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
  posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
  std::vector<std::string> words = {python, script, absl::StrCat("--threads=", threads)};
  std::vector<char*> argv;
  for (std::string& word : words) argv.push_back(word.data());
  argv.push_back(nullptr);
  pid_t pid = 0;
  const int error = posix_spawnp(&pid, python.c_str(), &actions, nullptr, argv.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  close(ends[1]);
  if (error != 0) {
    close(ends[0]);
    return absl::NotFoundError(absl::StrCat("--peers=", python, ": ", std::strerror(error),
                                            " (expected a Python with torch)"));
  }
  std::unique_ptr<Peer> peer(new Peer(pid, ends[0]));
  const absl::StatusOr<Row> hello = peer->ReadAnswer();
  if (!hello.ok()) {
    return Annotate(hello.status(),
                    absl::StrCat("--peers=", python, " (expected a Python with torch)"));
  }
  LR_ASSIGN_OR_RETURN(peer->name_, hello->String("peer"));
  return peer;
}

Peer::~Peer() {
  close(socket_);
  kill(pid_, SIGTERM);
  waitpid(pid_, nullptr, 0);
}

absl::StatusOr<Row> Peer::ReadAnswer() {
  size_t end;
  while ((end = unread_.find('\n')) == std::string::npos) {
    char buffer[4096];
    const ssize_t got = recv(socket_, buffer, sizeof(buffer), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return absl::UnavailableError("the peer has ended");
    unread_.append(buffer, static_cast<size_t>(got));
  }
  const std::string line = unread_.substr(0, end);
  unread_.erase(0, end + 1);
  return ParseRow(line, "the peer's answer");
}

absl::StatusOr<double> Peer::Time(absl::string_view workload, double seconds) {
  const std::string line = absl::StrCat(seconds, " ", workload, "\n");
  if (send(socket_, line.data(), line.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(line.size()))
    return absl::UnavailableError("the peer has ended");
  LR_ASSIGN_OR_RETURN(const Row answer, ReadAnswer());
  if (answer.Find("absent") != nullptr) {
    LR_ASSIGN_OR_RETURN(const std::string why, answer.String("absent"));
    return absl::NotFoundError(why);
  }
  return answer.Number("seconds");
}

}  // namespace longrange
