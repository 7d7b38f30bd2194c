// Texture look-up, bilinear and trilinear; twin: diffrender/raster/torch_texture.py.
//
// At a level of h x w texels, x = u w - 1/2 and y = v h - 1/2 count from the centre of the first
// texel; they are clamped to the outermost centres, or wrapped. With x0 = floor x, f = x - x0 and g
// likewise for y, m0 = t00 + g (t10 - t00), m1 = t01 + g (t11 - t01) and S = m0 + f (m1 - m0). A
// level k between two whole ones gives (1 - k') S_floor + k' S_next with k' = k - floor k.
//
// Backward: dS/du = w (m1 - m0), dS/dv = h ((1 - f) (t10 - t00) + f (t11 - t01)), 0 where clamped;
// d/dk = S_next - S_floor; and every texel adds up weight x gradient over its samples in their
// order. Each piece of the work owns rows of texels and passes over all samples, so the bits do not
// depend on threads.

#include <type_traits>

#include "common.h"

namespace diffrender {
namespace {

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
      double x = double(coordinate[2 * i]) * size - 0.5;
      if (kRepeat) {
        x -= std::floor(x / size) * size;
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

template <class T, int kChannels, bool kRepeat>
void forward(const Lookup<T>& s, const T* base, const T* rest, int64_t threads, T* out) {
  const int64_t n = kChannels ? kChannels : s.channels;
  chunks(s, threads, [&](int64_t t, int64_t begin, int64_t end) {
    const auto levels = s.pyramid(base, rest, t);
    const bool two = levels.size() > 1;
    Block<T> block;
    blocks(begin, end, [&](int64_t first, int count) {
      for (int which = 0; which <= int(two); ++which) {
        block.template find<kRepeat>(s, levels, first, count, which);
        for (int i = 0; i < count; ++i) {
          if (which && block.weight[i] == T(0)) continue;
          groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
            typedef decltype(lanes) L;
            typename L::V middle[2], down[2];
            load<L>(levels, block, i, n, c, middle, down);
            T* o = out + (first + i) * n + c;
            typename L::V value = middle[0] + block.x.share[i] * (middle[1] - middle[0]);
            if (two) value *= block.weight[i];
            if (which) value += L::load(o);
            L::store(o, value);
          });
        }
      }
    });
  });
}

// Where the gradients go; null for those that are not wanted.
template <class T>
struct Gradients {
  T *base, *rest, *uv, *level;
};

// dL/du, dL/dv and dL/dk of sample i of a block.
template <class T, int kChannels>
inline void coordinates(const std::vector<Level<const T>>& levels, const Block<T>& block, int i,
                        int64_t n, int which, const T* go, T* by_uv, T* by_level) {
  const T f = block.x.share[i], weight = block.weight[i];
  T u = 0, v = 0, sum = 0;
  groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
    typedef decltype(lanes) L;
    typename L::V middle[2], down[2];
    load<L>(levels, block, i, n, c, middle, down);
    const typename L::V across = middle[1] - middle[0], g = L::load(go + c);
    u += L::sum(g * across);
    v += L::sum(g * (down[0] + f * (down[1] - down[0])));
    if (by_level) sum += L::sum(g * (middle[0] + f * across));
  });
  u *= weight * block.x.slope[i];
  v *= weight * block.y.slope[i];
  by_uv[0] = which ? by_uv[0] + u : u;
  by_uv[1] = which ? by_uv[1] + v : v;
  if (by_level) *by_level = !which ? -sum : block.apart[i] ? *by_level + sum : T(0);
}

// The texels around sample i of a block, those of them in this part's share of the rows.
template <class T, int kChannels>
inline void texels(const std::vector<Level<T>>& levels, const Block<T>& block, int i, int64_t n,
                   int64_t part, int64_t parts, const T* go) {
  const T weight = block.weight[i], below = weight * block.y.share[i], f = block.x.share[i];
  const int64_t height = block.height[i];
  for (int side = 0; side < 2; ++side) {
    const int64_t row = side ? block.y.high[i] : block.y.low[i];
    if (parts > 1 && (row < height * part / parts || row >= height * (part + 1) / parts)) continue;
    const T both = side ? below : weight - below, right = both * f, left = both - right;
    T* to = levels[block.index[i]].texels + row * block.width[i] * n;
    groups<T, kChannels>(n, [&](auto lanes, int64_t c) {
      typedef decltype(lanes) L;
      const typename L::V g = L::load(go + c);
      L::add(to + c, block.x.low[i], block.x.high[i], n, left * g, right * g);
    });
  }
}

// Samples of a block in the order 0, 8, 16, ..., 1, 9, ...: neighbours add to the same texels, and
// a sum waits for the one before it.
inline int spread(int k, int count) {
  return count == kBlock ? (k % 8) * 8 + k / 8 : k;
}

template <class T, int kChannels, bool kRepeat>
void backward(const Lookup<T>& s, const T* base, const T* rest, const T* grad, int64_t threads,
              const Gradients<T>& to) {
  const int64_t n = kChannels ? kChannels : s.channels;
  const auto run = [&](int64_t t, int64_t begin, int64_t end, int64_t part, int64_t parts, bool uv) {
    const auto levels = s.pyramid(base, rest, t);
    const auto grads = s.pyramid(to.base, to.rest, t);
    const bool two = levels.size() > 1;
    Block<T> block;
    blocks(begin, end, [&](int64_t first, int count) {
      for (int which = 0; which <= int(two); ++which) {
        block.template find<kRepeat>(s, levels, first, count, which);
        for (int k = 0; k < count; ++k) {
          const int i = spread(k, count);
          const int64_t at = first + i;
          if (uv)
            coordinates<T, kChannels>(levels, block, i, n, which, grad + at * n, to.uv + 2 * at,
                                      to.level ? to.level + at : nullptr);
          if (parts) texels<T, kChannels>(grads, block, i, n, part, parts, grad + at * n);
        }
      }
      if (uv && to.level && !two) std::fill_n(to.level + first, count, T(0));
    });
  };
  const int64_t parts = to.base ? pieces(threads, s.textures, s.height) : 0;
  const bool together = parts == 1 && to.uv;  // one pass for both
  if (to.uv && !together)
    chunks(s, threads, [&](int64_t t, int64_t begin, int64_t end) {
      run(t, begin, end, 0, 0, true);
    });
  parallel(threads, s.textures * parts, [&](int64_t task) {
    const int64_t t = task / parts;
    run(t, t * s.samples, (t + 1) * s.samples, task % parts, parts, together);
  });
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

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_LOOKUP(T)                                                                     \
  int64_t textures, int64_t height, int64_t width, int64_t channels, int64_t mips,               \
      int64_t samples, int64_t repeat, const T *uv, const T *level, const T *base, const T *rest
#define DIFFRENDER_LOOKUP_NAMES \
  {textures, height, width, channels, mips, samples, repeat, uv, level}
#define DIFFRENDER_TEXTURE(NAME, T)                                                              \
  DIFFRENDER_API int64_t diffrender_sample_texture_##NAME(DIFFRENDER_LOOKUP(T), int64_t threads, \
                                                          T* out) {                              \
    return diffrender::guarded([&]() -> int64_t {                                                \
      const diffrender::Lookup<T> s = DIFFRENDER_LOOKUP_NAMES;                                   \
      const auto run = [&](auto n, auto r) {                                                     \
        diffrender::forward<T, decltype(n)::value, decltype(r)::value>(s, base, rest, threads,   \
                                                                       out);                     \
      };                                                                                         \
      diffrender::specialised(channels, repeat, run);                                            \
      return diffrender::kDone;                                                                  \
    });                                                                                          \
  }                                                                                              \
  DIFFRENDER_API int64_t diffrender_sample_texture_backward_##NAME(                              \
      DIFFRENDER_LOOKUP(T), const T* grad, int64_t threads, T* grad_base, T* grad_rest,          \
      T* grad_uv, T* grad_level) {                                                               \
    return diffrender::guarded([&]() -> int64_t {                                                \
      const diffrender::Lookup<T> s = DIFFRENDER_LOOKUP_NAMES;                                   \
      const auto run = [&](auto n, auto r) {                                                     \
        diffrender::backward<T, decltype(n)::value, decltype(r)::value>(                         \
            s, base, rest, grad, threads, {grad_base, grad_rest, grad_uv, grad_level});          \
      };                                                                                         \
      diffrender::specialised(channels, repeat, run);                                            \
      return diffrender::kDone;                                                                  \
    });                                                                                          \
  }

DIFFRENDER_TEXTURE(f32, float)
DIFFRENDER_TEXTURE(f64, double)
