// Places, levels and texels of a texture look-up, as texture.cpp and texture_backward.cpp read them.
//
// At a level of h x w texels, x = u w - 1/2 and y = v h - 1/2 count from the centre of the first
// texel; they are clamped to the outermost centres, or wrapped. With x0 = floor x, f = x - x0 and g
// likewise for y, m0 = t00 + g (t10 - t00), m1 = t01 + g (t11 - t01) and S = m0 + f (m1 - m0). A
// level k between two whole ones gives (1 - k') S_floor + k' S_next with k' = k - floor k.
#pragma once

#include <type_traits>

#include "common.h"

namespace diffrender {
namespace texture {

constexpr int kBlock = 64;  // samples whose places are found together, lane by lane

template <class T>
struct Level {
  T* texels;
  int32_t height, width;
};

// Along one axis, for each sample of a block. The place is found in double, then rounded.
template <class T>
struct Axis {
  int32_t low[kBlock], high[kBlock];
  T share[kBlock], slope[kBlock];  // of `high`; d(place in texels) / d(coordinate)

  template <bool kRepeat>
  void place(const T* coordinate, const int32_t* sizes, int count) {
    for (int i = 0; i < count; ++i) {
      const double size = sizes[i], last = size - 1.0;
      double u = coordinate[2 * i];
      if (kRepeat) u -= std::floor(u);  // before it is scaled: that is exact, and never too large
      double x = u * size - 0.5;
      if (kRepeat) {
        if (x < 0.0) x += size;
        const int32_t at = int32_t(std::min(std::max(x, 0.0), last));
        low[i] = at;
        high[i] = at + 1 == sizes[i] ? 0 : at + 1;
        share[i] = T(std::min(std::max(x - at, 0.0), 1.0));
        slope[i] = T(size);
      } else {
        slope[i] = T(((x > 0.0) & (x < last)) ? size : 0.0);
        x = std::min(std::max(x, 0.0), last);
        const int32_t at = int32_t(x);
        low[i] = at;
        high[i] = std::min(at + 1, sizes[i] - 1);
        share[i] = T(x - at);
      }
    }
  }
};

// What all passes read.
template <class T>
struct Lookup {
  int64_t textures, height, width, channels, mips;  // mips: texels of all smaller levels together
  int64_t samples, repeat;                          // samples: for each texture
  const T *uv, *level;                              // level is null without mip maps

  template <class Texel>
  std::vector<Level<Texel>> pyramid(Texel* base, Texel* rest, int64_t t) const {
    std::vector<Level<Texel>> levels{
        {base + t * height * width * channels, int32_t(height), int32_t(width)}};
    int64_t h = height, w = width;
    Texel* next = rest + t * mips * channels;
    for (int64_t left = mips; left > 0; left -= h * w) {
      h = std::max<int64_t>(1, h / 2);
      w = std::max<int64_t>(1, w / 2);
      levels.push_back({next, int32_t(h), int32_t(w)});
      next += h * w * channels;
    }
    return levels;
  }
};

// A block of samples in one of the two levels that each of them reads.
template <class T>
struct Block {
  int32_t index[kBlock], width[kBlock], height[kBlock];  // of the level, and its size
  T weight[kBlock];                                      // of the level
  bool apart[kBlock];                                    // the two levels differ
  bool filled = false;
  Axis<T> x, y;

  template <bool kRepeat, class Texel>
  void find(const Lookup<T>& s, const std::vector<Level<Texel>>& levels, int64_t first, int count,
            int which) {
    const int32_t last = int32_t(levels.size()) - 1;
    for (int i = 0; (last || !filled) && i < kBlock; ++i) {
      const double k = last && i < count ? double(s.level[first + i]) : 0.0;
      const double inside = std::min(std::max(k, 0.0), double(last));
      const int32_t whole = int32_t(inside);
      index[i] = std::min(whole + which, last);
      weight[i] = T(which ? inside - whole : 1.0 - (inside - whole));
      apart[i] = whole < last;
      width[i] = levels[index[i]].width;
      height[i] = levels[index[i]].height;
    }
    filled = true;  // without mip maps it stays so
    x.template place<kRepeat>(s.uv + 2 * first, width, count);
    y.template place<kRepeat>(s.uv + 2 * first + 1, height, count);
    // Scattered samples miss the cache: ask for all rows of the block before the first is used.
    for (int i = 0; i < count; ++i) {
      const Texel* from = levels[index[i]].texels;
      const int64_t at = x.low[i], stride = width[i];
      __builtin_prefetch(from + (y.low[i] * stride + at) * s.channels);
      __builtin_prefetch(from + (y.high[i] * stride + at) * s.channels);
    }
  }
};

// Calls body(first, count) for the blocks of samples [begin, end).
template <class Body>
void blocks(int64_t begin, int64_t end, const Body& body) {
  for (int64_t first = begin; first < end; first += kBlock)
    body(first, int(std::min<int64_t>(kBlock, end - first)));
}

// Calls body(texture, begin, end) for chunks of samples, side by side.
template <class T, class Body>
void chunks(const Lookup<T>& s, int64_t threads, const Body& body) {
  const int64_t chunk = 4096, each = (s.samples + chunk - 1) / chunk;
  parallel(threads, s.textures * each, [&](int64_t task) {
    const int64_t t = task / each, part = task % each, at = t * s.samples;
    body(t, at + part * chunk, at + std::min(s.samples, (part + 1) * chunk));
  });
}

// kWide channels of one texel in a register. Three of them take four lanes; the last is ignored.
template <class T, int kWide>
struct Lanes {
  static constexpr int kCount = kWide == 3 ? 4 : kWide;
  typedef T V __attribute__((vector_size(kCount * sizeof(T))));

  // Element by element where there are three: a copy would go through memory.
  static V load(const T* p) {
    if constexpr (kWide == 3) {
      return V{p[0], p[1], p[2], T(0)};
    } else {
      V v;
      std::memcpy(&v, p, sizeof(V));
      return v;
    }
  }
  static void store(T* p, const V& v) {
    for (int j = 0; j < kWide; ++j) p[j] = v[j];
  }
  static T sum(const V& v) {
    T total = v[0];
    for (int j = 1; j < kWide; ++j) total += v[j];
    return total;
  }
  // Texels `low` and `high` of a row of texels with n channels each.
  static void pair(const T* row, int32_t low, int32_t high, int64_t n, V& left, V& right) {
    const T* at = row + low * n;
    if constexpr (kWide == 3) {
      if (high == low + 1) {  // six numbers side by side: two loads that overlap
        std::memcpy(&left, at, sizeof(V));
        std::memcpy(&right, at + 2, sizeof(V));
        right = V{right[1], right[2], right[3], right[3]};
        return;
      }
    }
    left = load(at);
    right = load(row + high * n);
  }
  static void add(T* row, int32_t low, int32_t high, int64_t n, const V& left, const V& right) {
    T *one = row + low * n, *two = row + high * n;
    if constexpr (kWide == 3) {
      if (high == low + 1) {
        V sum;
        std::memcpy(&sum, one, sizeof(V));
        sum += V{left[0], left[1], left[2], right[0]};
        std::memcpy(one, &sum, sizeof(V));
        two[1] += right[1];
        two[2] += right[2];
        return;
      }
    }
    for (int j = 0; j < kWide; ++j) one[j] += left[j];
    for (int j = 0; j < kWide; ++j) two[j] += right[j];
  }
};

// Calls body(lanes, channel) for groups of channels: four at a time, then one by one.
template <class T, int kChannels, class Body>
inline void groups(int64_t n, const Body& body) {
  if (kChannels) return body(Lanes<T, kChannels ? kChannels : 1>{}, 0);
  int64_t c = 0;
  for (; c + 4 <= n; c += 4) body(Lanes<T, 4>{}, c);
  for (; c < n; ++c) body(Lanes<T, 1>{}, c);
}

// m0, m1 and the differences of the two rows, t10 - t00 and t11 - t01, from channel c on.
template <class L, class T>
inline void load(const std::vector<Level<const T>>& levels, const Block<T>& block, int i, int64_t n,
                 int64_t c, typename L::V middle[2], typename L::V down[2]) {
  const T* texels = levels[block.index[i]].texels + c;
  const int64_t stride = block.width[i] * n;
  const int32_t low = block.x.low[i], high = block.x.high[i];
  typename L::V top[2], bottom[2];
  L::pair(texels + block.y.low[i] * stride, low, high, n, top[0], top[1]);
  L::pair(texels + block.y.high[i] * stride, low, high, n, bottom[0], bottom[1]);
  for (int side = 0; side < 2; ++side) {
    down[side] = bottom[side] - top[side];
    middle[side] = top[side] + block.y.share[i] * down[side];
  }
}

// Runs with what the compiler should know: the number of channels where it is a usual one, else 0,
// and the wrapping.
template <class Run>
void specialised(int64_t channels, int64_t repeat, const Run& run) {
  const auto with = [&](auto n) {
    if (repeat) run(n, std::true_type{});
    else run(n, std::false_type{});
  };
  if (channels == 1) with(std::integral_constant<int, 1>{});
  else if (channels == 3) with(std::integral_constant<int, 3>{});
  else if (channels == 4) with(std::integral_constant<int, 4>{});
  else with(std::integral_constant<int, 0>{});
}

}  // namespace texture
}  // namespace diffrender

#define DIFFRENDER_LOOKUP(T)                                                                     \
  int64_t textures, int64_t height, int64_t width, int64_t channels, int64_t mips,               \
      int64_t samples, int64_t repeat, const T *uv, const T *level, const T *base, const T *rest
#define DIFFRENDER_LOOKUP_NAMES \
  {textures, height, width, channels, mips, samples, repeat, uv, level}
