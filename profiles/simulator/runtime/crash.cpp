#include "crash.h"

#include <dirent.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <thread>

#include "interpreter.h"

namespace roofgate::sim {
namespace {

constexpr int kFatalSignals[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT};
constexpr int kAskSignal = SIGUSR1;
constexpr int kCrashedExit = 70;
constexpr int kTimeoutExit = 71;
constexpr size_t kStackBytes = 64 * 1024;
constexpr auto kTimeToAnswer = std::chrono::milliseconds(200);

int report_descriptor = STDERR_FILENO;
alignas(16) char alternate_stack[kStackBytes];

// A line put together without memory from the heap, which may be what is broken.
class Line {
 public:
  Line& add(const char* text) {
    while (*text && size_ < sizeof text_ - 1) text_[size_++] = *text++;
    return *this;
  }

  Line& add(int64_t value) {
    if (value < 0) return add("-").add(-value);
    char digits[24];
    size_t place = sizeof digits - 1;
    digits[place] = 0;
    do {
      digits[--place] = static_cast<char>('0' + value % 10);
      value /= 10;
    } while (value);
    return add(digits + place);
  }

  void send() {
    text_[size_++] = '\n';
    if (write(report_descriptor, text_, size_) < 0) _exit(kCrashedExit);
  }

 private:
  char text_[1024];
  size_t size_ = 0;
};

void add_place(Line& line) {
  if (!current_warp || !current_instruction) {
    line.add(" -1 0 0 0 0 -");
    return;
  }
  const Dim3& block = current_warp->block->index;
  for (int64_t value : {int64_t{current_instruction->site}, int64_t{block.x}, int64_t{block.y},
                        int64_t{block.z}, int64_t{current_warp->index}}) {
    line.add(" ").add(value);
  }
  line.add(" ").add(launch_of(*current_warp).program->kernel.c_str());
}

void on_fatal_signal(int signal, siginfo_t* info, void*) {
  Line line;
  line.add("crash ").add(int64_t{signal}).add(" ");
  line.add(static_cast<int64_t>(reinterpret_cast<uintptr_t>(info->si_addr)));
  add_place(line);
  line.send();
  _exit(kCrashedExit);
}

void on_ask(int) {
  if (!current_warp || !current_instruction) return;
  Line line;
  line.add("busy");
  add_place(line);
  line.send();
}

void ask_all_threads() {
  DIR* const tasks = opendir("/proc/self/task");
  if (!tasks) return;
  while (const dirent* entry = readdir(tasks)) {
    const long task = std::strtol(entry->d_name, nullptr, 10);
    if (task > 0) syscall(SYS_tgkill, getpid(), task, kAskSignal);
  }
  closedir(tasks);
}

}  // namespace

void report_crashes(int descriptor) {
  report_descriptor = descriptor;
  stack_t stack = {};
  stack.ss_sp = alternate_stack;
  stack.ss_size = kStackBytes;
  sigaltstack(&stack, nullptr);
  struct sigaction fatal = {};
  fatal.sa_sigaction = on_fatal_signal;
  fatal.sa_flags = SA_SIGINFO | SA_ONSTACK;
  for (int signal : kFatalSignals) sigaction(signal, &fatal, nullptr);
  struct sigaction ask = {};
  ask.sa_handler = on_ask;
  ask.sa_flags = SA_RESTART;
  sigaction(kAskSignal, &ask, nullptr);
}

void limit_time(double seconds) {
  std::thread([seconds] {
    std::this_thread::sleep_for(std::chrono::duration<double>(seconds));
    ask_all_threads();
    std::this_thread::sleep_for(kTimeToAnswer);
    Line().add("timeout").send();
    _exit(kTimeoutExit);
  }).detach();
}

}  // namespace roofgate::sim
