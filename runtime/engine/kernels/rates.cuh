// What a device can do at most, a kernel a rate. Rates of arithmetic and shared memory are counted in clock cycles of the multiprocessor,
// so that they do not depend on the clock of the moment. No toolkit header: NVRTC compiles this alone.

typedef unsigned int u32;
struct alignas(16) Vec16 {
  u32 x, y, z, w;
};

// Copies `count` vectors `passes` times; with buffers larger than the L2 this is DRAM bandwidth, with smaller ones L2 bandwidth.
extern "C" __global__ void copy_vectors(const Vec16* __restrict__ source, Vec16* target, unsigned long long count, int passes) {
  constexpr int kDeep = 4;  // loads in flight a thread
  const unsigned long long stride = (unsigned long long)gridDim.x * blockDim.x;
  for (int pass = 0; pass < passes; ++pass) {
    for (unsigned long long i = blockIdx.x * (unsigned long long)blockDim.x + threadIdx.x; i < count; i += kDeep * stride) {
      Vec16 v[kDeep];
#pragma unroll
      for (int k = 0; k < kDeep; ++k) {
        const unsigned long long at = i + k * stride < count ? i + k * stride : i;
        // Past the L1, which would otherwise serve the second pass.
        asm volatile("ld.global.cg.v4.u32 {%0, %1, %2, %3}, [%4];"
                     : "=r"(v[k].x), "=r"(v[k].y), "=r"(v[k].z), "=r"(v[k].w)
                     : "l"(source + at));
      }
#pragma unroll
      for (int k = 0; k < kDeep; ++k) {
        if (i + k * stride < count) target[i + k * stride] = v[k];
      }
    }
  }
}

// The kernels below store the cycles that each block took.
__device__ void finish(long long start, float sum, long long* cycles) {
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - start;
  if (sum == 12345.678f) cycles[blockIdx.x] = 0;  // keeps the sums alive
}

#if __CUDA_ARCH__ >= 800
// Independent m16n8k16 products of FP16 in registers, 2048 multiply-adds a warp each.
__device__ void product(float (&c)[4], u32 a, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a), "r"(b));
}
// m16n8k8 of TF32, 1024 multiply-adds.
__device__ void product_tf32(float (&c)[4], u32 a, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%4,%4,%4}, {%5,%5}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a), "r"(b));
}
#else
// m16n8k8 of FP16, 1024 multiply-adds: what sm_75 has.
__device__ void product(float (&c)[4], u32 a, u32 b) {
  asm volatile("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%4}, {%5}, {%0,%1,%2,%3};"
               : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
               : "r"(a), "r"(b));
}
__device__ void product_tf32(float (&c)[4], u32, u32) {
  c[0] += 1.0f;
}
#endif

template <bool kTf32>
__device__ void tensor_rate(long long* cycles, int turns) {
  float c[8][4] = {};
  const u32 a = 0x3c003c00u + threadIdx.x, b = 0x38003800u + threadIdx.x;
  __syncthreads();
  const long long start = clock64();
  for (int i = 0; i < turns; ++i) {
#pragma unroll
    for (int t = 0; t < 8; ++t) {
      if (kTf32) {
        product_tf32(c[t], a, b);
      } else {
        product(c[t], a, b);
      }
    }
  }
  float sum = 0;
  for (int t = 0; t < 8; ++t) sum += c[t][0] + c[t][1] + c[t][2] + c[t][3];
  finish(start, sum, cycles);
}
extern "C" __global__ void tensor_f16_rate(long long* cycles, int turns) {
  tensor_rate<false>(cycles, turns);
}
extern "C" __global__ void tensor_tf32_rate(long long* cycles, int turns) {
  tensor_rate<true>(cycles, turns);
}

// Independent FP32 fused multiply-adds, 16 a thread and turn.
extern "C" __global__ void fma_rate(long long* cycles, int turns) {
  float c[16];
  for (int t = 0; t < 16; ++t) c[t] = threadIdx.x * 0.001f + t;
  const float a = 1.0001f, b = 0.0001f * threadIdx.x;
  __syncthreads();
  const long long start = clock64();
  for (int i = 0; i < turns; ++i) {
#pragma unroll
    for (int t = 0; t < 16; ++t) c[t] = fmaf(c[t], a, b);
  }
  float sum = 0;
  for (int t = 0; t < 16; ++t) sum += c[t];
  finish(start, sum, cycles);
}

// 16-byte loads of shared memory without bank conflicts, 4 a thread and turn.
extern "C" __global__ void shared_rate(long long* cycles, int turns) {
  __shared__ Vec16 room[512];
  for (int i = threadIdx.x; i < 512; i += blockDim.x) room[i] = Vec16{threadIdx.x, 1, 2, 3};
  __syncthreads();
  const u32 base = (u32)__cvta_generic_to_shared(room);
  u32 sum = 0;
  const long long start = clock64();
  for (int i = 0; i < turns; ++i) {
#pragma unroll
    for (int t = 0; t < 4; ++t) {
      Vec16 v;
      const u32 at = base + ((threadIdx.x + t * 32 + i) % 512) * 16;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];" : "=r"(v.x), "=r"(v.y), "=r"(v.z), "=r"(v.w) : "r"(at));
      sum += v.x ^ v.y ^ v.z ^ v.w;
    }
  }
  finish(start, (float)sum, cycles);
}

// A step that does nothing but depend on the one before.
extern "C" __global__ void empty_step(float* value) {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;");
  asm volatile("griddepcontrol.wait;" ::: "memory");
#endif
  if (threadIdx.x == 0 && blockIdx.x == 0) *value += 1.0f;
}
