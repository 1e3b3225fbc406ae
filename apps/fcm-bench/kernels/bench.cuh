// Kernels of the benchmark itself: what the device can do at most (rates), and the pointwise epilogue that follows a convolution where
// cuDNN cannot fuse it. No toolkit header: NVRTC compiles this alone.

typedef unsigned int u32;
struct alignas(16) Vec16 {
  u32 x, y, z, w;
};

// Copies `count` vectors `passes` times; with buffers larger than the L2 this is DRAM bandwidth, with smaller ones L2 bandwidth.
extern "C" __global__ void copy_vectors(const Vec16* __restrict__ source, Vec16* target, unsigned long long count, int passes) {
  for (int pass = 0; pass < passes; ++pass) {
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < count;
         i += (unsigned long long)gridDim.x * blockDim.x) {
      Vec16 v;
      // Past the L1, which would otherwise serve the second pass.
      asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "l"(source + i));
      target[i] = v;
    }
  }
}

// Independent m16n8k16 products in registers: the tensor cores' FP16 rate through mma.sync.
extern "C" __global__ void tensor_rate(float* sink, int iterations) {
  float c[8][4] = {};
  const u32 a = 0x3c003c00u + threadIdx.x, b = 0x38003800u + threadIdx.x;
  for (int i = 0; i < iterations; ++i) {
#pragma unroll
    for (int t = 0; t < 8; ++t) {
#if __CUDA_ARCH__ >= 800
      asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
                   : "+f"(c[t][0]), "+f"(c[t][1]), "+f"(c[t][2]), "+f"(c[t][3])
                   : "r"(a), "r"(b));
#else
      asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%4}, {%5}, {%0,%1,%2,%3};"
                   : "+f"(c[t][0]), "+f"(c[t][1]), "+f"(c[t][2]), "+f"(c[t][3])
                   : "r"(a), "r"(b));
#endif
    }
  }
  float sum = 0;
  for (int t = 0; t < 8; ++t) sum += c[t][0] + c[t][1] + c[t][2] + c[t][3];
  if (sum == 12345.0f) *sink = sum;
}

// Independent FP32 fused multiply-adds: the CUDA cores' rate.
extern "C" __global__ void fma_rate(float* sink, int iterations) {
  float c[16];
  for (int t = 0; t < 16; ++t) c[t] = threadIdx.x * 0.001f + t;
  const float a = 1.0001f, b = 0.0001f * threadIdx.x;
  for (int i = 0; i < iterations; ++i) {
#pragma unroll
    for (int t = 0; t < 16; ++t) c[t] = fmaf(c[t], a, b);
  }
  float sum = 0;
  for (int t = 0; t < 16; ++t) sum += c[t];
  if (sum == 12345.0f) *sink = sum;
}

// A step that does nothing but depend on the one before: the cost of a step.
extern "C" __global__ void empty_step(float* value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  if (threadIdx.x == 0 && blockIdx.x == 0) *value += 1.0f;
}

#ifdef EPILOGUE_F16
__device__ float load_element(const unsigned short* p) {
  float f;
  asm("cvt.f32.f16 %0, %1;" : "=f"(f) : "h"(*p));
  return f;
}
__device__ void store_element(unsigned short* p, float f) {
  asm("cvt.rn.f16.f32 %0, %1;" : "=h"(*p) : "f"(f));
}
typedef unsigned short Element;
#elif defined(EPILOGUE_BF16)
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
