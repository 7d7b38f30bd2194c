// Soft colours (SoftRas, Liu et al. 2019, eqs. 2 to 4); twin: diffrender/raster/torch_shade.py.
//
// A face f that counts at a pixel has the weight exp(l_f), l_f = log D_f + n_f / gamma, where
// D_f = sigmoid(-d_f / sigma) with d_f as in soft_silhouette.cpp and n_f = (far - z_f) / (far - near)
// from the depth z_f at its barycentrics b, clipped into the face. The background has the weight
// exp(epsilon / gamma). With L = log of the sum of all, w_f = exp(l_f - L): colour = sum_f w_f c_f
// with c_f = sum_i b_i a_(f,i), and rest = exp(epsilon / gamma - L). Sums run over faces in order
// with the largest exponent so far taken out, so a pixel keeps C + 2 numbers whatever the faces.
//
// Backward, with G and g the gradients of colour and rest: dL/dc_f = w_f G and
// dL/dl_f = w_f (G . c_f - G . colour - g rest). Then dl/dd = -(1 - D) / sigma, as for silhouettes,
// and dl/dz = -1 / (gamma (far - near)); b is the share of soft_faces.h. Every face adds up its own
// pixels in scan order and faces add to vertices in face order, so the bits do not depend on threads.

#include <limits>

#include "soft_faces.h"

namespace diffrender {
namespace {

// One face at one pixel.
struct Sample {
  double square, edge[3];  // signed square
  Nearest point;
  Shares at;
};

// From dL/d(square), dL/d(depth) and dL/d(share) to the corners' x, y and z.
void add_face(const SoftFace& face, const Sample& sample, double x, double y, double by_square,
              double by_depth, const double by_share[3], double out[9]) {
  const Corner* c = face.c;
  const Nearest& point = sample.point;
  const Shares& s = sample.at;
  const double pull = -2.0 * by_square * (sample.square < 0 ? -1.0 : 1.0);
  out[3 * point.a] += (1.0 - point.t) * pull * point.rx;
  out[3 * point.a + 1] += (1.0 - point.t) * pull * point.ry;
  out[3 * point.b] += point.t * pull * point.rx;
  out[3 * point.b + 1] += point.t * pull * point.ry;
  double g[3], mean = 0;
  for (int i = 0; i < 3; ++i) {
    out[3 * i + 2] += by_depth * s.share[i];
    g[i] = by_share[i] + by_depth * c[i].z;
    mean += g[i] * s.share[i];
  }
  double inner = 0;
  for (int i = 0; i < 3; ++i) {
    const bool open = s.e[i] >= 0.0 && s.e[i] <= 1.0;
    g[i] = open ? (g[i] - mean) / s.clipped_sum : 0.0;
    inner += g[i] * s.e[i];
  }
  for (int i = 0; i < 3; ++i) {
    const double by_u = (g[i] - inner) / s.u_sum, by_edge = by_u / c[i].z;
    out[3 * i + 2] -= by_u * s.u[i] / c[i].z;
    const int p = (i + 1) % 3, q = (i + 2) % 3;
    out[3 * q] += by_edge * (y - c[p].y);
    out[3 * q + 1] -= by_edge * (x - c[p].x);
    out[3 * p] += by_edge * (c[q].y - y);
    out[3 * p + 1] += by_edge * (x - c[q].x);
  }
}

struct Shading : SoftScene {
  double gamma, near, far, epsilon;
  int64_t channels, at_corners;

  int64_t row(int64_t f, int j) const { return at_corners ? 3 * f + j : faces[3 * f + j]; }
  double background() const { return epsilon / gamma; }
  double log_weight(const Sample& s) const {
    const double t = s.square / sigma;
    const double log_cover = -std::max(t, 0.0) - std::log1p(std::exp(-std::abs(t)));
    return log_cover + (far - s.at.depth) / ((far - near) * gamma);
  }
};

// Calls body(f, face, x, y, pixel, sample) for faces [low, high) of image b in order and, face by
// face, for the pixels of rows [row0, row1) that they touch, in scan order.
template <class Body>
void visit(const Shading& s, const std::vector<Corner>& points, int64_t b, int64_t low, int64_t high,
           int64_t row0, int64_t row1, const Body& body) {
  for (int64_t f = low; f < high; ++f) {
    SoftFace face;
    if (!s.take(points, b, f, face)) continue;
    for (int64_t row = std::max(face.top, row0); row <= std::min(face.bottom, row1 - 1); ++row)
      for (int64_t column = face.left; column <= face.right; ++column) {
        const double x = (column + 0.5) * s.scale, y = (row + 0.5) * s.scale;
        Sample sample;
        if (!face.distance(x, y, s.blur, sample.square, sample.point, sample.edge)) continue;
        sample.at = face.shares(sample.edge);
        body(f, face, x, y, row * s.width + column, sample);
      }
  }
}

struct Farthest {  // the last face that counts at a pixel
  double depth = std::numeric_limits<double>::infinity();
  int64_t face = -1;
  bool counts(double d, int64_t f) const {
    return face < 0 ? true : d < depth || (d == depth && f <= face);
  }
};

// The K-th nearest face of each pixel in rows [row0, row1); none where fewer than K touch it.
void limits(const Shading& s, const std::vector<Corner>& points, int64_t b, int64_t row0,
            int64_t row1, Farthest* last) {
  std::vector<Farthest> lists(s.limit * (row1 - row0) * s.width);
  visit(s, points, b, s.face_offsets[b], s.face_offsets[b + 1], row0, row1,
        [&](int64_t f, const SoftFace&, double, double, int64_t pixel, const Sample& sample) {
          Farthest* list = lists.data() + (pixel - row0 * s.width) * s.limit;
          int64_t k = s.limit - 1;
          if (!(sample.at.depth < list[k].depth)) return;
          for (; k > 0 && sample.at.depth < list[k - 1].depth; --k) list[k] = list[k - 1];
          list[k].depth = sample.at.depth;
          list[k].face = f;
        });
  for (int64_t i = 0; i < (row1 - row0) * s.width; ++i)
    last[row0 * s.width + i] = lists[(i + 1) * s.limit - 1];
}

template <class T>
int64_t shade_rows(const Shading& s, const T* h, const T* values, int64_t b, int64_t row0,
                   int64_t row1, T* colour, T* rest, double* total, Farthest* last,
                   int64_t& culprit) {
  std::vector<Corner> points;
  const int64_t status = s.project(h, b, points, culprit);
  if (status != kDone) return status;
  if (s.limit) limits(s, points, b, row0, row1, last);
  const int64_t count = (row1 - row0) * s.width, n = s.channels, start = row0 * s.width;
  std::vector<double> most(count, s.background()), sum(count, 1.0), sums(n * count, 0.0);
  visit(s, points, b, s.face_offsets[b], s.face_offsets[b + 1], row0, row1,
        [&](int64_t f, const SoftFace&, double, double, int64_t pixel, const Sample& sample) {
          if (s.limit && !last[pixel].counts(sample.at.depth, f)) return;
          const int64_t i = pixel - start;
          const double exponent = s.log_weight(sample);
          double* to = sums.data() + i * n;
          double weight = 1.0;
          if (exponent > most[i]) {
            const double fade = std::exp(most[i] - exponent);
            for (int64_t c = 0; c < n; ++c) to[c] *= fade;
            sum[i] *= fade;
            most[i] = exponent;
          } else {
            weight = std::exp(exponent - most[i]);
          }
          sum[i] += weight;
          for (int j = 0; j < 3; ++j) {
            const double share = weight * sample.at.share[j];
            const T* value = values + s.row(f, j) * n;
            for (int64_t c = 0; c < n; ++c) to[c] += share * double(value[c]);
          }
        });
  for (int64_t i = 0; i < count; ++i) {
    total[start + i] = most[i] + std::log(sum[i]);
    rest[start + i] = T(std::exp(s.background() - total[start + i]));
    for (int64_t c = 0; c < n; ++c) colour[(start + i) * n + c] = T(sums[i * n + c] / sum[i]);
  }
  return kDone;
}

inline void unpack(const Farthest* from, int64_t count, double* depth, int64_t* face) {
  for (int64_t i = 0; i < count; ++i) {
    depth[i] = from[i].depth;
    face[i] = from[i].face;
  }
}

template <class T>
int64_t shade(const Shading& s, const T* h, const T* values, int64_t threads, T* colour, T* rest,
              double* total, double* last_depth, int64_t* last_face, int64_t* culprit) {
  const int64_t bands = pieces(2 * threads * (threads > 1), s.meshes, (s.height + 7) / 8);
  const int64_t pixels = s.height * s.width;
  std::vector<int64_t> status(s.meshes * bands, kDone), where(s.meshes * bands, 0);
  std::vector<Farthest> last(s.limit ? s.meshes * pixels : 0);
  parallel(threads, s.meshes * bands, [&](int64_t task) {
    const int64_t b = task / bands, part = task % bands, at = b * pixels;
    status[task] = shade_rows(s, h, values, b, s.height * part / bands,
                              s.height * (part + 1) / bands, colour + at * s.channels, rest + at,
                              total + at, last.data() + (s.limit ? at : 0), where[task]);
  });
  for (size_t i = 0; i < status.size(); ++i) {
    if (status[i] == kDone) continue;
    *culprit = where[i];
    return status[i];
  }
  unpack(last.data(), int64_t(last.size()), last_depth, last_face);
  return kDone;
}

template <class T>
struct Saved {  // what the forward pass kept, and the gradients of its outputs
  const T *colour, *rest;
  const double* total;
  const double* last_depth;
  const int64_t* last_face;
  const T *grad_colour, *grad_rest;
};

// Sums of faces [low, high) of image b: nine numbers a face for its corners, 3 C for its values.
template <class T>
void shade_faces(const Shading& s, const std::vector<Corner>& points, const T* values,
                 const Saved<T>& saved, int64_t b, int64_t low, int64_t high, double* corners,
                 double* by_value) {
  const int64_t n = s.channels, at = b * s.height * s.width;
  visit(s, points, b, low, high, 0, s.height,
        [&](int64_t f, const SoftFace& face, double x, double y, int64_t pixel,
            const Sample& sample) {
          const int64_t i = at + pixel;
          if (s.limit) {
            const Farthest last{saved.last_depth[i], saved.last_face[i]};
            if (!last.counts(sample.at.depth, f)) return;
          }
          const double weight = std::exp(s.log_weight(sample) - saved.total[i]);
          if (weight == 0.0) return;
          const T *g = saved.grad_colour + i * n, *colour = saved.colour + i * n;
          double mean = double(saved.grad_rest[i]) * saved.rest[i], own = 0, by_share[3];
          for (int64_t c = 0; c < n; ++c) mean += double(g[c]) * colour[c];
          for (int j = 0; j < 3; ++j) {
            const T* value = values + s.row(f, j) * n;
            double* to = by_value + (3 * f + j) * n;
            double along = 0;
            for (int64_t c = 0; c < n; ++c) along += double(g[c]) * value[c];
            for (int64_t c = 0; c < n; ++c) to[c] += weight * sample.at.share[j] * double(g[c]);
            own += sample.at.share[j] * along;
            by_share[j] = weight * along;
          }
          const double by_log = weight * (own - mean);
          const double out = 1.0 / (1.0 + std::exp(-sample.square / s.sigma));  // 1 - D
          add_face(face, sample, x, y, -by_log * out / s.sigma,
                   -by_log / (s.gamma * (s.far - s.near)), by_share, corners + 9 * f);
        });
}

template <class T>
int64_t shade_backward(const Shading& s, const T* h, const T* values, const Saved<T>& saved,
                       int64_t threads, T* grad_h, T* grad_values) {
  const int64_t parts = pieces(2 * threads * (threads > 1), s.meshes, 256), n = s.channels;
  std::vector<double> corners(9 * s.face_offsets[s.meshes], 0.0);
  std::vector<double> by_value(3 * n * s.face_offsets[s.meshes], 0.0);
  parallel(threads, s.meshes * parts, [&](int64_t task) {
    const int64_t b = task / parts, part = task % parts;
    const int64_t first = s.face_offsets[b], size = s.face_offsets[b + 1] - first;
    std::vector<Corner> points;
    int64_t culprit = 0;
    if (s.project(h, b, points, culprit) != kDone) return;
    shade_faces(s, points, values, saved, b, first + size * part / parts,
                first + size * (part + 1) / parts, corners.data(), by_value.data());
  });
  parallel(threads, s.meshes, [&](int64_t b) {
    for (int64_t f = s.face_offsets[b]; f < s.face_offsets[b + 1]; ++f)
      for (int j = 0; j < 3; ++j) {
        const double* g = corners.data() + 9 * f + 3 * j;
        s.add_corner(h, s.faces[3 * f + j], g[0], g[1], g[2], grad_h);
        T* to = grad_values + s.row(f, j) * n;
        for (int64_t c = 0; c < n; ++c) to[c] += T(by_value[(3 * f + j) * n + c]);
      }
  });
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_SHADING                                                                      \
  const int64_t *faces, const int64_t *vertex_offsets, const int64_t *face_offsets,             \
      int64_t meshes, int64_t height, int64_t width, int64_t limit, double sigma, double gamma, \
      double blur, double near, double far, double epsilon, double scale, int64_t channels,     \
      int64_t at_corners
#define DIFFRENDER_SHADING_NAMES                                                              \
  {                                                                                           \
    {faces, vertex_offsets, face_offsets, meshes, height, width, limit, sigma, blur, scale},  \
        gamma, near, far, epsilon, channels, at_corners                                       \
  }
#define DIFFRENDER_SHADE(NAME, T)                                                               \
  DIFFRENDER_API int64_t diffrender_soft_shade_##NAME(                                          \
      DIFFRENDER_SHADING, const T* h, const T* values, int64_t threads, T* colour, T* rest,     \
      double* total, double* last_depth, int64_t* last_face, int64_t* culprit) {                \
    return diffrender::guarded([&] {                                                            \
      return diffrender::shade<T>(DIFFRENDER_SHADING_NAMES, h, values, threads, colour, rest,   \
                                  total, last_depth, last_face, culprit);                       \
    });                                                                                         \
  }                                                                                             \
  DIFFRENDER_API int64_t diffrender_soft_shade_backward_##NAME(                                 \
      DIFFRENDER_SHADING, const T* h, const T* values, const T* colour, const T* rest,          \
      const double* total, const double* last_depth, const int64_t* last_face,                  \
      const T* grad_colour, const T* grad_rest, int64_t threads, T* grad_h, T* grad_values) {   \
    return diffrender::guarded([&] {                                                            \
      return diffrender::shade_backward<T>(                                                     \
          DIFFRENDER_SHADING_NAMES, h, values,                                                  \
          {colour, rest, total, last_depth, last_face, grad_colour, grad_rest}, threads,        \
          grad_h, grad_values);                                                                 \
    });                                                                                         \
  }

DIFFRENDER_SHADE(f32, float)
DIFFRENDER_SHADE(f64, double)
