#include "program.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <map>
#include <sstream>
#include <stdexcept>
#include <utility>

#include "memory.h"
#include "wgmma_watch.h"

namespace roofgate::sim {
namespace {

// Made on first use: registrations of other files run in no particular order.
std::map<std::string, Handler, std::less<>>& operations() {
  static std::map<std::string, Handler, std::less<>> table;
  return table;
}

struct AlignedBytes {
  std::byte* bytes;
  std::unique_ptr<std::byte[]> owner;
};

AlignedBytes allocate_aligned(size_t bytes, size_t alignment) {
  auto owner = std::make_unique<std::byte[]>(bytes + alignment);
  void* pointer = owner.get();
  size_t space = bytes + alignment;
  auto* aligned = static_cast<std::byte*>(std::align(alignment, bytes, pointer, space));
  return {aligned, std::move(owner)};
}

// Reads the lines of one program file.
class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path), file_(path) {
    if (!file_) throw std::runtime_error(path + ": cannot be opened");
  }

  std::unique_ptr<Program> read() {
    std::string line;
    while (std::getline(file_, line)) {
      ++line_number_;
      words_ = std::istringstream(line);
      const auto keyword = word();
      if (line_number_ == 1) {
        if (line != "roofgate-program 1") fail("expected 'roofgate-program 1'");
      } else if (keyword == "end") {
        finish();
        return std::move(program_);
      } else {
        read_line(keyword);
      }
    }
    fail("the file ends before 'end'");
  }

 private:
  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(path_ + ":" + std::to_string(line_number_) + ": " + what);
  }

  std::string word() {
    std::string result;
    if (!(words_ >> result)) fail("the line is too short");
    return result;
  }

  int64_t number() {
    int64_t result;
    if (!(words_ >> result)) fail("expected a number");
    return result;
  }

  void read_line(const std::string& keyword) {
    Program& program = *program_;
    if (keyword == "op") return read_operation();
    if (keyword == "constant") return read_constant();
    if (keyword == "variable") return read_variable();
    if (keyword == "relocation") return read_relocation();
    if (keyword == "watch") return read_watch();
    if (keyword == "kernel") {
      program.kernel = word();
    } else if (keyword == "parameters") {
      program.parameter_bytes = number();
    } else if (keyword == "shared") {
      program.static_shared_bytes = number();
      program.dynamic_shared_alignment = number();
    } else if (keyword == "local") {
      program.local_bytes = number();
    } else if (keyword == "registers") {
      program.register_file_bytes = number();
    } else if (keyword == "cluster") {
      for (uint32_t& extent : program.required_cluster) extent = number();
    } else if (keyword == "threads") {
      program.max_threads = number();
      for (uint32_t& extent : program.required_threads) extent = number();
    } else {
      fail("unknown line '" + keyword + "'");
    }
  }

  void read_operation() {
    names_.push_back(word());
    Instruction instruction = {};
    instruction.site = program_->instructions.size();
    instruction.handler = find_operation(names_.back());
    if (!instruction.handler) fail("no operation '" + names_.back() + "' in this run-time");
    std::string guard = word();
    instruction.guard_negated = guard[0] == '!';
    instruction.guard =
        guard == "-" ? kNoGuard : std::stoi(guard.substr(instruction.guard_negated));
    std::vector<int64_t> operands(number());
    for (int64_t& operand : operands) operand = number();
    instruction.operand_count = operands.size();
    program_->operands.push_back(std::move(operands));
    program_->instructions.push_back(instruction);
  }

  // Site, kind, and the numbers of the watched registers that it reads and
  // writes.
  void read_watch() {
    Instruction& instruction = program_->instructions.at(number());
    auto watch = std::make_shared<Watch>();
    watch->kind = watch_kind(word());
    for (auto* numbers : {&watch->reads, &watch->writes}) {
      numbers->resize(number());
      for (uint32_t& register_number : *numbers) {
        register_number = number();
        program_->watched_registers = std::max(program_->watched_registers, register_number + 1);
      }
    }
    watch->handler = std::exchange(instruction.handler, run_watched);
    program_->watches[instruction.site] = std::move(watch);
  }

  WatchKind watch_kind(const std::string& name) const {
    if (name == "product") return WatchKind::kProduct;
    if (name == "copy") return WatchKind::kCopy;
    if (name == "access") return WatchKind::kAccess;
    fail("unknown kind of watch '" + name + "'");
  }

  void read_constant() {
    Constant constant = {};
    constant.offset = number();
    constant.width = static_cast<int>(number());
    const std::string kind = word();
    if (kind == "value") {
      constant.value = std::stoull(word(), nullptr, 16);
    } else if (kind == "special") {
      constant.special = word();
    } else if (kind == "address") {
      const std::string symbol = word();
      constant.value = address_of(symbol) + number();
    } else {
      fail("unknown constant '" + kind + "'");
    }
    program_->constants.push_back(std::move(constant));
  }

  void read_variable() {
    const std::string name = word();
    word();  // the state space: constant memory is read like global memory
    const auto bytes = static_cast<size_t>(number());
    const auto alignment = std::max<size_t>(number(), 16);
    const std::string initial = word();
    AlignedBytes memory = allocate_aligned(bytes, alignment);
    std::memset(memory.bytes, 0, bytes);
    for (size_t i = 0; initial != "-" && 2 * i + 1 < initial.size(); ++i) {
      memory.bytes[i] = static_cast<std::byte>(std::stoi(initial.substr(2 * i, 2), nullptr, 16));
    }
    const auto address = reinterpret_cast<uint64_t>(memory.bytes);
    variables_[name] = address;
    add_allocation({address, bytes, name});
    program_->variables.push_back(std::move(memory.owner));
  }

  void read_relocation() {
    const uint64_t place = address_of(word()) + number();
    const std::string symbol = word();
    const uint64_t value = address_of(symbol) + number();
    std::memcpy(reinterpret_cast<void*>(place), &value, sizeof value);
  }

  uint64_t address_of(const std::string& symbol) {
    const auto found = variables_.find(symbol);
    if (found == variables_.end()) fail("no variable '" + symbol + "'");
    return found->second;
  }

  // The vectors no longer grow, so instructions may point into them.
  void finish() {
    Program& program = *program_;
    for (size_t i = 0; i < program.instructions.size(); ++i) {
      program.instructions[i].operands = program.operands[i].data();
      program.instructions[i].operation = operations().find(names_[i])->first.c_str();
    }
  }

  std::string path_;
  std::ifstream file_;
  std::istringstream words_;
  int line_number_ = 0;
  std::unique_ptr<Program> program_ = std::make_unique<Program>();
  std::vector<std::string> names_;
  std::map<std::string, uint64_t> variables_;
};

}  // namespace

Registration::Registration(const char* name, Handler handler) {
  if (!operations().emplace(name, handler).second) {
    std::fprintf(stderr, "operation '%s' is registered twice\n", name);
    std::abort();
  }
}

Handler find_operation(std::string_view name) {
  const auto found = operations().find(name);
  return found == operations().end() ? nullptr : found->second;
}

std::vector<std::string> operation_names() {
  std::vector<std::string> names;
  for (const auto& [name, handler] : operations()) names.push_back(name);
  return names;
}

std::unique_ptr<Program> read_program(const std::string& path) { return Reader(path).read(); }

}  // namespace roofgate::sim
