// Gradient of draw.cpp: from the antialiased image to attributes and homogeneous vertices; twin:
// diffrender/raster/render.py (the three calls).
//
// Crossings first (maths: antialias_backward.cpp): what they add to the gradient of the image
// before blending stays a short list of pixels, since everything after is linear in it. Then faces:
// with g = dL/dout at a pixel, b its barycentrics, a_(f,j) the face's attributes and
// q = g . sum_j b_j a_(f,j), a face adds up D_jc = sum b_j g_c and Q_j = sum b_j q over its pixels.
// Then dL/da_(f,j) = D_j, and with A_ji = D_j . a_(f,i) - Q_j: dL/dh_j = -sum_i A_ji n_i / det, as
// in rasterize_backward.cpp. Barycentrics are worked out again from the edge functions n_i . p,
// four pixels of a run at a time. Sums are taken in double per chunk of rows, chunks are added in
// order and the list of crossings comes last: the bits do not depend on threads.

#include "drawn.h"
#include "raster.h"

namespace diffrender {
namespace {

constexpr int kHead = 10;  // of a face's numbers: its edge functions and determinant

inline Lanes4 ramp_to(int64_t last) {  // lanes beyond the run stand on its last pixel
  return Lanes4{0.5, std::min<double>(1, last) + 0.5, std::min<double>(2, last) + 0.5,
                std::min<double>(3, last) + 0.5};
}

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
  int64_t sums_each() const { return 4 * ((3 * attributes.channels + 6) / 4); }
  int64_t numbers_each() const { return kHead + 3 * attributes.channels + sums_each(); }
};

// The faces met by one task: numbers for each are the head, attributes (3, C), and the sums D
// (3, C) and Q (3), filled up to whole fours.
template <class T>
struct Gathered {
  Met met;
  std::vector<double> numbers;

  double* of(const Pass<T>& pass, int64_t face0, int64_t f) {
    bool fresh;
    const int64_t n = met.of(f, fresh), each = pass.numbers_each();
    if (!fresh) return numbers.data() + n * each;
    numbers.resize((n + 1) * each, 0.0);
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
    for (int j = 0; j < 3; ++j)
      for (int64_t c = 0; c < pass.attributes.channels; ++c)
        to[kHead + j * pass.attributes.channels + c] = double(corner[j][c]);
    return to;
  }
};

// One run of `count` pixels from (x, y) that show the face of `numbers`; g is (count, C).
template <int C, class T>
void add_run(double* numbers, int64_t channels, int64_t x, int64_t y, int64_t count, const T* g) {
  const double* e = numbers;
  const double *a = numbers + kHead, py = double(y) + 0.5;
  const double row[3] = {e[1] * py + e[2], e[4] * py + e[5], e[7] * py + e[8]};
  double* sums = numbers + kHead + 3 * channels;
  const Lanes4 none{0, 0, 0, 0};
  constexpr int kKnown = C ? C : 1;
  Lanes4 d[3][kKnown], q[3] = {none, none, none};
  for (int j = 0; j < 3; ++j)
    for (int c = 0; c < kKnown; ++c) d[j][c] = none;
  for (int64_t i = 0; i < count; i += 4) {
    const Lanes4 px = double(x + i) + ramp_to(count - 1 - i);
    Lanes4 b[3] = {e[0] * px + row[0], e[3] * px + row[1], e[6] * px + row[2]};
    const Lanes4 scale = 1.0 / (b[0] + b[1] + b[2]);
    for (int j = 0; j < 3; ++j) b[j] *= scale;
    const auto channel = [&](int64_t c) {
      const T* p = g + i * channels + c;
      if (i + 4 <= count)
        return Lanes4{double(p[0]), double(p[channels]), double(p[2 * channels]),
                      double(p[3 * channels])};
      Lanes4 out{double(p[0]), 0, 0, 0};
      for (int64_t l = 1; i + l < count; ++l) out[l] = double(p[l * channels]);
      return out;
    };
    Lanes4 along = none;
    if (C) {
      for (int c = 0; c < kKnown; ++c) {
        const Lanes4 by = channel(c);
        along += by * (b[0] * a[c] + b[1] * a[C + c] + b[2] * a[2 * C + c]);
        for (int j = 0; j < 3; ++j) d[j][c] += b[j] * by;
      }
    } else {
      for (int64_t c = 0; c < channels; ++c) {
        const Lanes4 by = channel(c);
        along += by * (b[0] * a[c] + b[1] * a[channels + c] + b[2] * a[2 * channels + c]);
        const Lanes4 sum = sums_of(b[0] * by, b[1] * by, b[2] * by, none);
        for (int j = 0; j < 3; ++j) sums[j * channels + c] += sum[j];
      }
    }
    for (int j = 0; j < 3; ++j) q[j] += b[j] * along;
  }
  if (!C) {
    const Lanes4 sum = sums_of(q[0], q[1], q[2], none);
    for (int j = 0; j < 3; ++j) sums[3 * channels + j] += sum[j];
    return;
  }
  Lanes4 all[4 * ((3 * kKnown + 6) / 4)];
  for (int j = 0; j < 3; ++j) {
    for (int c = 0; c < kKnown; ++c) all[j * kKnown + c] = d[j][c];
    all[3 * kKnown + j] = q[j];
  }
  for (int k = 3 * kKnown + 3; k < 4 * ((3 * kKnown + 6) / 4); ++k) all[k] = none;
  for (int k = 0; k < (3 * kKnown + 6) / 4; ++k) {
    const Lanes4 sum =
        load4(sums + 4 * k) + sums_of(all[4 * k], all[4 * k + 1], all[4 * k + 2], all[4 * k + 3]);
    std::memcpy(sums + 4 * k, &sum, sizeof sum);
  }
}

// Rows [top, bottom) of image b.
template <int C, class T>
void add_rows(const Pass<T>& pass, int64_t b, int64_t top, int64_t bottom, Gathered<T>& found) {
  const int64_t face0 = pass.face_offsets[b], channels = C ? C : pass.attributes.channels;
  const int32_t* shown = pass.shown + b * pass.pixels();
  const T* grad = pass.grad + b * pass.pixels() * channels;
  for (int64_t y = top; y < bottom; ++y) {
    const int32_t* row = shown + y * pass.width;
    for (int64_t x = 0, end; x < pass.width; x = end) {
      const int32_t f = row[x];
      for (end = x + 1; end < pass.width && row[end] == f;) ++end;
      if (f < 0) continue;
      add_run<C>(found.of(pass, face0, f), channels, x, y, end - x,
                 grad + (y * pass.width + x) * channels);
    }
  }
}

// From sums to gradients in place: dL/dh (3, 3) over the head, dL/da stays as D.
template <class T>
void finish(const Pass<T>& pass, Gathered<T>& found) {
  const int64_t channels = pass.attributes.channels, each = pass.numbers_each();
  for (size_t n = 0; n < found.met.faces.size(); ++n) {
    double* numbers = found.numbers.data() + n * each;
    const double *a = numbers + kHead, *d = a + 3 * channels, *q = d + 3 * channels;
    const double scale = -1.0 / numbers[9];
    double out[9];
    for (int j = 0; j < 3; ++j) {
      Vec3 sum{0, 0, 0};
      for (int i = 0; i < 3; ++i) {
        double by = -q[j];
        for (int64_t c = 0; c < channels; ++c) by += d[j * channels + c] * a[i * channels + c];
        sum = sum + Vec3{numbers[3 * i], numbers[3 * i + 1], numbers[3 * i + 2]} * by;
      }
      out[3 * j] = sum.x * scale;
      out[3 * j + 1] = sum.y * scale;
      out[3 * j + 2] = sum.z * scale;
    }
    std::copy_n(out, 9, numbers);
  }
}

template <class T>
void scatter(const Pass<T>& pass, int64_t face0, const std::vector<int64_t>& faces,
             const std::vector<double>& found) {
  const int64_t channels = pass.attributes.channels, each = pass.numbers_each();
  for (size_t n = 0; n < faces.size(); ++n) {
    const int64_t f = face0 + faces[n];
    const double* numbers = found.data() + n * each;
    const double* d = numbers + kHead + 3 * channels;
    for (int j = 0; j < 3; ++j, numbers += 3) {
      add(pass.grad_h, pass.faces[3 * f + j], {numbers[0], numbers[1], numbers[2]});
      T* to = pass.grad_values + pass.attributes.row(f, j) * channels;
      for (int64_t c = 0; c < channels; ++c) to[c] += T(*d++);
    }
  }
}

// What the crossings of one image add: to the ends of their edges at once, and to the gradient of
// the image before blending as a list of pixels with (C) numbers each.
template <class T>
struct Undone {
  std::vector<int32_t> number;  // of each pixel in the list, from 1; zero between calls
  std::vector<int32_t> pixels;
  std::vector<T> extra;
  std::vector<double> ends;  // dL/dx and dL/dy of the projected vertices

  T* at(int32_t pixel, int64_t channels) {
    int32_t& n = number[pixel];
    if (n == 0) {
      pixels.push_back(pixel);
      n = int32_t(pixels.size());
      extra.resize(extra.size() + channels, T(0));
    }
    return extra.data() + (n - 1) * channels;
  }

  // Columns were blended last, so they are undone first.
  void run(const Pass<T>& pass, int64_t b, const char* const part[2], const int64_t counts[2]) {
    const int64_t channels = pass.attributes.channels;
    const T* grad = pass.grad + b * pass.pixels() * channels;
    if (int64_t(number.size()) < pass.pixels()) number.resize(pass.pixels(), 0);
    pixels.clear();
    extra.clear();
    ends.assign(2 * (pass.vertex_offsets[b + 1] - pass.vertex_offsets[b]), 0.0);
    std::vector<T> before;  // the gradients that the crossings saw
    for (int v = 1; v >= 0; --v) {
      const Record* records = reinterpret_cast<const Record*>(part[v]);
      const T* difference = reinterpret_cast<const T*>(records + counts[v]);
      before.resize(counts[v] * channels);
      for (int64_t n = 0; n < counts[v]; ++n) {
        const int32_t target = records[n].alpha > 0 ? records[n].out : records[n].in;
        const int32_t known = number[target];
        for (int64_t c = 0; c < channels; ++c)
          before[n * channels + c] = grad[int64_t(target) * channels + c] +
                                     (known ? extra[(known - 1) * channels + c] : T(0));
      }
      for (int64_t n = 0; n < counts[v]; ++n) {
        const Record& k = records[n];
        const T *g = before.data() + n * channels, *d = difference + n * channels;
        double slide = 0;
        for (int64_t c = 0; c < channels; ++c) slide += double(g[c]) * double(d[c]);
        T* in = at(k.in, channels);
        for (int64_t c = 0; c < channels; ++c) in[c] += T(k.alpha * g[c]);
        T* out = at(k.out, channels);
        for (int64_t c = 0; c < channels; ++c) out[c] -= T(k.alpha * g[c]);
        slide *= k.sign;  // now dL/dv of the crossing
        const int u = 1 - v;
        ends[2 * k.a + v] += (1.0 - k.along) * slide;
        ends[2 * k.b + v] += k.along * slide;
        ends[2 * k.a + u] -= (1.0 - k.along) * k.slope * slide;
        ends[2 * k.b + u] -= k.along * k.slope * slide;
      }
    }
  }

  // The listed pixels as runs of one; empties the list.
  template <int C>
  void gather(const Pass<T>& pass, int64_t b, Gathered<T>& found) {
    const int64_t face0 = pass.face_offsets[b], channels = C ? C : pass.attributes.channels;
    for (size_t n = 0; n < pixels.size(); ++n) {
      const int32_t f = pass.shown[b * pass.pixels() + pixels[n]];
      number[pixels[n]] = 0;
      if (f < 0) continue;
      add_run<C>(found.of(pass, face0, f), channels, pixels[n] % pass.width,
                 pixels[n] / pass.width, 1, extra.data() + n * channels);
    }
  }

  void add_ends(const Pass<T>& pass, int64_t b) const {
    const int64_t vertex0 = pass.vertex_offsets[b];
    for (size_t v = 0; 2 * v < ends.size(); ++v) {
      const double gx = ends[2 * v], gy = ends[2 * v + 1];
      if (gx == 0 && gy == 0) continue;
      const Vec3 p = load(pass.h, vertex0 + v);
      const double inverse = 1.0 / p.z;
      add(pass.grad_h, vertex0 + v,
          {gx * inverse, gy * inverse, -(gx * p.x + gy * p.y) * inverse * inverse});
    }
  }
};

template <class T, int C>
void draw_backward_with(const Pass<T>& pass, const char* packed, int64_t threads) {
  const int64_t* counts = reinterpret_cast<const int64_t*>(packed);
  std::vector<const char*> part(2 * pass.meshes);
  const char* at = packed + 2 * sizeof(int64_t) * pass.meshes;
  for (int64_t i = 0; i < 2 * pass.meshes; ++i) {
    part[i] = at;
    at += part_bytes<T>(counts[i], pass.attributes.channels);
  }
  const int64_t rows = std::max<int64_t>(1, kChunkPixels / pass.width);
  const int64_t chunks = (pass.height + rows - 1) / rows;
  const auto chunk = [&](int64_t b, int64_t k, Gathered<T>& found) {
    found.met.open(pass.face_offsets[b + 1] - pass.face_offsets[b]);
    found.numbers.clear();
    add_rows<C>(pass, b, k * rows, std::min(pass.height, (k + 1) * rows), found);
    finish(pass, found);
    found.met.close();
  };
  const auto outlines = [&](int64_t b, Gathered<T>& found) {
    thread_local Undone<T> undone;  // kept between calls
    undone.run(pass, b, part.data() + 2 * b, counts + 2 * b);
    found.met.open(pass.face_offsets[b + 1] - pass.face_offsets[b]);
    found.numbers.clear();
    undone.template gather<C>(pass, b, found);
    finish(pass, found);
    found.met.close();
    scatter(pass, pass.face_offsets[b], found.met.faces, found.numbers);
    undone.add_ends(pass, b);
  };
  if (pass.meshes >= 2 * threads || threads <= 1) {
    parallel(threads, pass.meshes, [&](int64_t b) {
      thread_local Gathered<T> found;
      for (int64_t k = 0; k < chunks; ++k) {
        chunk(b, k, found);
        scatter(pass, pass.face_offsets[b], found.met.faces, found.numbers);
      }
      outlines(b, found);
    });
    return;
  }
  std::vector<std::vector<int64_t>> faces(chunks);
  std::vector<std::vector<double>> numbers(chunks);
  thread_local Gathered<T> last;
  for (int64_t b = 0; b < pass.meshes; ++b) {
    parallel(threads, chunks, [&](int64_t k) {
      thread_local Gathered<T> found;
      chunk(b, k, found);
      faces[k] = found.met.faces;
      numbers[k] = found.numbers;
    });
    for (int64_t k = 0; k < chunks; ++k)
      scatter(pass, pass.face_offsets[b], faces[k], numbers[k]);
    outlines(b, last);
  }
}

template <class T>
int64_t draw_backward(const Pass<T>& pass, int64_t rows, const char* packed, int64_t threads) {
  const int64_t channels = pass.attributes.channels, vertices = pass.vertex_offsets[pass.meshes];
  set_zero(threads, pass.grad_values, rows * channels * int64_t(sizeof(T)));
  set_zero(threads, pass.grad_h, 3 * vertices * int64_t(sizeof(T)));
  const auto run = channels == 1   ? draw_backward_with<T, 1>
                   : channels == 2 ? draw_backward_with<T, 2>
                   : channels == 3 ? draw_backward_with<T, 3>
                                   : draw_backward_with<T, 0>;
  run(pass, packed, threads);
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_DRAW_BACKWARD(NAME, T)                                                        \
  DIFFRENDER_API int64_t diffrender_draw_backward_##NAME(                                        \
      const T* h, const int64_t* faces, const int64_t* vertex_offsets,                           \
      const int64_t* face_offsets, int64_t meshes, int64_t height, int64_t width,                \
      const T* values, int64_t corners, int64_t rows, int64_t channels, const int32_t* shown,    \
      const void* crossings, const T* grad, int64_t threads, T* grad_values, T* grad_h) {        \
    return diffrender::guarded([&] {                                                             \
      const diffrender::Pass<T> pass{h,      faces,  vertex_offsets, face_offsets, meshes,       \
                                     height, width,  {values, corners ? nullptr : faces, channels}, \
                                     shown,  grad,   grad_values,    grad_h};                    \
      return diffrender::draw_backward(pass, rows, static_cast<const char*>(crossings),          \
                                       threads);                                                 \
    });                                                                                          \
  }

DIFFRENDER_DRAW_BACKWARD(f32, float)
DIFFRENDER_DRAW_BACKWARD(f64, double)
