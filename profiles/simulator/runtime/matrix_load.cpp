// ldmatrix, stmatrix and movmatrix: 8x8 matrices of 16-bit elements between shared memory and
// fragments.
//
// Matrix i of an instruction has its rows of 16 bytes at the addresses in lanes 8 i to 8 i + 7. In
// registers lane l holds elements 2 (l % 4) and the next of row l / 4, or of column l / 4 with
// .trans. Each matrix is counted as one request of eight rows: one wavefront unless rows share
// banks.
#include <bit>
#include <cstring>

#include "full_warp.h"
#include "shared_addresses.h"
#include "warp_memory.h"

namespace roofgate::sim {
namespace {

constexpr int kRows = 8;
constexpr int kColumns = 8;
constexpr int kThreads = 4;  // that hold a row
constexpr uint32_t kRowBytes = 16;

struct Matrix {
  uint16_t element[kRows][kColumns];
};

// With .trans: which element is the low (0) or high (1) half of a lane's register.
uint16_t& element_of(Matrix& matrix, int lane, int half) {
  return matrix.element[2 * (lane % kThreads) + half][lane / kThreads];
}

template <bool kTransposed>
void to_fragment(Matrix& matrix, Lanes<uint32_t>& fragment);
template <bool kTransposed>
void to_matrix(const Lanes<uint32_t>& fragment, Matrix& matrix);

template <>
void to_fragment<true>(Matrix& matrix, Lanes<uint32_t>& fragment) {
#pragma GCC unroll 32
  for (int l = 0; l < kLanes; ++l) {
    fragment[l] = element_of(matrix, l, 0) | uint32_t{element_of(matrix, l, 1)} << 16;
  }
}

template <>
void to_matrix<true>(const Lanes<uint32_t>& fragment, Matrix& matrix) {
#pragma GCC unroll 32
  for (int l = 0; l < kLanes; ++l) {
    element_of(matrix, l, 0) = static_cast<uint16_t>(fragment[l]);
    element_of(matrix, l, 1) = static_cast<uint16_t>(fragment[l] >> 16);
  }
}

// Lanes that hold rows hold a matrix as it lies in memory.
static_assert(std::endian::native == std::endian::little);
static_assert(sizeof(Matrix) == sizeof(Lanes<uint32_t>));

template <>
void to_fragment<false>(Matrix& matrix, Lanes<uint32_t>& fragment) {
  std::memcpy(&fragment, &matrix, sizeof matrix);
}

template <>
void to_matrix<false>(const Lanes<uint32_t>& fragment, Matrix& matrix) {
  std::memcpy(&matrix, &fragment, sizeof matrix);
}

// Where the rows of all matrices lie, checked and counted: as a request of 16 bytes by each lane
// with a row, of which each matrix is a quarter.
template <int kMatrices>
Places row_places(Warp& warp, const Instruction& instruction, int first_operand, Access access) {
  constexpr int kLanesWithRow = kMatrices * kRows;
  constexpr LaneMask kRowLanes = kAllLanes >> (kLanes - kLanesWithRow);
  const Lanes<uint32_t> addresses = shared_addresses(warp, instruction, first_operand, kRowLanes);
  Places places;
  request_shared({warp, instruction, kRowLanes, kRowBytes, access}, addresses, places);
  return places;
}

// Operands: a register for each matrix, the shared address.
template <int kMatrices, bool kTransposed>
Status load(Warp& warp, const Instruction& instruction) {
  require_full_warp(warp, instruction);
  const Places places = row_places<kMatrices>(warp, instruction, kMatrices, Access::kRead);
  for (int i = 0; i < kMatrices; ++i) {
    Matrix matrix;
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(matrix.element[row], places[i * kRows + row], kRowBytes);
    }
    to_fragment<kTransposed>(matrix, warp.lanes<uint32_t>(instruction.operands[i]));
  }
  return Status::kNext;
}

// Operands: the shared address, a register for each matrix.
template <int kMatrices, bool kTransposed>
Status store(Warp& warp, const Instruction& instruction) {
  require_full_warp(warp, instruction);
  const Places places = row_places<kMatrices>(warp, instruction, 0, Access::kWrite);
  for (int i = 0; i < kMatrices; ++i) {
    Matrix matrix;
    to_matrix<kTransposed>(warp.lanes<uint32_t>(instruction.operands[kSharedOperands + i]), matrix);
    for (int row = 0; row < kRows; ++row) {
      std::memcpy(places[i * kRows + row], matrix.element[row], kRowBytes);
    }
  }
  return Status::kNext;
}

// Operands: destination, source.
Status transpose(Warp& warp, const Instruction& instruction) {
  require_full_warp(warp, instruction);
  Matrix matrix;
  to_matrix<false>(warp.lanes<uint32_t>(instruction.operands[1]), matrix);
  to_fragment<true>(matrix, warp.lanes<uint32_t>(instruction.operands[0]));
  return Status::kNext;
}

ROOFGATE_OPERATION("ldmatrix.x1", load<1, false>);
ROOFGATE_OPERATION("ldmatrix.x2", load<2, false>);
ROOFGATE_OPERATION("ldmatrix.x4", load<4, false>);
ROOFGATE_OPERATION("ldmatrix.x1.trans", load<1, true>);
ROOFGATE_OPERATION("ldmatrix.x2.trans", load<2, true>);
ROOFGATE_OPERATION("ldmatrix.x4.trans", load<4, true>);
ROOFGATE_OPERATION("stmatrix.x1", store<1, false>);
ROOFGATE_OPERATION("stmatrix.x2", store<2, false>);
ROOFGATE_OPERATION("stmatrix.x4", store<4, false>);
ROOFGATE_OPERATION("stmatrix.x1.trans", store<1, true>);
ROOFGATE_OPERATION("stmatrix.x2.trans", store<2, true>);
ROOFGATE_OPERATION("stmatrix.x4.trans", store<4, true>);
ROOFGATE_OPERATION("movmatrix.trans", transpose);

}  // namespace
}  // namespace roofgate::sim
