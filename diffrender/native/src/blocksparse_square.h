// A square of numbers in registers: its rows out of storage, turned into columns, back to storage.
#pragma once

#include "blocksparse.h"

namespace diffrender {

// Four lanes, whatever a register holds.
template <class C>
struct Four {
  typedef C V __attribute__((vector_size(4 * sizeof(C))));
};

// shuffle(a, b, lanes): lanes 0-3 are a's, 4-7 are b's.
#if defined(__clang__) || __GNUC__ >= 12
#define DIFFRENDER_SHUFFLE(C, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define DIFFRENDER_SHUFFLE(C, a, b, ...)                                           \
  __builtin_shuffle(a, b,                                                          \
                    typename Four<typename std::conditional<sizeof(C) == 4, int32_t, \
                                                            int64_t>::type>::V{__VA_ARGS__})
#endif

// Rows become columns.
template <class C>
inline void transpose4(typename Four<C>::V row[4]) {
  typedef typename Four<C>::V V;
  const V a = DIFFRENDER_SHUFFLE(C, row[0], row[1], 0, 4, 1, 5);
  const V b = DIFFRENDER_SHUFFLE(C, row[2], row[3], 0, 4, 1, 5);
  const V c = DIFFRENDER_SHUFFLE(C, row[0], row[1], 2, 6, 3, 7);
  const V d = DIFFRENDER_SHUFFLE(C, row[2], row[3], 2, 6, 3, 7);
  row[0] = DIFFRENDER_SHUFFLE(C, a, b, 0, 1, 4, 5);
  row[1] = DIFFRENDER_SHUFFLE(C, a, b, 2, 3, 6, 7);
  row[2] = DIFFRENDER_SHUFFLE(C, c, d, 0, 1, 4, 5);
  row[3] = DIFFRENDER_SHUFFLE(C, c, d, 2, 3, 6, 7);
}

// Four numbers out of storage.
template <class C, class T>
inline typename Four<C>::V widen4(const T* from) {
  typename Four<C>::V v;
  if constexpr (std::is_same<T, C>::value) {
    std::memcpy(&v, from, sizeof v);
#if defined(__F16C__)
  } else if constexpr (std::is_same<T, Float16>::value) {
    const __m128 four = _mm_cvtph_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i*>(from)));
    std::memcpy(&v, &four, sizeof v);
#endif
  } else {
    for (int l = 0; l < 4; ++l) v[l] = C(number(from[l]));
  }
  return v;
}

// A register of numbers, or of pairs; a square has as many rows.
#if defined(__AVX512F__)
#define DIFFRENDER_SQUARES 1
constexpr int kSide = 16;
typedef __m512 SquareRow;

// Rows become columns: pairs, fours and eights of neighbouring rows are interleaved in turn.
inline void transpose_square(__m512 row[16]) {
  __m512 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = _mm512_unpacklo_ps(row[i], row[i + 1]);
    t[i + 1] = _mm512_unpackhi_ps(row[i], row[i + 1]);
  }
  for (int i = 0; i < 16; i += 4) {
    for (int k = 0; k < 2; ++k) {
      const __m512d a = _mm512_castps_pd(t[i + k]), b = _mm512_castps_pd(t[i + 2 + k]);
      row[i + 2 * k] = _mm512_castpd_ps(_mm512_unpacklo_pd(a, b));
      row[i + 2 * k + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(a, b));
    }
  }
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 4; ++j) {
      t[i + j] = _mm512_shuffle_f32x4(row[i + j], row[i + 4 + j], 0x88);
      t[i + 4 + j] = _mm512_shuffle_f32x4(row[i + j], row[i + 4 + j], 0xdd);
    }
  }
  for (int j = 0; j < 8; ++j) {
    row[j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0x88);
    row[8 + j] = _mm512_shuffle_f32x4(t[j], t[8 + j], 0xdd);
  }
}

// As many numbers, or pairs, out of storage.
template <class T>
inline __m512 load_square_row(const T* from) {
  if constexpr (std::is_same<T, Float16>::value) {
    return _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i*>(from)));
  } else if constexpr (std::is_same<T, BFloat16>::value) {
    const __m256i bits = _mm256_loadu_si256(reinterpret_cast<const __m256i*>(from));
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(bits), 16));
  } else {
    return _mm512_loadu_ps(from);
  }
}

// Into storage, rounded as `put` does; past the caches where `stream` says so.
template <class T>
inline void store_square_row(T* to, __m512 v, bool stream) {
  if constexpr (std::is_same<T, Float16>::value) {
    const __m256i bits = _mm512_cvtps_ph(v, _MM_FROUND_TO_NEAREST_INT);
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), bits);
  } else if constexpr (std::is_same<T, BFloat16>::value) {
    const __m512i bits = _mm512_castps_si512(v), upper = _mm512_srli_epi32(bits, 16);
    const __m512i odd = _mm512_and_si512(upper, _mm512_set1_epi32(1));
    const __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    __m512i rounded = _mm512_srli_epi32(_mm512_add_epi32(bits, half), 16);
    const __mmask16 nan = _mm512_cmp_ps_mask(v, v, _CMP_UNORD_Q);
    rounded = _mm512_mask_or_epi32(rounded, nan, upper, _mm512_set1_epi32(0x7fc0));
    _mm256_storeu_si256(reinterpret_cast<__m256i*>(to), _mm512_cvtepi32_epi16(rounded));
  } else if (stream) {
    _mm512_stream_si512(reinterpret_cast<__m512i*>(to), _mm512_castps_si512(v));
  } else {
    _mm512_storeu_ps(to, v);
  }
}
#elif defined(__AVX2__) && defined(__F16C__)
#define DIFFRENDER_SQUARES 1
constexpr int kSide = 8;
typedef __m256 SquareRow;

inline void transpose_square(__m256 row[8]) {
  __m256 t[8];
  for (int i = 0; i < 8; i += 2) {
    t[i] = _mm256_unpacklo_ps(row[i], row[i + 1]);
    t[i + 1] = _mm256_unpackhi_ps(row[i], row[i + 1]);
  }
  for (int i = 0; i < 8; i += 4) {
    for (int k = 0; k < 2; ++k) {
      const __m256d a = _mm256_castps_pd(t[i + k]), b = _mm256_castps_pd(t[i + 2 + k]);
      row[i + 2 * k] = _mm256_castpd_ps(_mm256_unpacklo_pd(a, b));
      row[i + 2 * k + 1] = _mm256_castpd_ps(_mm256_unpackhi_pd(a, b));
    }
  }
  for (int j = 0; j < 4; ++j) {
    t[j] = _mm256_permute2f128_ps(row[j], row[4 + j], 0x20);
    t[4 + j] = _mm256_permute2f128_ps(row[j], row[4 + j], 0x31);
  }
  for (int j = 0; j < 8; ++j) row[j] = t[j];
}

template <class T>
inline __m256 load_square_row(const T* from) {
  if constexpr (std::is_same<T, Float16>::value) {
    return _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i*>(from)));
  } else if constexpr (std::is_same<T, BFloat16>::value) {
    const __m128i bits = _mm_loadu_si128(reinterpret_cast<const __m128i*>(from));
    return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(bits), 16));
  } else {
    return _mm256_loadu_ps(reinterpret_cast<const float*>(from));
  }
}

// A row is half a line of memory: none is written past the caches.
template <class T>
inline void store_square_row(T* to, __m256 v, bool) {
  if constexpr (sizeof(T) == 4) {
    _mm256_storeu_ps(reinterpret_cast<float*>(to), v);
  } else {
    float numbers[8];
    _mm256_storeu_ps(numbers, v);
    put_all(to, 8, numbers);
  }
}
#endif

}  // namespace diffrender
