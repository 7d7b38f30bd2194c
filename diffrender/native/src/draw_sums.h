// What faces add up over their pixels in the gradient of draw.cpp. Maths: draw_backward.cpp.
#pragma once

#include "drawn.h"

namespace diffrender {

constexpr int kHead = 10;  // of a face's numbers: its edge functions and determinant

// The sums of four vectors' lanes, ((0 + 1) + (2 + 3)) each.
inline Lanes4 sums_of(const Lanes4& a, const Lanes4& b, const Lanes4& c, const Lanes4& d) {
#if defined(__has_builtin)
#if __has_builtin(__builtin_shufflevector)
  const Lanes4 ab = __builtin_shufflevector(a, b, 0, 4, 2, 6) +
                    __builtin_shufflevector(a, b, 1, 5, 3, 7);
  const Lanes4 cd = __builtin_shufflevector(c, d, 0, 4, 2, 6) +
                    __builtin_shufflevector(c, d, 1, 5, 3, 7);
  return __builtin_shufflevector(ab, cd, 0, 1, 4, 5) + __builtin_shufflevector(ab, cd, 2, 3, 6, 7);
#define DIFFRENDER_SHUFFLES
#endif
#endif
#if !defined(DIFFRENDER_SHUFFLES)
  const auto sum = [](const Lanes4& v) { return (v[0] + v[1]) + (v[2] + v[3]); };
  return Lanes4{sum(a), sum(b), sum(c), sum(d)};
#endif
}

template <class T>
struct Pass {
  const T* h;
  const int64_t *faces, *vertex_offsets, *face_offsets;
  int64_t meshes, height, width;
  Attributes<T> attributes;
  const int32_t* shown;  // (B, H, W)
  const T* grad;         // (B, H, W, C)
  T *grad_values, *grad_h;

  int64_t pixels() const { return height * width; }
  int64_t lanes() const { return (attributes.channels + 4) / 4 * 4; }  // C + 1, filled up to fours
  int64_t sums() const { return kHead + 3 * attributes.channels + 3; }
  int64_t numbers_each() const { return sums() + 3 * lanes(); }
};

// The faces met by one task: numbers for each are the head, planes (drawn.h), and the sums of
// w g_c (C) and w q, then of those times x, and times y, each filled up to whole fours.
template <class T>
struct Gathered {
  Met met;
  int64_t each;                 // numbers of a face
  std::vector<double> numbers;  // kept between calls

  void open(const Pass<T>& pass, int64_t b) {
    met.open(pass.face_offsets[b + 1] - pass.face_offsets[b]);
    each = pass.numbers_each();
  }

  double* of(const Pass<T>& pass, int64_t face0, int64_t f) {
    bool fresh;
    const int64_t n = met.of(f, fresh);
    return fresh ? add(pass, face0, f, n) : numbers.data() + n * each;
  }

  double* add(const Pass<T>& pass, int64_t face0, int64_t f, int64_t n) {
    const size_t end = size_t((n + 1) * each);
    if (numbers.size() < end) numbers.resize(2 * end);
    double* to = numbers.data() + n * each;
    const int64_t* v = pass.faces + 3 * (face0 + f);
    const Vec3 p[3] = {load(pass.h, v[0]), load(pass.h, v[1]), load(pass.h, v[2])};
    const Vec3 e[3] = {cross(p[1], p[2]), cross(p[2], p[0]), cross(p[0], p[1])};
    for (int i = 0; i < 3; ++i) {
      to[3 * i] = e[i].x;
      to[3 * i + 1] = e[i].y;
      to[3 * i + 2] = e[i].z;
    }
    to[9] = dot(p[0], e[0]);
    const T* corner[3];
    pass.attributes.corners_of(face0 + f, corner);
    planes_of(e, corner, pass.attributes.channels, to + kHead);
    std::fill(to + pass.sums(), to + each, 0.0);
    return to;
  }
};

// The first `count` lanes, the others 0.
inline Lanes4 first_lanes(const Lanes4& lanes, int64_t count) {
  typedef int64_t Mask4 __attribute__((vector_size(32)));
  const Mask4 keep = Mask4{0, 1, 2, 3} < count;
  return keep ? lanes : Lanes4{0, 0, 0, 0};
}

// Channels of four pixels as lanes, from (4, C).
template <int C, class T>
inline void load_pixels(const T* p, Lanes4* out) {
  T all[4 * C];
  std::memcpy(all, p, sizeof all);
  for (int c = 0; c < C; ++c)
    out[c] = Lanes4{double(all[c]), double(all[C + c]), double(all[2 * C + c]), double(all[3 * C + c])};
}
#if defined(DIFFRENDER_SHUFFLES)
template <>
inline void load_pixels<3, float>(const float* p, Lanes4* out) {
  typedef float Floats4 __attribute__((vector_size(16)));
  Floats4 a, b, c;
  std::memcpy(&a, p, sizeof a);
  std::memcpy(&b, p + 4, sizeof b);
  std::memcpy(&c, p + 8, sizeof c);
  const Floats4 rg = __builtin_shufflevector(a, b, 0, 3, 6, 1), gb = __builtin_shufflevector(a, b, 4, 7, 2, 5);
  const Floats4 r = __builtin_shufflevector(rg, c, 0, 1, 2, 5);
  const Floats4 green = __builtin_shufflevector(rg, gb, 3, 4, 5, 3);
  const Floats4 g = __builtin_shufflevector(green, c, 0, 1, 2, 6);
  const Floats4 blue = __builtin_shufflevector(gb, c, 2, 3, 4, 7);
  out[0] = __builtin_convertvector(r, Lanes4);
  out[1] = __builtin_convertvector(g, Lanes4);
  out[2] = __builtin_convertvector(blue, Lanes4);
}
#endif

// One run of `count` pixels from (x, y) that show the face of `numbers`; g is (count, C), and as many
// whole pixels as `room` may be read.
template <int C, class T>
void add_run(double* numbers, int64_t channels, int64_t x, int64_t y, int64_t count, const T* g,
             int64_t room) {
  const double *n = numbers + kHead, py = double(y) + 0.5, below = n[1] * py + n[2];
  double* sums = numbers + kHead + 3 * channels + 3;
  const Lanes4 none{0, 0, 0, 0};
  constexpr int kKnown = C ? C : 1, kSums = (kKnown + 4) / 4 * 4;
  double above[kKnown];
  for (int c = 0; C && c < kKnown; ++c) above[c] = n[3 * c + 4] * py + n[3 * c + 5];
  Lanes4 plain[kSums], along[kSums];
  for (int k = 0; k < kSums; ++k) plain[k] = along[k] = none;
  const int64_t lanes = C ? kSums : (channels + 4) / 4 * 4;
  for (int64_t i = 0; i < count; i += 4) {
    const bool whole = i + 4 <= count;
    Lanes4 px = double(x + i) + Lanes4{0.5, 1.5, 2.5, 3.5};
    const Lanes4 last = Lanes4{} + (double(x + count) - 0.5);
    px = px < last ? px : last;  // lanes beyond the run stand on its last pixel
    const Lanes4 w = 1.0 / (n[0] * px + below);
    Lanes4 seen[kKnown];
    const bool cut = C && !whole && i + 4 <= room;
    if (cut) {
      load_pixels<kKnown>(g + i * channels, seen);
      for (int c = 0; c < kKnown; ++c) seen[c] = first_lanes(seen[c], count - i);
    }
    const auto channel = [&](int64_t c) {
      if (cut) return seen[c];
      const T* p = g + i * channels + c;
      if (whole)
        return Lanes4{double(p[0]), double(p[channels]), double(p[2 * channels]),
                      double(p[3 * channels])};
      Lanes4 out{double(p[0]), 0, 0, 0};
      for (int64_t l = 1; i + l < count; ++l) out[l] = double(p[l * channels]);
      return out;
    };
    Lanes4 q = none;
    if (C) {
      for (int c = 0; c < kKnown; ++c) {
        const Lanes4 u = w * channel(c), t = px * u;
        q += n[3 * c + 3] * t + above[c] * u;
        plain[c] += u;
        along[c] += t;
      }
      q *= w;
      plain[kKnown] += q;
      along[kKnown] += px * q;
    } else {
      const auto keep = [&](int64_t k, const Lanes4& u, const Lanes4& t) {
        const Lanes4 sum = sums_of(u, t, none, none);
        sums[k] += sum[0];
        sums[lanes + k] += sum[1];
        sums[2 * lanes + k] += py * sum[0];
      };
      for (int64_t c = 0; c < channels; ++c) {
        const Lanes4 u = w * channel(c), t = px * u;
        q += n[3 * c + 3] * t + (n[3 * c + 4] * py + n[3 * c + 5]) * u;
        keep(c, u, t);
      }
      q *= w;
      keep(channels, q, px * q);
    }
  }
  if (!C) return;
  for (int k = 0; k < kSums; k += 4) {
    const Lanes4 one = sums_of(plain[k], plain[k + 1], plain[k + 2], plain[k + 3]);
    const Lanes4 by_x = sums_of(along[k], along[k + 1], along[k + 2], along[k + 3]);
    const Lanes4 total[3] = {load4(sums + k) + one, load4(sums + kSums + k) + by_x,
                             load4(sums + 2 * kSums + k) + py * one};
    for (int i = 0; i < 3; ++i) std::memcpy(sums + i * kSums + k, total + i, sizeof total[i]);
  }
}

// `add_run`, its loops over channels unrolled for one to four of them.
template <class T>
using AddRun = void (*)(double*, int64_t, int64_t, int64_t, int64_t, const T*, int64_t);

template <class T>
AddRun<T> add_run_for(int64_t channels) {
  switch (channels) {
    case 1: return add_run<1, T>;
    case 2: return add_run<2, T>;
    case 3: return add_run<3, T>;
    case 4: return add_run<4, T>;
    default: return add_run<0, T>;
  }
}

// Rows [top, bottom) of image b.
template <class T>
void add_rows(const Pass<T>& pass, int64_t b, int64_t top, int64_t bottom, Gathered<T>& found) {
  const int64_t face0 = pass.face_offsets[b], channels = pass.attributes.channels;
  const AddRun<T> add = add_run_for<T>(channels);
  const int32_t* shown = pass.shown + b * pass.pixels();
  const T* grad = pass.grad + b * pass.pixels() * channels;
  for (int64_t y = top; y < bottom; ++y) {
    const int32_t* row = shown + y * pass.width;
    for (int64_t x = 0, end; x < pass.width; x = end) {
      const int32_t f = row[x];
      for (end = x + 1; end < pass.width && row[end] == f;) ++end;
      if (f < 0) continue;
      const int64_t pixel = y * pass.width + x;
      add(found.of(pass, face0, f), channels, x, y, end - x, grad + pixel * channels,
          pass.pixels() - pixel);
    }
  }
}

// What one task found, as gradients: of each face dL/dh (3, 3) and dL/da (3, C).
struct Corners {
  std::vector<int64_t> faces;
  std::vector<double> grads;
};

template <int C, class T>
void finish_with(const Pass<T>& pass, int64_t face0, const Gathered<T>& found, Corners& out) {
  const int64_t channels = C ? C : pass.attributes.channels, each = 9 + 3 * channels;
  const int64_t lanes = C ? (C + 4) / 4 * 4 : pass.lanes();
  out.faces = found.met.faces;
  out.grads.resize(out.faces.size() * each);
  for (size_t m = 0; m < out.faces.size(); ++m) {
    const double *n = found.numbers.data() + m * found.each, *sums = n + pass.sums();
    double *by_h = out.grads.data() + m * each, *d = by_h + 9;
    const auto sum = [&](int j, int64_t k) {
      return n[3 * j] * sums[lanes + k] + n[3 * j + 1] * sums[2 * lanes + k] + n[3 * j + 2] * sums[k];
    };
    const T* corner[3];
    pass.attributes.corners_of(face0 + out.faces[m], corner);
    const double scale = -1.0 / n[9];
    for (int j = 0; j < 3; ++j) {
      for (int64_t c = 0; c < channels; ++c) d[j * channels + c] = sum(j, c);
      const double q = sum(j, channels);
      Vec3 total{0, 0, 0};
      for (int i = 0; i < 3; ++i) {
        double by = -q;
        for (int64_t c = 0; c < channels; ++c) by += d[j * channels + c] * double(corner[i][c]);
        total = total + Vec3{n[3 * i], n[3 * i + 1], n[3 * i + 2]} * by;
      }
      by_h[3 * j] = total.x * scale;
      by_h[3 * j + 1] = total.y * scale;
      by_h[3 * j + 2] = total.z * scale;
    }
  }
}

template <class T>
void finish(const Pass<T>& pass, int64_t face0, const Gathered<T>& found, Corners& out) {
  switch (pass.attributes.channels) {
    case 1: return finish_with<1>(pass, face0, found, out);
    case 2: return finish_with<2>(pass, face0, found, out);
    case 3: return finish_with<3>(pass, face0, found, out);
    case 4: return finish_with<4>(pass, face0, found, out);
    default: return finish_with<0>(pass, face0, found, out);
  }
}

template <class T>
void scatter(const Pass<T>& pass, int64_t face0, const Corners& found) {
  const int64_t channels = pass.attributes.channels;
  const double* grads = found.grads.data();
  for (const int64_t local : found.faces) {
    const int64_t f = face0 + local;
    for (int j = 0; j < 3; ++j, grads += 3)
      add(pass.grad_h, pass.faces[3 * f + j], {grads[0], grads[1], grads[2]});
    for (int j = 0; j < 3; ++j) {
      T* to = pass.grad_values + pass.attributes.row(f, j) * channels;
      for (int64_t c = 0; c < channels; ++c) to[c] += T(*grads++);
    }
  }
}

}  // namespace diffrender
