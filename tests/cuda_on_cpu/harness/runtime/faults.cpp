// Invalid addresses and endless loops become faults of the launch that name the thread.

#include <signal.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

#include <cstdarg>
#include <cstdio>
#include <cstring>

#include "sanitizers.h"
#include "scheduler.h"

// glibc's own, which ThreadSanitizer does not wrap: its wrapper expects handlers to return.
extern "C" int __sigaction(int signal, const struct sigaction* action, struct sigaction* old);

namespace cuda_on_cpu {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGVTALRM};
constexpr int kSignalCount = sizeof(kSignals) / sizeof(kSignals[0]);
struct sigaction previous[kSignalCount];
stack_t previous_stack;
alignas(16) char signal_stack[256 << 10];
std::string message;
bool pending = false;
int64_t work = 0;

void handle(int signal, siginfo_t* info, void* context) {
  if (!on_fiber()) {
    scheduler.expired = true;
    if (signal == SIGVTALRM) return;
    for (int i = 0; i < kSignalCount; ++i) __sigaction(kSignals[i], &previous[i], nullptr);
    return;  // the access is repeated and meets the previous handler
  }
  std::string cause = describe(scheduler.running) + ": ";
  if (signal == SIGVTALRM) {
    cause += "the launch takes too long; this thread was running";
  } else if (signal == SIGFPE) {
    cause += "integer division by zero";
  } else if (signal == SIGILL) {
    cause += "trap";
  } else if (is_stack_guard(info->si_addr)) {
    cause += "stack overflow";
  } else {
    const auto* registers = static_cast<const ucontext_t*>(context);
    const bool write = (registers->uc_mcontext.gregs[REG_ERR] & 2) != 0;
    cause += describe_address(info->si_addr, write);
  }
  if (kThreadSanitizer && signal == SIGVTALRM) {
    // It may have interrupted the sanitizer itself, which cannot be left in the middle.
    std::fprintf(stderr, "%s\n", cause.c_str());
    _exit(3);
  }
  abandon(cause);
}

void set_timer(double seconds) {
  itimerval timer{};
  timer.it_value.tv_sec = static_cast<time_t>(seconds);
  timer.it_value.tv_usec =
      static_cast<suseconds_t>((seconds - static_cast<double>(timer.it_value.tv_sec)) * 1e6);
  setitimer(ITIMER_VIRTUAL, &timer, nullptr);
}

}  // namespace

void begin_watch(double seconds) {
  scheduler.expired = false;
  pending = false;
  stack_t stack{};
  stack.ss_sp = signal_stack;
  stack.ss_size = sizeof(signal_stack);
  sigaltstack(&stack, &previous_stack);
  struct sigaction action{};
  action.sa_sigaction = &handle;
  action.sa_flags = SA_SIGINFO | SA_ONSTACK | SA_NODEFER;
  for (int i = 0; i < kSignalCount; ++i) __sigaction(kSignals[i], &action, &previous[i]);
  set_timer(seconds);
}

void end_watch() {
  set_timer(0);
  for (int i = 0; i < kSignalCount; ++i) __sigaction(kSignals[i], &previous[i], nullptr);
  sigaltstack(&previous_stack, nullptr);
}

void abandon(const std::string& text) {
  if (!on_fiber()) throw KernelFault(text);
  message = text;
  pending = true;
  order_before(&message);
  yield(true);
  __builtin_unreachable();
}

void rethrow_abandoned() {
  if (!pending) return;
  pending = false;
  order_after(&message);
  throw KernelFault(message);
}

void kernel_fault(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  abandon(describe(scheduler.running) + ": " + text);
}

int64_t take_work() {
  const int64_t taken = work;
  work = 0;
  return taken;
}

#if defined(SCRN_ON_CPU_COUNT)
// Called at every basic block of the kernels (-fsanitize-coverage=trace-pc).
extern "C" void __sanitizer_cov_trace_pc() { ++work; }
#endif

}  // namespace cuda_on_cpu
