// The checks of tasks.

#ifndef LONGRANGE_PLUGINS_CONFORMANCE_TASK_CHECKS_H_
#define LONGRANGE_PLUGINS_CONFORMANCE_TASK_CHECKS_H_

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "plugins/conformance/verdict.h"
#include "plugins/task.h"

namespace longrange::conformance {

struct TaskSubject {
  std::function<absl::StatusOr<std::unique_ptr<Task>>(const TaskArgs& args)> make;
};

struct TaskCheck {
  const char* name;
  const char* promise;
  Verdict (*run)(const TaskSubject&);
};
const std::vector<TaskCheck>& TaskChecks();

// A few examples as text.
absl::StatusOr<std::string> TaskBehaviour(const TaskSubject& subject);

}  // namespace longrange::conformance

#endif  // LONGRANGE_PLUGINS_CONFORMANCE_TASK_CHECKS_H_
