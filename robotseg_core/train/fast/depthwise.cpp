// SPDX-License-Identifier: Apache-2.0
// relu6(depthwise(relu6(x)) + bias) of NHWC maps and its gradients: oneDNN's weight gradient of kernels wider than 3
// and its bfloat16 gradients at stride 2 are ten times slower.  Sums are float32; maps are float32 or bfloat16.
// Channels go sixteen at a time.  Called through ctypes; built by depthwise.py.
#include <cstdint>
#include <cstring>
#include <vector>

typedef float f16v __attribute__((vector_size(64)));
typedef int32_t i16v __attribute__((vector_size(64)));
typedef uint32_t u16v __attribute__((vector_size(64)));
typedef uint16_t h16v __attribute__((vector_size(32)));

static inline f16v load(const float *p) { f16v v; std::memcpy(&v, p, 64); return v; }
static inline f16v load(const uint16_t *p) {
  h16v h; std::memcpy(&h, p, 32);
  u16v w = __builtin_convertvector(h, u16v) << 16;
  f16v v; std::memcpy(&v, &w, 64); return v;
}
static inline void store(float *p, f16v v) { std::memcpy(p, &v, 64); }
static inline void store(uint16_t *p, f16v v) {
  u16v w; std::memcpy(&w, &v, 64);
  w = (w + 0x7fff + ((w >> 16) & 1)) >> 16;
  h16v h = __builtin_convertvector(w, h16v); std::memcpy(p, &h, 32);
}
static inline f16v relu6(f16v v) {
  const f16v zero = {}; const f16v six = zero + 6.0f;
  v = v > zero ? v : zero;
  return v < six ? v : six;
}
static inline f16v inside(f16v g, f16v v) {
  const f16v zero = {}; const f16v six = zero + 6.0f;
  return ((v > zero) & (v < six)) ? g : zero;
}

struct Shape { int n, h, w, c, oh, ow, stride, pad; };

template <typename T, int K>
static void forward(const Shape &s, const T *x, const float *weight, const float *bias, T *out) {
  for (int n = 0; n < s.n; n++)
    for (int oy = 0; oy < s.oh; oy++)
      for (int ox = 0; ox < s.ow; ox++) {
        T *to = out + ((int64_t)(n * s.oh + oy) * s.ow + ox) * s.c;
        for (int c = 0; c < s.c; c += 16) {
          f16v sum = load(bias + c);
          for (int ky = 0; ky < K; ky++) {
            int iy = oy * s.stride + ky - s.pad;
            if (iy < 0 || iy >= s.h) continue;
            for (int kx = 0; kx < K; kx++) {
              int ix = ox * s.stride + kx - s.pad;
              if (ix < 0 || ix >= s.w) continue;
              sum += relu6(load(x + ((int64_t)(n * s.h + iy) * s.w + ix) * s.c + c)) * load(weight + (ky * K + kx) * s.c + c);
            }
          }
          store(to + c, relu6(sum));
        }
      }
}

template <typename T, int K>
static void backward(const Shape &s, const T *x, const float *weight, const T *out, const T *grad, T *grad_x,
                     float *grad_weight, float *grad_bias) {
  std::vector<float> masked((int64_t)s.oh * s.ow * s.c);
  float *m = masked.data();
  for (int n = 0; n < s.n; n++) {
    const int64_t first = (int64_t)n * s.oh * s.ow * s.c, size = (int64_t)s.oh * s.ow * s.c;
    for (int64_t i = 0; i < size; i += 16) store(m + i, inside(load(grad + first + i), load(out + first + i)));
    const T *xn = x + (int64_t)n * s.h * s.w * s.c;
    T *gn = grad_x + (int64_t)n * s.h * s.w * s.c;
    for (int iy = 0; iy < s.h; iy++)
      for (int ix = 0; ix < s.w; ix++)
        for (int c = 0; c < s.c; c += 16) {
          f16v sum = {};
          for (int ky = 0; ky < K; ky++) {
            int y = iy + s.pad - ky, oy = y / s.stride;
            if (y < 0 || y % s.stride || oy >= s.oh) continue;
            for (int kx = 0; kx < K; kx++) {
              int u = ix + s.pad - kx, ox = u / s.stride;
              if (u < 0 || u % s.stride || ox >= s.ow) continue;
              sum += load(m + ((int64_t)oy * s.ow + ox) * s.c + c) * load(weight + (ky * K + kx) * s.c + c);
            }
          }
          const int64_t at = ((int64_t)iy * s.w + ix) * s.c + c;
          store(gn + at, inside(sum, load(xn + at)));
        }
    for (int c = 0; c < s.c; c += 16) {
      f16v sums[K * K] = {};
      f16v all = {};
      for (int oy = 0; oy < s.oh; oy++)
        for (int ox = 0; ox < s.ow; ox++) {
          const f16v g = load(m + ((int64_t)oy * s.ow + ox) * s.c + c);
          all += g;
          const int y0 = oy * s.stride - s.pad, x0 = ox * s.stride - s.pad;
          if (y0 >= 0 && x0 >= 0 && y0 + K <= s.h && x0 + K <= s.w) {
            const T *from = xn + ((int64_t)y0 * s.w + x0) * s.c + c;
#pragma GCC unroll 8
            for (int ky = 0; ky < K; ky++)
#pragma GCC unroll 8
              for (int kx = 0; kx < K; kx++)
                sums[ky * K + kx] += g * relu6(load(from + ((int64_t)ky * s.w + kx) * s.c));
          } else {
            for (int ky = 0; ky < K; ky++)
              for (int kx = 0; kx < K; kx++) {
                const int iy = y0 + ky, ix = x0 + kx;
                if (iy < 0 || ix < 0 || iy >= s.h || ix >= s.w) continue;
                sums[ky * K + kx] += g * relu6(load(xn + ((int64_t)iy * s.w + ix) * s.c + c));
              }
          }
        }
      for (int t = 0; t < K * K; t++) store(grad_weight + t * s.c + c, load(grad_weight + t * s.c + c) + sums[t]);
      store(grad_bias + c, load(grad_bias + c) + all);
    }
  }
}

#define CALL(F, T, ...) (kernel == 3 ? F<T, 3>(__VA_ARGS__) : F<T, 5>(__VA_ARGS__))

extern "C" void depthwise_forward(int half, int kernel, Shape s, const void *x, const float *w, const float *b, void *out) {
  if (half) CALL(forward, uint16_t, s, (const uint16_t *)x, w, b, (uint16_t *)out);
  else CALL(forward, float, s, (const float *)x, w, b, (float *)out);
}

extern "C" void depthwise_backward(int half, int kernel, Shape s, const void *x, const float *w, const void *out,
                                   const void *grad, void *grad_x, float *grad_w, float *grad_b) {
  if (half)
    CALL(backward, uint16_t, s, (const uint16_t *)x, w, (const uint16_t *)out, (const uint16_t *)grad, (uint16_t *)grad_x, grad_w, grad_b);
  else
    CALL(backward, float, s, (const float *)x, w, (const float *)out, (const float *)grad, (float *)grad_x, grad_w, grad_b);
}
