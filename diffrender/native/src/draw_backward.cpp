// Gradient of draw.cpp: from the antialiased image to attributes and homogeneous vertices; twin:
// diffrender/raster/render.py (the three calls).
//
// Crossings first (maths: antialias_backward.cpp): what they add to the gradient of the image
// before blending stays a short list of pixels, since everything after is linear in it. Then faces.
// With g = dL/dout at pixel p = (x, y, 1), barycentrics b_j = n_j . p / (s . p), s = sum_j n_j,
// attributes a_(f,j) and q = g . sum_j b_j a_(f,j), a face needs D_jc = sum b_j g_c and
// Q_j = sum b_j q over its pixels: dL/da_(f,j) = D_j, and with A_ji = D_j . a_(f,i) - Q_j:
// dL/dh_j = -sum_i A_ji n_i / det, as in rasterize_backward.cpp. Since b_j is linear in p but for
// w = 1 / (s . p), D_jc = n_j . sum (w g_c p) and Q_j = n_j . sum (w q p): a face adds up these
// moments, C + 1 times three numbers, and q comes from its planes (drawn.h). Sums are taken in
// double per chunk of rows, four pixels of a run at a time, chunks are added in order and the list
// of crossings comes last: the bits do not depend on threads. A picture too small for two threads
// is one chunk, with its list.

#include "draw_outlines.h"

namespace diffrender {
namespace {

template <class T>
void draw_backward_with(const Pass<T>& pass, const char* packed, int64_t threads) {
  const int64_t* counts = reinterpret_cast<const int64_t*>(packed);
  std::vector<const char*> part(2 * pass.meshes);
  const char* at = packed + 2 * sizeof(int64_t) * pass.meshes;
  for (int64_t i = 0; i < 2 * pass.meshes; ++i) {
    part[i] = at;
    at += part_bytes<T>(counts[i], pass.attributes.channels);
  }
  // Small images are cut finer, into two chunks or more; the cut does not depend on threads.
  const bool whole = pass.meshes * pass.pixels() < kFewPixels;
  const int64_t some = std::max<int64_t>(2048, std::min(kChunkPixels, pass.pixels() / 4));
  const int64_t rows = whole ? pass.height : std::max<int64_t>(1, some / pass.width);
  const int64_t chunks = (pass.height + rows - 1) / rows;
  const auto gather = [&](int64_t b, Corners& out, auto&& body) {
    thread_local Gathered<T> found;  // kept between calls
    found.open(pass, b);
    body(found);
    finish(pass, pass.face_offsets[b], found, out);
    found.met.close();
  };
  const auto chunk = [&](int64_t b, int64_t k, Corners& out) {
    gather(b, out, [&](Gathered<T>& found) {
      add_rows(pass, b, k * rows, std::min(pass.height, (k + 1) * rows), found);
    });
  };
  const auto outlines = [&](int64_t b, Corners& out) {
    thread_local Undone<T> undone;
    undone.run(pass, b, part.data() + 2 * b, counts + 2 * b);
    gather(b, out, [&](Gathered<T>& found) {
      if (whole) add_rows(pass, b, 0, pass.height, found);
      undone.gather(pass, b, found);
    });
    scatter(pass, pass.face_offsets[b], out);
    undone.add_ends(pass, b);
  };
  if (whole || pass.meshes >= 2 * threads || threads <= 1) {
    parallel(threads, pass.meshes, [&](int64_t b) {
      thread_local Corners found;
      for (int64_t k = 0; k < chunks && !whole; ++k) {
        chunk(b, k, found);
        scatter(pass, pass.face_offsets[b], found);
      }
      outlines(b, found);
    });
    return;
  }
  std::vector<Corners> found(chunks);
  for (int64_t b = 0; b < pass.meshes; ++b) {
    parallel(threads, chunks, [&](int64_t k) { chunk(b, k, found[k]); });
    for (const Corners& one : found) scatter(pass, pass.face_offsets[b], one);
    outlines(b, found[0]);
  }
}

// `grad_h` is scratch where there is a camera, and may be `grad_points`. Of the points and the
// camera each gradient may be null; so may `crossings`, where the call kept them.
template <class T>
int64_t draw_backward(const DrawCall<T>& call, int64_t threads, const char* crossings,
                      const T* grad, T* grad_values, T* grad_h, T* grad_points, T* grad_k,
                      T* grad_r, T* grad_t) {
  const int64_t channels = call.channels, vertices = call.vertex_offsets[call.meshes];
  threads = call.useful(threads);
  call_workers(threads);
  const Pass<T> pass{call.homogeneous(), call.faces, call.vertex_offsets, call.face_offsets,
                     call.meshes, call.height, call.width, call.attributes(), call.shown, grad,
                     grad_values, grad_h};
  set_zero(threads, grad_values, call.rows * channels * int64_t(sizeof(T)));
  set_zero(threads, grad_h, 3 * vertices * int64_t(sizeof(T)));
  if (!crossings) crossings = call.kept->rooms[Kept::kCrossings].get();
  draw_backward_with(pass, crossings, threads);
  if (call.intrinsics && (grad_points || grad_k))
    project_backward(call.points, call.vertex_offsets, call.meshes, call.cameras(), grad_h,
                     threads, grad_points, grad_k, grad_r, grad_t);
  return kDone;
}

}  // namespace
}  // namespace diffrender

#define DIFFRENDER_DRAW_BACKWARD(NAME, T)                                                        \
  DIFFRENDER_API int64_t diffrender_draw_backward_##NAME(                                        \
      const void* call, int64_t threads, const void* crossings, const T* grad, T* grad_values,   \
      T* grad_h, T* grad_points, T* grad_k, T* grad_r, T* grad_t) {                              \
    return diffrender::guarded([&] {                                                             \
      return diffrender::draw_backward(*static_cast<const diffrender::DrawCall<T>*>(call),       \
                                       threads, static_cast<const char*>(crossings), grad,       \
                                       grad_values, grad_h, grad_points, grad_k, grad_r, grad_t); \
    });                                                                                          \
  }

DIFFRENDER_DRAW_BACKWARD(f32, float)
DIFFRENDER_DRAW_BACKWARD(f64, double)
