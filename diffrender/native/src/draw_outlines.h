// The crossings' part of the gradient of draw.cpp. Maths: antialias_backward.cpp.
#pragma once

#include "draw_sums.h"

namespace diffrender {

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
  void gather(const Pass<T>& pass, int64_t b, Gathered<T>& found) {
    const int64_t face0 = pass.face_offsets[b], channels = pass.attributes.channels;
    const AddRun<T> add = add_run_for<T>(channels);
    for (size_t n = 0; n < pixels.size(); ++n) {
      const int32_t f = pass.shown[b * pass.pixels() + pixels[n]];
      number[pixels[n]] = 0;
      if (f < 0) continue;
      add(found.of(pass, face0, f), channels, pixels[n] % pass.width, pixels[n] / pass.width, 1,
          extra.data() + n * channels, int64_t(pixels.size() - n));
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

}  // namespace diffrender
