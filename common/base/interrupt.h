// Ctrl-C and SIGTERM as a question that a loop asks, so that it can save a checkpoint and leave.

#ifndef LONGRANGE_COMMON_BASE_INTERRUPT_H_
#define LONGRANGE_COMMON_BASE_INTERRUPT_H_

namespace longrange {

// From here on the first SIGINT or SIGTERM sets the flag that Interrupted() reads and says so on
// stderr; the second one ends the process. A signal that was ignored at the start (nohup) stays
// ignored. Call it where the loop that asks begins.
void CatchInterrupts();

// Has a signal come since? The loop then returns absl::CancelledError (exit code 130).
bool Interrupted();

}  // namespace longrange

#endif  // LONGRANGE_COMMON_BASE_INTERRUPT_H_
