// What the benchmark of modules runs beside them. No toolkit header: NVRTC compiles this alone.

typedef unsigned int u32;
struct alignas(16) Vec16 {
  u32 x, y, z, w;
};

#ifdef ELEMENT_F16
__device__ float load_element(const unsigned short* p) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(*p));
  return f;
}
__device__ void store_element(unsigned short* p, float f) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*p) : "f"(f));
}
typedef unsigned short Element;
#elif defined(ELEMENT_BF16)
__device__ float load_element(const unsigned short* p) {
  return __int_as_float((int)*p << 16);
}
__device__ void store_element(unsigned short* p, float f) {
  const u32 bits = __float_as_int(f);
  *p = (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
typedef unsigned short Element;
#else
__device__ float load_element(const float* p) {
  return *p;
}
__device__ void store_element(float* p, float f) {
  *p = f;
}
typedef float Element;
#endif

#ifndef ACTIVATION
#define ACTIVATION(x) (x)
#endif
#ifndef RESIDUAL
#define RESIDUAL 0  // 1: before the activation, 2: after it
#endif

// The pointwise epilogue that follows a convolution where cuDNN cannot fuse it:
// y = act(y + bias) with the residual where RESIDUAL says; in place, 16 bytes a thread and turn; `channels` is a multiple of the vector.
extern "C" __global__ void epilogue(Element* y, const float* bias, const Element* residual, int channels, unsigned long long vectors) {
  constexpr int kLanes = 16 / sizeof(Element);
  for (unsigned long long v = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; v < vectors;
       v += (unsigned long long)gridDim.x * blockDim.x) {
    const unsigned long long at = v * kLanes;
    const int channel = (int)(at % channels);
    alignas(16) Element own[kLanes], other[kLanes];
    *(Vec16*)own = *(const Vec16*)(y + at);
    if (RESIDUAL) *(Vec16*)other = *(const Vec16*)(residual + at);
#pragma unroll
    for (int i = 0; i < kLanes; ++i) {
      float x = load_element(own + i) + bias[channel + i];
      if (RESIDUAL == 1) x += load_element(other + i);
      x = ACTIVATION(x);
      if (RESIDUAL == 2) x += load_element(other + i);
      store_element(own + i, x);
    }
    *(Vec16*)(y + at) = *(const Vec16*)own;
  }
}

// largest[0] = max |ours - theirs|, largest[1] = max |theirs|, as the bits of floats, which order as the floats do where none is negative;
// a value that is not a number comes out on top. Both are 0 before.
extern "C" __global__ void largest_difference(const Element* ours, const Element* theirs, unsigned long long count, u32* largest) {
  u32 difference = 0, value = 0;
  for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < count;
       i += (unsigned long long)gridDim.x * blockDim.x) {
    const float own = load_element(ours + i), other = load_element(theirs + i);
    difference = max(difference, __float_as_uint(fabsf(own - other)));
    value = max(value, __float_as_uint(fabsf(other)));
  }
  atomicMax(largest, difference);
  atomicMax(largest + 1, value);
}
