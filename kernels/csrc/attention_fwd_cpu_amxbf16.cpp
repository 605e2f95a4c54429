// bf16 attention forward on the tiles of AMX: tdpbf16ps multiplies 16 x 32 by 32 x 16 bf16 and adds
// in fp32. Scores stay transposed, as in attention_fwd_cpu_tile.h: rows are the columns of a tile
// and the lanes of the softmax.
//
// Built with -mavx512f -mavx512bw -mavx512vl -mavx512dq -mavx512bf16 -mamx-tile -mamx-bf16 -mfma.
//
// What bounds it, counted for 32 rows by 64 keys of head_dim 64, in cycles of one core:
//   FLOP          32 tdpbf16ps of 16 cycles: 512
//   tiles         40 loads of 8 cycles and 16 stores of 16, on ports of their own: 320 and 256
//   exponentials  2048: 11.5 instructions for 16 of them, two a cycle: 736
// So 736 if all overlapped, 1248 if products and softmax take turns, as they do. Measured on one
// thread: 2050, of which the products 1050 (tile stores and O, which comes from the L2 cache, do
// not hide behind them), the softmax 960, and packing 40 with 24 query tiles to an item. Running
// the products of the neighbouring query tiles between the steps of the softmax did not pay where
// this was measured, with twice the buffers in the L1 cache: 15 % slower for head_dim 64, equal for
// 128.
//
// A query tile itself costs as much as one and a half of these units, most of it waiting for its
// rows of Q and O and for V; a window of few keys feels that.
#if defined(__x86_64__)
#include "attention_fwd_cpu_avx512bf16.h"
#include "attention_fwd_cpu_kernel.h"

namespace roofgate {
namespace {

struct Amx : Avx512Bf16 {
  // 2^x for x < 128, exactly 1 at 0. x = n + f with 0 <= f < 1: the relative error of the minimax
  // polynomial for 2^f is 2.9e-6, a thousandth of a bf16's. 6 instructions; flushes what a normal
  // number cannot hold, as Arithmetic::begin asks. A NaN stays one, -inf becomes 0.
  static ROOFGATE_INLINE Vector exp2(Vector x) {
    constexpr int kFractionFromFloor = 0x09;
    const Vector f = _mm512_reduce_ps(x, kFractionFromFloor);
    Vector p = _mm512_fmadd_ps(_mm512_set1_ps(0x1.b7f734p-7f), f, _mm512_set1_ps(0x1.abf868p-5f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.ee2452p-3f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(0x1.62d6c6p-1f));
    p = _mm512_fmadd_ps(p, f, _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, x);  // p * 2^floor(x)
  }
};

constexpr int kTileRows = 16;                           // of a tile register
constexpr int kTileBytes = 64;                          // of a row of it
constexpr int kTileUnits = kTileRows * kTileBytes / 4;  // 32-bit
constexpr int kTileElements = 32;                       // bf16 of a row
constexpr int kRowBytes = QueryTile<Amx>::kRows * 4;    // of a row of Q, S, P and O
static_assert(QueryTile<Amx>::kRows == 2 * kTileRows, "two tiles of columns");
static_assert(kHeadDimPadding == kTileElements, "a product takes so many of head_dim at a time");

// The compiler does not know that tile loads read memory: what was stored before them has to stay
// before them.
ROOFGATE_INLINE void finish_stores() { __asm__ volatile("" ::: "memory"); }

// A 2 x 2 block of tiles: tiles 0 to 3 are the sums, 4 and 5 take the left operand, 6 and 7 the
// right one, so that each loaded tile serves two products.
struct Block {
  static ROOFGATE_INLINE void clear() {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  static ROOFGATE_INLINE void load(const float* upper, const float* lower) {
    _tile_loadd(0, upper, kRowBytes);
    _tile_loadd(1, upper + kTileRows, kRowBytes);
    _tile_loadd(2, lower, kRowBytes);
    _tile_loadd(3, lower + kTileRows, kRowBytes);
  }
  static ROOFGATE_INLINE void store(float* upper, float* lower) {
    _tile_stored(0, upper, kRowBytes);
    _tile_stored(1, upper + kTileRows, kRowBytes);
    _tile_stored(2, lower, kRowBytes);
    _tile_stored(3, lower + kTileRows, kRowBytes);
  }
  // `left_bytes` from a row of the left operand to the next.
  static ROOFGATE_INLINE void multiply(const void* upper, const void* lower, int left_bytes,
                                       const uint32_t* right) {
    _tile_loadd(6, right, kRowBytes);
    _tile_loadd(4, upper, left_bytes);
    _tile_loadd(7, right + kTileRows, kRowBytes);
    _tile_loadd(5, lower, left_bytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
};

class AmxArithmetic {
 public:
  static constexpr bool kBeginsOutput = true;

  // Returns the floating-point mode of the caller, for end().
  static unsigned int begin() {
    alignas(64) Configuration configuration = {};
    configuration.palette = 1;
    for (int tile = 0; tile < 8; ++tile) {
      configuration.row_bytes[tile] = kTileBytes;
      configuration.rows[tile] = kTileRows;
    }
    finish_stores();
    _tile_loadconfig(&configuration);
    // Products of bf16 flush what is smaller than a normal number anyway; exponentials that do not
    // would cost a hundred cycles each.
    const unsigned int mode = _mm_getcsr();
    _mm_setcsr(mode | kFlushToZero);
    return mode;
  }
  static void end(unsigned int mode) {
    _mm_setcsr(mode);
    _tile_release();
  }

  // K: [kTileKeys][head_dim], V^T: [head_dim / 16][kTileKeys / 32][16][32 keys].
  template <class Element>
  static void pack(const Rows<Element>& k, const Rows<Element>& v, int head_dim, KeyTile& tile) {
    pack_keys(k, head_dim, tile);
    if (v.count == kTileKeys) {
      // Addresses that need no table are half the loads.
      const uint16_t* const first = v.first;
      const ptrdiff_t stride = v.stride;
      pack_values([=](int key) __attribute__((always_inline)) { return first + key * stride; },
                  head_dim, tile);
    } else {
      const uint16_t* rows[kTileKeys];
      for (int key = 0; key < kTileKeys; ++key) rows[key] = v[key];
      pack_values([&](int key) __attribute__((always_inline)) { return rows[key]; }, head_dim,
                  tile);
    }
  }

  static void attend(QueryTile<Amx>& tile, const KeyTile& key_tile, int head_dim,
                     const Scaling& scaling, uint32_t* probabilities) {
    MaskBits<kRows> bits;
    const KeySelection<Amx> keys = select_keys(tile, key_tile.first_key, kTileElements, bits);
    if (keys.first >= keys.end) return;
    note_seen(tile, keys);
    alignas(64) float scores[kTileKeys * kRows];
    compute_scores(tile, key_tile, keys, head_dim, scores);
    for (int column = 0; column < kRows; column += Amx::kLanes) {
      if (keys.bits != nullptr) {
        raise_reference<true>(tile, column, keys, scaling, scores, head_dim);
      } else {
        raise_reference<false>(tile, column, keys, scaling, scores, head_dim);
      }
      compute_probabilities(tile, column, keys, scaling.scale_log2, scores, probabilities);
    }
    accumulate_output(tile, key_tile, keys, head_dim, probabilities);
    tile.has_output = true;
  }

 private:
  static constexpr int kRows = QueryTile<Amx>::kRows;
  static constexpr unsigned int kFlushToZero = 0x8000;

  struct Configuration {  // as _tile_loadconfig takes it
    uint8_t palette;
    uint8_t start_row;
    uint8_t reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
  };

  static constexpr int kGroupRows = 8;  // of V^T that are made at a time

  // Rows that lie end to end are read where they are.
  template <class Element>
  static void pack_keys(const Rows<Element>& k, int head_dim, KeyTile& tile) {
    const int padded = round_up(head_dim, kTileElements);
    const bool is_aligned = reinterpret_cast<uintptr_t>(k.first) % kTileBytes == 0;
    if (k.count == kTileKeys && k.stride == padded && is_aligned) {
      tile.key_rows = k.first;
      return;
    }
    uint16_t* const rows = reinterpret_cast<uint16_t*>(tile.k);
    tile.key_rows = rows;
    for (int d = 0; d < padded; d += kTileElements) {
      const __mmask32 mask = head_dim - d >= kTileElements ? ~0u : (1u << (head_dim - d)) - 1;
      for (int key = 0; key < kTileKeys; ++key) {
        _mm512_storeu_si512(rows + key * padded + d, _mm512_maskz_loadu_epi16(mask, k[key] + d));
      }
    }
  }

  template <class RowAt>
  static void pack_values(RowAt row_at, int head_dim, const KeyTile& tile) {
    for (int key = 0; key < kTileKeys; key += kTileElements) {
      for (int d = 0; d < head_dim; d += kGroupRows) {
        transpose_values([&](int row)
                             __attribute__((always_inline)) { return row_at(key + row) + d; },
                         value_tile(tile, d, key) + d % kTileRows * (kTileElements / 2));
      }
    }
  }

  // 8 columns of 32 rows of V, which start at row_at(row), as 8 rows of 32. Each 128-bit part p of
  // a vector takes rows 8 p to 8 p + 7, so that three steps within the parts do it all.
  template <class RowAt>
  static ROOFGATE_INLINE void transpose_values(RowAt row_at, uint32_t* out) {
    __m512i a[kGroupRows], b[kGroupRows];
    ROOFGATE_UNROLL
    for (int i = 0; i < kGroupRows; ++i) {
      const auto part = [&](int p) __attribute__((always_inline)) {
        return _mm_loadu_si128(reinterpret_cast<const __m128i*>(row_at(kGroupRows * p + i)));
      };
      a[i] = _mm512_castsi128_si512(part(0));
      a[i] = _mm512_mask_broadcast_i32x4(a[i], 0x00F0, part(1));
      a[i] = _mm512_mask_broadcast_i32x4(a[i], 0x0F00, part(2));
      a[i] = _mm512_mask_broadcast_i32x4(a[i], 0xF000, part(3));
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < kGroupRows; i += 2) {
      b[i] = _mm512_unpacklo_epi16(a[i], a[i + 1]);
      b[i + 1] = _mm512_unpackhi_epi16(a[i], a[i + 1]);
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < kGroupRows; i += 4) {
      a[i] = _mm512_unpacklo_epi32(b[i], b[i + 2]);
      a[i + 1] = _mm512_unpackhi_epi32(b[i], b[i + 2]);
      a[i + 2] = _mm512_unpacklo_epi32(b[i + 1], b[i + 3]);
      a[i + 3] = _mm512_unpackhi_epi32(b[i + 1], b[i + 3]);
    }
    ROOFGATE_UNROLL
    for (int i = 0; i < kGroupRows / 2; ++i) {
      uint32_t* const row = out + 2 * i * (kTileElements / 2);
      _mm512_storeu_si512(row, _mm512_unpacklo_epi64(a[i], a[i + 4]));
      _mm512_storeu_si512(row + kTileElements / 2, _mm512_unpackhi_epi64(a[i], a[i + 4]));
    }
  }

  static ROOFGATE_INLINE uint32_t* value_tile(const KeyTile& tile, int d, int key) {
    return tile.v +
           (d / kTileRows * (kTileKeys / kTileElements) + key / kTileElements) * kTileUnits;
  }

  // S^T of the selected keys.
  static void compute_scores(const QueryTile<Amx>& tile, const KeyTile& key_tile,
                             const KeySelection<Amx>& keys, int head_dim, float* scores) {
    const int padded = round_up(head_dim, kTileElements);
    finish_stores();
    for (int key = keys.first; key < keys.end; key += 2 * kTileRows) {
      const uint16_t* const upper = key_tile.key_rows + key * padded;
      Block::clear();
      for (int d = 0; d < padded; d += kTileElements) {
        Block::multiply(upper + d, upper + kTileRows * padded + d, padded * 2,
                        tile.q + d / 2 * kRows);
      }
      Block::store(scores + key * kRows, scores + (key + kTileRows) * kRows);
    }
    if (tile.change == nullptr) return;
    for (int key = keys.first; key < keys.end; key += Amx::kBlockRows) {
      change_scores<Amx, 2>(tile, key_tile.first_key + key, scores + key * kRows);
    }
  }

  // Before any exponential, so that none has to be repeated. kHides: sets scores that the mask
  // hides to -inf on the way.
  template <bool kHides>
  static ROOFGATE_INLINE void raise_reference(QueryTile<Amx>& tile, int column,
                                              const KeySelection<Amx>& keys, const Scaling& scaling,
                                              float* scores, int head_dim) {
    constexpr int kChains = 4;  // of maxima, since one alone would wait for itself
    __m512 highest[kChains];
    ROOFGATE_UNROLL
    for (int i = 0; i < kChains; ++i) highest[i] = Amx::broadcast(-__builtin_inff());
    for (int first = keys.first; first < keys.end; first += kTileElements) {
      __m512i words = _mm512_setzero_si512();  // the bit of the next key is the lowest
      if (kHides) words = _mm512_loadu_si512(keys.bits->halves[first / kTileElements] + column);
      for (int key = first; key < first + kTileElements; key += kChains) {
        ROOFGATE_UNROLL
        for (int i = 0; i < kChains; ++i) {
          float* const place = scores + (key + i) * kRows + column;
          __m512 score = Amx::load(place);
          if (kHides) {
            const __mmask16 visible = _mm512_test_epi32_mask(words, _mm512_set1_epi32(1 << i));
            score = _mm512_mask_mov_ps(Amx::broadcast(-__builtin_inff()), visible, score);
            Amx::store(place, score);
          }
          highest[i] = Amx::maximum(highest[i], score);
        }
        if (kHides) words = _mm512_srli_epi32(words, kChains);
      }
    }
    const __m512 maximum =
        Amx::maximum(Amx::maximum(highest[0], highest[1]), Amx::maximum(highest[2], highest[3]));
    const __m512 limit =
        Amx::add(Amx::load(tile.reference + column), Amx::broadcast(scaling.headroom));
    if (__builtin_expect(Amx::any_greater(maximum, limit), 0)) {
      rescale_rows<Amx>(tile, column, maximum, scaling, head_dim);
    }
  }

  static ROOFGATE_INLINE void compute_probabilities(QueryTile<Amx>& tile, int column,
                                                    const KeySelection<Amx>& keys, float scale_log2,
                                                    const float* scores, uint32_t* probabilities) {
    const __m512 scale = Amx::broadcast(scale_log2);
    const __m512 offset = Amx::load(tile.offset + column);
    __m512 sum[2] = {_mm512_setzero_ps(), _mm512_setzero_ps()};
    __m512 rounded_sum = _mm512_setzero_ps();
    for (int key = keys.first; key < keys.end; key += 2) {
      __m512 exponentials[2];
      ROOFGATE_UNROLL
      for (int e = 0; e < 2; ++e) {
        const __m512 score = Amx::load(scores + (key + e) * kRows + column);
        exponentials[e] = Amx::exp2(Amx::exponent(score, offset, offset, scale));
        sum[e] = Amx::add(sum[e], exponentials[e]);
      }
      rounded_sum =
          Amx::store_unit(probabilities + key / 2 * kRows + column, exponentials, rounded_sum);
    }
    add_to_memory<Amx>(tile.sum + column, Amx::add(sum[0], sum[1]));
    add_to_memory<Amx>(tile.rounded_sum + column, rounded_sum);
  }

  // O^T += V^T P^T, or O^T = V^T P^T the first time. Where head_dim is an odd number of tiles, the
  // last one goes alone.
  static void accumulate_output(QueryTile<Amx>& tile, const KeyTile& key_tile,
                                const KeySelection<Amx>& keys, int head_dim,
                                const uint32_t* probabilities) {
    finish_stores();
    int d = 0;
    for (; d + 2 * kTileRows <= head_dim; d += 2 * kTileRows) {
      float* const upper = tile.output + static_cast<ptrdiff_t>(d) * kRows;
      float* const lower = upper + kTileRows * kRows;
      if (tile.has_output) {
        Block::load(upper, lower);
      } else {
        Block::clear();
      }
      for (int key = keys.first; key < keys.end; key += kTileElements) {
        Block::multiply(value_tile(key_tile, d, key), value_tile(key_tile, d + kTileRows, key),
                        kTileBytes, probabilities + key / 2 * kRows);
      }
      Block::store(upper, lower);
    }
    if (d == head_dim) return;
    float* const last = tile.output + static_cast<ptrdiff_t>(d) * kRows;
    if (tile.has_output) {
      _tile_loadd(0, last, kRowBytes);
      _tile_loadd(1, last + kTileRows, kRowBytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
    }
    for (int key = keys.first; key < keys.end; key += kTileElements) {
      const uint32_t* const right = probabilities + key / 2 * kRows;
      _tile_loadd(4, value_tile(key_tile, d, key), kTileBytes);
      _tile_loadd(6, right, kRowBytes);
      _tile_loadd(7, right + kTileRows, kRowBytes);
      _tile_dpbf16ps(0, 4, 6);
      _tile_dpbf16ps(1, 4, 7);
    }
    _tile_stored(0, last, kRowBytes);
    _tile_stored(1, last + kTileRows, kRowBytes);
  }
};

}  // namespace

const AttentionFwdKernel kAttentionFwdAmxBf16 = {
    QueryTile<Amx>::kRows, AttentionFwdItem<Amx, Bf16, AmxArithmetic>::scratch_bytes,
    run_item_of_element<Amx, Bf16, AmxArithmetic>};

}  // namespace roofgate
#endif
