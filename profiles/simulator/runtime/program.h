// A kernel as the interpreter runs it: decoded instructions over a file of warp registers.
//
// The program is made by profiles/simulator/lowering and read from a text file; see program.cpp for
// its lines. Instruction i of the program is instruction i of the PTX kernel (its "site"): program
// counters, counters and findings all speak in sites.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace roofgate::sim {

struct Warp;
struct Instruction;
struct Watch;  // wgmma_watch.h

// What the interpreter does after an instruction.
enum class Status {
  kNext,     // go on with the next instruction
  kJumped,   // the handler has set where every active lane goes on
  kWaiting,  // done, but the active lanes stop until somebody wakes them
  kRetry,    // not done: execute it again when the active lanes wake
};

using Handler = Status (*)(Warp&, const Instruction&);

constexpr int32_t kNoGuard = -1;

struct Instruction {
  Handler handler;
  // Each is the byte offset of a register in the warp's file, or a number; the operation knows
  // which. Constants are registers too.
  const int64_t* operands;
  uint32_t operand_count;
  int32_t guard;  // byte offset of a predicate, or kNoGuard
  bool guard_negated;
  uint32_t site;
  const char* operation;  // its name, for messages
};

// A register that is filled when a warp starts and never written: a literal, an address, or one of
// the special registers.
struct Constant {
  int64_t offset;       // in the register file
  int width;            // bytes per lane: 2, 4 or 8; 1 for a predicate
  uint64_t value;       // unless `special` is set
  std::string special;  // "tid.x", "laneid", ...
};

struct Program {
  std::string kernel;
  uint32_t parameter_bytes = 0;
  uint32_t static_shared_bytes = 0;
  uint32_t dynamic_shared_alignment = 16;
  uint32_t local_bytes = 0;  // per lane
  uint32_t register_file_bytes = 0;
  uint32_t required_cluster[3] = {0, 0, 0};  // 0: not stated
  uint32_t max_threads = 0;                  // 0: not stated
  uint32_t required_threads[3] = {0, 0, 0};  // 0: not stated
  std::vector<Constant> constants;
  std::vector<Instruction> instructions;
  std::vector<std::vector<int64_t>> operands;           // what the instructions point to
  std::vector<std::unique_ptr<std::byte[]>> variables;  // of the module: global and constant
  // By site: instructions that name registers of warpgroup products, or copies of them.
  std::map<uint32_t, std::shared_ptr<const Watch>> watches;
  uint32_t watched_registers = 0;
};

// Reads a program file. Throws std::runtime_error that names the line.
std::unique_ptr<Program> read_program(const std::string& path);

// Operations make themselves known by name: ROOFGATE_OPERATION("add.f32", add<float>); at namespace
// scope. Lowering and run-time agree on the names; `simulator --operations` lists them.
struct Registration {
  Registration(const char* name, Handler handler);
};

Handler find_operation(std::string_view name);  // nullptr if there is none
std::vector<std::string> operation_names();

#define ROOFGATE_JOIN_(a, b) a##b
#define ROOFGATE_JOIN(a, b) ROOFGATE_JOIN_(a, b)
#define ROOFGATE_OPERATION(name, ...)                                                   \
  static const ::roofgate::sim::Registration ROOFGATE_JOIN(registration_, __COUNTER__)( \
      name, __VA_ARGS__)

}  // namespace roofgate::sim
