// World points to homogeneous pixels and back, for kernels that start at the world. Maths:
// project.cpp.
#pragma once

#include "common.h"

namespace diffrender {

struct Matrix {
  double m[3][3];
};

// Either one camera for all meshes, or one for each.
template <class T>
struct Cameras {
  const T *intrinsics, *rotation, *translation;
  int64_t each;  // 1 or 0

  Matrix read(const T* matrix, int64_t b) const {
    Matrix out;
    for (int i = 0; i < 9; ++i) out.m[i / 3][i % 3] = matrix[9 * each * b + i];
    return out;
  }
};

template <class T>
int64_t project(const T* points, const int64_t* offsets, int64_t meshes, const Cameras<T>& cameras,
                int64_t threads, T* h);

// `grad` may be `grad_points`; `grad_points` may be null, and the three of the camera together.
template <class T>
int64_t project_backward(const T* points, const int64_t* offsets, int64_t meshes,
                         const Cameras<T>& cameras, const T* grad, int64_t threads,
                         T* grad_points, T* grad_k, T* grad_r, T* grad_t);

}  // namespace diffrender
