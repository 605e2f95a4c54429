// The simulator as a process of its own, driven by lines on standard input:
//
//   memory DESCRIPTOR                    the memory file, inherited from the parent
//   map ADDRESS BYTES OFFSET             a part of it
//   allocation ADDRESS BYTES NAME        an array that kernels may touch
//   attribute NUMBER VALUE               of the device, as cudaDeviceGetAttribute gives it
//   options RACES COUNT SEED THREADS LIMIT
//   timeout SECONDS
//   kernel NAME COUNT {OFFSET BYTES}... PATH    a kernel's parameters and its program file
//   launch NAME X Y Z X Y Z X Y Z BYTES HEX|-   grid, block, cluster, dynamic shared, parameters
//   library PATH                         a kernel library's host code
//   call FUNCTION HEX                    int FUNCTION(struct*, stream) of the library
//
// and answering on standard output: "need NAME" asks for a `kernel` line when the library launches
// a kernel that has not been named yet; "result JSON" ends a run, "error TEXT" a run that could not
// begin. What the library itself prints goes to standard error. `simulator --operations` lists the
// operations that programs can name.
#include <dlfcn.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <map>
#include <set>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "crash.h"
#include "memory.h"
#include "results.h"
#include "session.h"

namespace roofgate::sim {
namespace {

constexpr int kErrorExit = 2;

int answers = STDOUT_FILENO;

void answer(const std::string& line) {
  const std::string text = line + "\n";
  size_t sent = 0;
  while (sent < text.size()) {
    const ssize_t count = write(answers, text.data() + sent, text.size() - sent);
    if (count < 0) _exit(kErrorExit);  // the parent is gone
    sent += static_cast<size_t>(count);
  }
}

std::string as_hex(const std::vector<std::byte>& bytes) {
  std::string text;
  char digits[3];
  for (const std::byte byte : bytes) {
    std::snprintf(digits, sizeof digits, "%02x", static_cast<unsigned>(byte));
    text += digits;
  }
  return text;
}

std::vector<std::byte> from_hex(const std::string& text) {
  std::vector<std::byte> bytes;
  if (text == "-") return bytes;
  for (size_t i = 0; i + 1 < text.size(); i += 2) {
    bytes.push_back(static_cast<std::byte>(std::stoi(text.substr(i, 2), nullptr, 16)));
  }
  return bytes;
}

// The words of one line behind its command.
class Words {
 public:
  explicit Words(const std::string& line) : line_(line), stream_(line) {}

  template <class T>
  T next() {
    T value;
    if (!(stream_ >> value)) throw std::runtime_error("the line is too short: " + line_);
    return value;
  }

  std::string rest() {
    std::string text;
    std::getline(stream_ >> std::ws, text);
    return text;
  }

 private:
  std::string line_;
  std::istringstream stream_;
};

// Carries out the parent's lines.
class Server {
 public:
  // Carries out the lines up to the first of the commands in `last`.
  void serve(const std::set<std::string>& last) {
    std::string line;
    while (std::getline(std::cin, line)) {
      Words words(line);
      const auto command = words.next<std::string>();
      const auto found = kCommands.find(command);
      if (found == kCommands.end()) throw std::runtime_error("unknown command '" + command + "'");
      (this->*found->second)(words);
      if (last.contains(command)) return;
    }
    throw std::runtime_error("the input ends too early");
  }

  const HostCall& call() const { return call_; }

 private:
  using Command = void (Server::*)(Words&);
  static const std::map<std::string, Command> kCommands;

  void set_memory(Words& words) { memory_ = words.next<int>(); }

  void map_memory(Words& words) {
    void* const wanted = reinterpret_cast<void*>(words.next<uint64_t>());
    const auto bytes = words.next<uint64_t>();
    const auto offset = words.next<off_t>();
    void* const found = mmap(wanted, bytes, PROT_READ | PROT_WRITE,
                             MAP_SHARED | MAP_FIXED_NOREPLACE, memory_, offset);
    if (found != wanted) {
      throw std::runtime_error("device memory cannot be mapped: " +
                               std::string(std::strerror(errno)));
    }
  }

  void allocate(Words& words) {
    Allocation allocation;
    allocation.address = words.next<uint64_t>();
    allocation.bytes = words.next<uint64_t>();
    allocation.name = words.rest();
    add_allocation(allocation);
  }

  void set_attribute(Words& words) {
    const int number = words.next<int>();
    session().device.set(number, words.next<int>());
  }

  void set_options(Words& words) {
    Options& options = session().options;
    options.check_races = words.next<bool>();
    options.count = words.next<bool>();
    options.seed = words.next<uint64_t>();
    options.threads = words.next<int>();
    options.instruction_limit = words.next<uint64_t>();
  }

  void set_time_limit(Words& words) { limit_time(words.next<double>()); }

  void add_kernel(Words& words) {
    const auto name = words.next<std::string>();
    LoadedKernel kernel;
    for (auto count = words.next<int>(); count > 0; --count) {
      const auto offset = words.next<uint32_t>();
      kernel.parameters.push_back({offset, words.next<uint32_t>()});
    }
    kernel.program = read_program(words.rest());
    session().kernels[name] = std::move(kernel);
  }

  void launch(Words& words) {
    const auto name = words.next<std::string>();
    LaunchShape shape;
    for (Dim3* extent : {&shape.grid, &shape.block, &shape.cluster}) {
      for (uint32_t* count : {&extent->x, &extent->y, &extent->z}) *count = words.next<uint32_t>();
    }
    shape.dynamic_shared_bytes = words.next<uint64_t>();
    // Who launches by hand has asked for what is launched.
    const FunctionAttributes attributes{shape.dynamic_shared_bytes, true};
    launch_kernel(load_kernel(name), attributes, shape, from_hex(words.next<std::string>()));
  }

  void open_library(Words& words) {
    library_ = dlopen(words.rest().c_str(), RTLD_NOW | RTLD_LOCAL);
    if (!library_) throw std::runtime_error(dlerror());
  }

  void call_function(Words& words) {
    const auto name = words.next<std::string>();
    const auto function = reinterpret_cast<int (*)(void*, void*)>(dlsym(library_, name.c_str()));
    if (!function) throw std::runtime_error(dlerror());
    std::vector<std::byte> structure = from_hex(words.next<std::string>());
    call_.status = function(structure.data(), nullptr);
    call_.structure = as_hex(structure);
    if (call_.status) call_.status_text = describe(call_.status);
  }

  std::string describe(int status) const {
    const auto text =
        reinterpret_cast<const char* (*)(int)>(dlsym(library_, "roofgate_status_text"));
    return text ? text(status) : "unknown status";
  }

  int memory_ = -1;
  void* library_ = nullptr;
  HostCall call_;
};

const std::map<std::string, Server::Command> Server::kCommands = {
    {"memory", &Server::set_memory},    {"map", &Server::map_memory},
    {"allocation", &Server::allocate},  {"attribute", &Server::set_attribute},
    {"options", &Server::set_options},  {"timeout", &Server::set_time_limit},
    {"kernel", &Server::add_kernel},    {"launch", &Server::launch},
    {"library", &Server::open_library}, {"call", &Server::call_function},
};

Server server;

void request_kernel(const std::string& name) {
  answer("need " + name);
  try {
    server.serve({"kernel"});
  } catch (const std::exception& error) {
    answer("error " + std::string(error.what()));
    _exit(kErrorExit);
  }
}

int list_operations() {
  for (const std::string& name : operation_names()) std::cout << name << '\n';
  return 0;
}

int run() {
  answers = dup(STDOUT_FILENO);
  dup2(STDERR_FILENO, STDOUT_FILENO);
  report_crashes(answers);
  session().request_kernel = request_kernel;
  try {
    server.serve({"launch", "call"});
  } catch (const std::exception& error) {
    answer("error " + std::string(error.what()));
    return kErrorExit;
  }
  answer("result " + results_as_json(session(), server.call()));
  return 0;
}

}  // namespace
}  // namespace roofgate::sim

int main(int count, char** arguments) {
  if (count == 2 && std::strcmp(arguments[1], "--operations") == 0) {
    return roofgate::sim::list_operations();
  }
  const int status = roofgate::sim::run();
  std::fflush(nullptr);
  _exit(status);  // the library's own clean-up has nothing left to clean
}
