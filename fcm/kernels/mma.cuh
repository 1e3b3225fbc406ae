// The matrix engine of every dense stage: C[16 x 16] += A[16 x ks] B[ks x 16] on one warp, where B is a packed unit of 512 bytes.
//
// One register layout serves all element types. With row = lane / 4 and q = lane % 4, an accumulator of a 16 x 8 tile holds
// (row, 2q) (row, 2q + 1) (row + 8, 2q) (row + 8, 2q + 1). A fragments are the same positions of one (FP32) or two (16-bit) tiles,
// so the result of one stage becomes the left operand of the next without leaving the registers. TF32's own fragment order differs
// in which k a register stands for; packing permutes B's rows instead.
#pragma once

#include "fcm/kernels/types.cuh"

namespace fcm::kernel {

/// The same number, below kBound (a power of two), which the compiler takes for a new one: what follows from it is worked out where it is
/// used, and not kept in registers from tile to tile.
template <int kBound>
FCM_DEVICE int anew(int x) {
  asm volatile("" : "+r"(x));
  return x & (kBound - 1);
}

FCM_DEVICE u32 shared_address(const void* p) {
  u32 a;
  asm("{ .reg .u64 t; cvta.to.shared.u64 t, %1; cvt.u32.u64 %0, t; }" : "=r"(a) : "l"(p));
  return a;
}

template <int N>
FCM_DEVICE void ldmatrix(u32 (&r)[N], u32 address) {
  if constexpr (N == 1) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x1.shared.b16 {%0}, [%1];" : "=r"(r[0]) : "r"(address) : "memory");
  } else if constexpr (N == 2) {
    asm volatile("ldmatrix.sync.aligned.m8n8.x2.shared.b16 {%0, %1}, [%2];" : "=r"(r[0]), "=r"(r[1]) : "r"(address) : "memory");
  } else {
    static_assert(N == 4, "ldmatrix loads 1, 2 or 4 matrices");
    asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
                 : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
                 : "r"(address)
                 : "memory");
  }
}

/// An 8 x 8 matrix of 16-bit elements, a row in four lanes, transposed.
FCM_DEVICE u32 transposed(u32 x) {
  u32 y;
  asm volatile("movmatrix.sync.aligned.m8n8.trans.b16 %0, %1;" : "=r"(y) : "r"(x));
  return y;
}

/// c[16 x 8] += a[16 x 8] b[8 x 8], 16-bit operands.
template <Math M>
FCM_DEVICE void mma_k8(float (&c)[4], u32 a0, u32 a1, u32 b0) {
  if constexpr (M == Math::f16) {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
  } else {
    asm("mma.sync.aligned.m16n8k8.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5}, {%6}, {%0,%1,%2,%3};"
        : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
        : "r"(a0), "r"(a1), "r"(b0));
  }
}

/// d[16 x 8] = c + a[16 x 16] b[16 x 8]; sm_75 does it in two halves.
template <Math M>
FCM_DEVICE void mma_k16(float (&d)[4], const float (&c)[4], const u32 (&a)[4], u32 b0, u32 b1) {
  if constexpr (kArch < 800) {
#pragma unroll
    for (int i = 0; i < 4; ++i) d[i] = c[i];
    mma_k8<M>(d, a[0], a[1], b0);
    mma_k8<M>(d, a[2], a[3], b1);
  } else if constexpr (M == Math::f16) {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  } else {
    asm("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%10,%11,%12,%13};"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1), "f"(c[0]), "f"(c[1]), "f"(c[2]), "f"(c[3]));
  }
}
/// c += a b.
template <Math M>
FCM_DEVICE void mma_k16(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  const u32 a[4] = {a0, a1, a2, a3};
  mma_k16<M>(c, c, a, b0, b1);
}

/// d[16 x 8] = c + a[16 x 32] b[32 x 8], where of four neighbours in a row of a two are there, in places that `places` tells, ascending.
template <Math M>
FCM_DEVICE void mma_sparse(float (&d)[4], const float (&c)[4], const u32 (&a)[4], const u32 (&b)[4], u32 places) {
  if constexpr (M == Math::f16) {
    asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.f16.f16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, "
        "{%13,%14,%15,%16}, %12, 0x0;"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
  } else {
    asm("mma.sp::ordered_metadata.sync.aligned.m16n8k32.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9,%10,%11}, "
        "{%13,%14,%15,%16}, %12, 0x0;"
        : "=f"(d[0]), "=f"(d[1]), "=f"(d[2]), "=f"(d[3])
        : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]), "r"(b[2]), "r"(b[3]), "r"(places), "f"(c[0]), "f"(c[1]),
          "f"(c[2]), "f"(c[3]));
  }
}

/// Where the diagonal of an 8 x 8 matrix passes a lane, whose row has its element in column `k`. A value is given as the word that holds it
/// in the half in which it stands among two of four neighbours: the upper one in columns 3 and 7, which has no place but the second.
struct DiagonalPlace {
  u32 pick;    // of two values' words, that of the lane's matrix, or zero
  u32 places;  // of the two that are there among four neighbours: the value's, and the last (column 3 and 7: the first, and the value's)

  FCM_DEVICE static constexpr bool is_upper(int k) { return k % 4 == 3; }
  FCM_DEVICE static DiagonalPlace of(int k, int lane) {
    const u32 zero = is_upper(k) ? 0x0000u : 0x2222u;
    if constexpr (kArch < 800) {  // dense: two neighbouring columns a lane
      return {(lane & 3) != k >> 1 ? zero : k % 4 == 0 || k % 4 == 2 ? 0x2210u : is_upper(k) ? 0x3200u : 0x1022u, 0};
    }
    return {(lane & 1) != k >> 2 ? zero : (lane & 2) != 0 ? 0x7654u : 0x3210u, (is_upper(k) ? 0xcu : 0xcu | (k % 4)) * 0x11111111u};
  }
};

/// [diagonal of each up; diagonal of each low]: 16 x 32.
struct Diagonals {
  u32 a[8];
  u32 places;

  FCM_DEVICE Diagonals(const u32 (&up)[4], const u32 (&low)[4], DiagonalPlace at) : places(at.places) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      if constexpr (kArch < 800) {
        a[2 * i] = __byte_perm(up[i], 0, at.pick);
        a[2 * i + 1] = __byte_perm(low[i], 0, at.pick);
      } else if (i % 2 == 0) {
        a[i] = __byte_perm(up[i], up[i + 1], at.pick);
        a[i + 1] = __byte_perm(low[i], low[i + 1], at.pick);
      }
    }
  }
};
/// sum[16 x 8] = from + diagonals x b, where b is four 8 x 8 matrices below each other.
template <Math M>
FCM_DEVICE void multiply_diagonals(float (&sum)[4], const float (&from)[4], const Diagonals& d, const u32 (&b)[4]) {
  if constexpr (kArch < 800) {
#pragma unroll
    for (int i = 0; i < 4; ++i) sum[i] = from[i];
#pragma unroll
    for (int i = 0; i < 4; ++i) mma_k8<M>(sum, d.a[2 * i], d.a[2 * i + 1], b[i]);
  } else {
    mma_sparse<M>(sum, from, {d.a[0], d.a[1], d.a[2], d.a[3]}, b, d.places);
  }
}

FCM_DEVICE u32 to_tf32(float x) {
  u32 y;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(y) : "f"(x));
  return y;
}
FCM_DEVICE void mma_tf32(float (&c)[4], u32 a0, u32 a1, u32 a2, u32 a3, u32 b0, u32 b1) {
  asm("mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, {%8,%9}, {%0,%1,%2,%3};"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a0), "r"(a1), "r"(a2), "r"(a3), "r"(b0), "r"(b1));
}

/// Left operand, 16 rows x ks channels. 16-bit: {row k0-7, row+8 k0-7, row k8-15, row+8 k8-15}; FP32: {row 2q, row 2q+1, row+8 2q, row+8
/// 2q+1}.
template <Math M>
struct AFragment {
  u32 r[4];
};

/// Accumulator of a 16 x 16 tile: two 16 x 8 tiles side by side.
struct Accumulator {
  float lo[4], hi[4];
};

FCM_DEVICE float element(const float4& v, int i) {
  return i == 0 ? v.x : i == 1 ? v.y : i == 2 ? v.z : v.w;
}
/// One depth of an FP32 tile: a lane's two rows by its four columns.
FCM_DEVICE void add_product(Accumulator& acc, float top, float bottom, const float4& b) {
  acc.lo[0] += top * b.x;
  acc.lo[1] += top * b.y;
  acc.lo[2] += bottom * b.x;
  acc.lo[3] += bottom * b.y;
  acc.hi[0] += top * b.z;
  acc.hi[1] += top * b.w;
  acc.hi[2] += bottom * b.z;
  acc.hi[3] += bottom * b.w;
}

/// acc[m][n] += a[m] x unit(n), where unit(n) returns the shared-memory bytes of the packed unit of the n-th 16 columns.
template <Math M, int kRows, int kCols, class UnitAt>
FCM_DEVICE void multiply(Accumulator (&acc)[kRows][kCols], const AFragment<M> (&a)[kRows], UnitAt unit, int lane) {
  if constexpr (kIs16<M>) {
#pragma unroll
    for (int n = 0; n < kCols; ++n) {
      const uint4 b = *reinterpret_cast<const uint4*>(unit(n) + lane * 16);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        mma_k16<M>(acc[m][n].lo, a[m].r[0], a[m].r[1], a[m].r[2], a[m].r[3], b.x, b.y);
        mma_k16<M>(acc[m][n].hi, a[m].r[0], a[m].r[1], a[m].r[2], a[m].r[3], b.z, b.w);
      }
    }
  } else if constexpr (M == Math::tf32) {
    u32 t[kRows][4];
#pragma unroll
    for (int m = 0; m < kRows; ++m) {
#pragma unroll
      for (int i = 0; i < 4; ++i) t[m][i] = to_tf32(__uint_as_float(a[m].r[i]));
    }
#pragma unroll
    for (int n = 0; n < kCols; ++n) {
      const uint4 b = *reinterpret_cast<const uint4*>(unit(n) + lane * 16);
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        mma_tf32(acc[m][n].lo, t[m][0], t[m][2], t[m][1], t[m][3], b.x, b.y);
        mma_tf32(acc[m][n].hi, t[m][0], t[m][2], t[m][1], t[m][3], b.z, b.w);
      }
    }
  } else {
    const int q = lane & 3;
#pragma unroll
    for (int k = 0; k < 8; ++k) {  // four lanes hold a row's eight values; each needs all of them
      float top[kRows], bottom[kRows];
#pragma unroll
      for (int m = 0; m < kRows; ++m) {
        top[m] = __uint_as_float(__shfl_sync(0xffffffffu, a[m].r[k & 1], (lane & ~3) | (k >> 1)));
        bottom[m] = __uint_as_float(__shfl_sync(0xffffffffu, a[m].r[2 + (k & 1)], (lane & ~3) | (k >> 1)));
      }
#pragma unroll
      for (int n = 0; n < kCols; ++n) {
        const float4 b = *reinterpret_cast<const float4*>(unit(n) + k * 64 + q * 16);
#pragma unroll
        for (int m = 0; m < kRows; ++m) add_product(acc[m][n], top[m], bottom[m], b);
      }
    }
  }
}

/// The same in FP32 of rows that lie in shared memory: `four(m, half, channel)` gives four channels, of eight, of row lane / 4 + 8 half of
/// the m-th 16 rows. The lanes of a row read them together, so that nothing passes between lanes.
template <int kRows, int kCols, class FourAt, class UnitAt>
FCM_DEVICE void multiply_rows(Accumulator (&acc)[kRows][kCols], FourAt four, UnitAt unit, int lane) {
#pragma unroll
  for (int k = 0; k < 8; k += 4) {
    float4 a[kRows][2];
#pragma unroll
    for (int i = 0; i < 2 * kRows; ++i) a[i / 2][i % 2] = four(i / 2, i % 2, k);
#pragma unroll
    for (int i = 0; i < 4; ++i) {
#pragma unroll
      for (int n = 0; n < kCols; ++n) {
        const float4 b = *reinterpret_cast<const float4*>(unit(n) + (k + i) * 64 + (lane & 3) * 16);
#pragma unroll
        for (int m = 0; m < kRows; ++m) add_product(acc[m][n], element(a[m][0], i), element(a[m][1], i), b);
      }
    }
  }
}

/// Reads a left operand from rows in shared memory. `rows` is the address of row 0, `pitch` bytes from row to row, `channel` the first of
/// ks.
template <Math M>
FCM_DEVICE AFragment<M> load_rows(const unsigned char* rows, int pitch, int channel, int lane) {
  AFragment<M> a;
  if constexpr (kIs16<M>) {
    ldmatrix(a.r, shared_address(rows + (lane & 15) * pitch + (channel + (lane >> 4) * 8) * 2));
  } else {
    const unsigned char* p = rows + (lane >> 2) * pitch + (channel + 2 * (lane & 3)) * 4;
    const uint2 top = *reinterpret_cast<const uint2*>(p);
    const uint2 bottom = *reinterpret_cast<const uint2*>(p + 8 * pitch);
    a.r[0] = top.x;
    a.r[1] = top.y;
    a.r[2] = bottom.x;
    a.r[3] = bottom.y;
  }
  return a;
}

/// Byte, within a row, of a lane's piece of the `k`-th 16 channels, where pieces trade places within `width` bytes; `first` is that of the
/// 0-th: see first_piece.
template <int width>
FCM_DEVICE u32 depth_offset(u32 first, int k) {
  if constexpr (width == 0) {
    return first + k * 32;
  } else {
    return (first ^ static_cast<u32>(k * 32 & (width - 1))) + (k * 32 & ~(width - 1));
  }
}
/// Of the lanes that give the rows of a 16 x 16 left operand, of which the first is a multiple of eight.
template <int width>
FCM_DEVICE u32 first_piece(int lane) {
  return static_cast<u32>(geometry::traded_piece(width, lane & 15, lane >> 4) * 16);
}

/// A left operand of 16 bits from rows whose pieces have traded places within `width` bytes: the `k`-th 16 channels.
template <Math M, int width>
FCM_DEVICE AFragment<M> load_traded_rows(const unsigned char* rows, int pitch, int k, int lane) {
  AFragment<M> a;
  ldmatrix(a.r, shared_address(rows + (lane & 15) * pitch) + depth_offset<width>(first_piece<width>(lane), k));
  return a;
}

/// The same from 16 rows of a slice of the depth (see geometry::slice_piece), of which the first is a multiple of eight: its `k`-th 16 (of
/// 32 bits: 8) channels.
template <Math M>
FCM_DEVICE AFragment<M> load_slice_rows(const unsigned char* rows, int k, int lane) {
  if constexpr (kIs16<M>) {
    return load_traded_rows<M, geometry::kSliceBytes>(rows, geometry::kSliceBytes, k, lane);
  } else {
    AFragment<M> a;
    const int row = lane >> 2, at = k * 8 + 2 * (lane & 3);
    const unsigned char* p = rows + row * geometry::kSliceBytes + geometry::slice_piece(4, row, at / 4) * 16 + at % 4 * 4;
    const uint2 top = *reinterpret_cast<const uint2*>(p);
    const uint2 bottom = *reinterpret_cast<const uint2*>(p + 8 * geometry::kSliceBytes);
    a.r[0] = top.x;
    a.r[1] = top.y;
    a.r[2] = bottom.x;
    a.r[3] = bottom.y;
    return a;
  }
}

/// Four FP32 channels from `channel` on of row lane / 4 + 8 half of 16 rows.
FCM_DEVICE float4 load_four(const unsigned char* rows, int pitch, int half, int channel, int lane) {
  return *reinterpret_cast<const float4*>(rows + (half * 8 + (lane >> 2)) * pitch + channel * 4);
}
/// The same of a slice.
FCM_DEVICE float4 load_slice_four(const unsigned char* rows, int half, int channel, int lane) {
  const int row = lane >> 2;
  return *reinterpret_cast<const float4*>(rows + (half * 8 + row) * geometry::kSliceBytes +
                                          geometry::slice_piece(4, row, channel / 4) * 16);
}

// ---- matrix instructions of a warpgroup (sm_90a): four warps, 64 rows, both operands from shared memory
// -------------------------------------

/// What a warpgroup reads: core matrices of 8 rows x 16 bytes, 128 bytes each; the next eight rows lie behind, the next 16 bytes of depth
/// `lead` bytes further.
FCM_DEVICE u64 core_matrices(u32 address, int lead) {
  return static_cast<u64>((address & 0x3ffffu) >> 4) | static_cast<u64>(lead >> 4) << 16 | static_cast<u64>(128 >> 4) << 32;
}
/// The same of rows of `width` bytes (32, 64 or 128) whose pieces stand as `geometry::traded_piece` says; `address` is a multiple of eight
/// rows, and further depth lies 32 bytes further.
FCM_DEVICE u64 traded_rows(u32 address, int width) {
  const u64 pattern = width == 128 ? 1 : width == 64 ? 2 : 3;
  return static_cast<u64>((address & 0x3ffffu) >> 4) | static_cast<u64>(1) << 16 | static_cast<u64>(8 * width >> 4) << 32 | pattern << 62;
}
FCM_DEVICE u64 slice_rows(u32 address) {
  return traded_rows(address, geometry::kSliceBytes);
}
/// Registers are ours to write (before the first instruction of a sequence); the sequence is closed, and has ended (but for the last
/// kPending).
FCM_DEVICE void warpgroup_begin() {
  if constexpr (kWarpgroups) asm volatile("wgmma.fence.sync.aligned;" ::: "memory");
}
FCM_DEVICE void warpgroup_end() {
  if constexpr (kWarpgroups) asm volatile("wgmma.commit_group.sync.aligned;\n\twgmma.wait_group.sync.aligned 0;" ::: "memory");
}
FCM_DEVICE void warpgroup_commit() {
  if constexpr (kWarpgroups) asm volatile("wgmma.commit_group.sync.aligned;" ::: "memory");
}
template <int kPending = 0>
FCM_DEVICE void warpgroup_wait() {
  if constexpr (kWarpgroups) asm volatile("wgmma.wait_group.sync.aligned %0;" ::"n"(kPending) : "memory");
}
/// Keeps the compiler from moving reads or writes of accumulators across this point.
FCM_DEVICE void hold(Accumulator& a) {
#pragma unroll
  for (int i = 0; i < 4; ++i) asm volatile("" : "+f"(a.lo[i]), "+f"(a.hi[i])::"memory");
}
template <int N>
FCM_DEVICE void hold(Accumulator (&c)[N]) {
#pragma unroll
  for (Accumulator& a : c) hold(a);
}

// clang-format off
#define FCM_SUM(i) "+f"(c[i].lo[0]), "+f"(c[i].lo[1]), "+f"(c[i].lo[2]), "+f"(c[i].lo[3]), \
                   "+f"(c[i].hi[0]), "+f"(c[i].hi[1]), "+f"(c[i].hi[2]), "+f"(c[i].hi[3])
#define FCM_SUMS1 FCM_SUM(0)
#define FCM_SUMS2 FCM_SUMS1, FCM_SUM(1)
#define FCM_SUMS3 FCM_SUMS2, FCM_SUM(2)
#define FCM_SUMS4 FCM_SUMS3, FCM_SUM(3)
#define FCM_SUMS5 FCM_SUMS4, FCM_SUM(4)
#define FCM_SUMS6 FCM_SUMS5, FCM_SUM(5)
#define FCM_SUMS7 FCM_SUMS6, FCM_SUM(6)
#define FCM_SUMS8 FCM_SUMS7, FCM_SUM(7)
#define FCM_SUMS9 FCM_SUMS8, FCM_SUM(8)
#define FCM_SUMS10 FCM_SUMS9, FCM_SUM(9)
#define FCM_SUMS11 FCM_SUMS10, FCM_SUM(10)
#define FCM_SUMS12 FCM_SUMS11, FCM_SUM(11)
#define FCM_SUMS13 FCM_SUMS12, FCM_SUM(12)
#define FCM_SUMS14 FCM_SUMS13, FCM_SUM(13)
#define FCM_SUMS15 FCM_SUMS14, FCM_SUM(14)
#define FCM_SUMS16 FCM_SUMS15, FCM_SUM(15)
#define FCM_R8 "%0, %1, %2, %3, %4, %5, %6, %7"
#define FCM_R16 FCM_R8 ", %8, %9, %10, %11, %12, %13, %14, %15"
#define FCM_R24 FCM_R16 ", %16, %17, %18, %19, %20, %21, %22, %23"
#define FCM_R32 FCM_R24 ", %24, %25, %26, %27, %28, %29, %30, %31"
#define FCM_R40 FCM_R32 ", %32, %33, %34, %35, %36, %37, %38, %39"
#define FCM_R48 FCM_R40 ", %40, %41, %42, %43, %44, %45, %46, %47"
#define FCM_R56 FCM_R48 ", %48, %49, %50, %51, %52, %53, %54, %55"
#define FCM_R64 FCM_R56 ", %56, %57, %58, %59, %60, %61, %62, %63"
#define FCM_R72 FCM_R64 ", %64, %65, %66, %67, %68, %69, %70, %71"
#define FCM_R80 FCM_R72 ", %72, %73, %74, %75, %76, %77, %78, %79"
#define FCM_R88 FCM_R80 ", %80, %81, %82, %83, %84, %85, %86, %87"
#define FCM_R96 FCM_R88 ", %88, %89, %90, %91, %92, %93, %94, %95"
#define FCM_R104 FCM_R96 ", %96, %97, %98, %99, %100, %101, %102, %103"
#define FCM_R112 FCM_R104 ", %104, %105, %106, %107, %108, %109, %110, %111"
#define FCM_R120 FCM_R112 ", %112, %113, %114, %115, %116, %117, %118, %119"
#define FCM_R128 FCM_R120 ", %120, %121, %122, %123, %124, %125, %126, %127"
#define FCM_WGMMA(tiles, columns, type, sums, a_at, b_at)                                                                             \
  if constexpr (N == tiles)                                                                                                          \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0;\n\t"                                                                          \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" sums "}, " a_at ", " b_at ", p, 1, 1, 0, 0; }" \
                 : FCM_SUMS##tiles : "l"(a), "l"(b) : "memory");
#define FCM_WGMMA_N(type)  \
  FCM_WGMMA(1, 16, type, FCM_R8, "%8", "%9") \
  FCM_WGMMA(2, 32, type, FCM_R16, "%16", "%17") \
  FCM_WGMMA(3, 48, type, FCM_R24, "%24", "%25") \
  FCM_WGMMA(4, 64, type, FCM_R32, "%32", "%33") \
  FCM_WGMMA(5, 80, type, FCM_R40, "%40", "%41") \
  FCM_WGMMA(6, 96, type, FCM_R48, "%48", "%49") \
  FCM_WGMMA(7, 112, type, FCM_R56, "%56", "%57") \
  FCM_WGMMA(8, 128, type, FCM_R64, "%64", "%65") \
  FCM_WGMMA(9, 144, type, FCM_R72, "%72", "%73") \
  FCM_WGMMA(10, 160, type, FCM_R80, "%80", "%81") \
  FCM_WGMMA(11, 176, type, FCM_R88, "%88", "%89") \
  FCM_WGMMA(12, 192, type, FCM_R96, "%96", "%97") \
  FCM_WGMMA(13, 208, type, FCM_R104, "%104", "%105") \
  FCM_WGMMA(14, 224, type, FCM_R112, "%112", "%113") \
  FCM_WGMMA(15, 240, type, FCM_R120, "%120", "%121") \
  FCM_WGMMA(16, 256, type, FCM_R128, "%128", "%129")
#define FCM_WGMMA_ROWS(tiles, columns, type, sums, a_at, b_at)                                                                        \
  if constexpr (N == tiles)                                                                                                          \
    asm volatile("{ .reg .pred p; setp.ne.b32 p, 1, 0;\n\t"                                                                          \
                 "wgmma.mma_async.sync.aligned.m64n" #columns "k16.f32." type "." type " {" sums "}, {" a_at "}, " b_at ", p, 1, 1, 0; }" \
                 : FCM_SUMS##tiles : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b) : "memory");
#define FCM_WGMMA_ROWS_N(type) \
  FCM_WGMMA_ROWS(1, 16, type, FCM_R8, "%8, %9, %10, %11", "%12") \
  FCM_WGMMA_ROWS(2, 32, type, FCM_R16, "%16, %17, %18, %19", "%20") \
  FCM_WGMMA_ROWS(3, 48, type, FCM_R24, "%24, %25, %26, %27", "%28") \
  FCM_WGMMA_ROWS(4, 64, type, FCM_R32, "%32, %33, %34, %35", "%36") \
  FCM_WGMMA_ROWS(6, 96, type, FCM_R48, "%48, %49, %50, %51", "%52") \
  FCM_WGMMA_ROWS(8, 128, type, FCM_R64, "%64, %65, %66, %67", "%68")
// clang-format on

/// c[64 x 16 N] += a[64 x 16] b[16 x 16 N], asynchronous until `warpgroup_end`. A warp holds 16 rows of c, in the layout of mma.
template <Math M, int N>
FCM_DEVICE void wgmma(Accumulator (&c)[N], u64 a, u64 b) {
  static_assert(N >= 1 && N <= 16, "16 to 256 columns");
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (M == Math::f16) {
    FCM_WGMMA_N("f16")
  } else {
    FCM_WGMMA_N("bf16")
  }
#endif
}

/// The same with a from registers: each warp's 16 rows, in the layout of mma. They are not to change until the sequence has ended.
template <Math M, int N>
FCM_DEVICE void wgmma_rows(Accumulator* c, const u32 (&a)[4], u64 b) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  if constexpr (M == Math::f16) {
    FCM_WGMMA_ROWS_N("f16");
  } else {
    FCM_WGMMA_ROWS_N("bf16");
  }
#endif
}
/// The same for any number of columns, of which 16 lie `apart` bytes from the next: as few instructions as there are widths for.
template <Math M, int N, int apart>
FCM_DEVICE void wgmma_all(Accumulator* c, const u32 (&a)[4], u64 b) {
  constexpr int wide = N >= 8 ? 8 : N >= 6 ? 6 : N, step = apart / 16;  // addresses in units of 16 bytes
  if constexpr (wide == 5) {
    wgmma_rows<M, 3>(c, a, b);
    wgmma_rows<M, 2>(c + 3, a, b + 3 * step);
  } else {
    wgmma_rows<M, wide>(c, a, b);
    if constexpr (N > wide) wgmma_all<M, N - wide, apart>(c + wide, a, b + wide * step);
  }
}
#undef FCM_WGMMA_ROWS_N
#undef FCM_WGMMA_ROWS
#undef FCM_WGMMA_N
#undef FCM_WGMMA
#undef FCM_SUM
#undef FCM_SUMS1
#undef FCM_SUMS2
#undef FCM_SUMS3
#undef FCM_SUMS4
#undef FCM_SUMS5
#undef FCM_SUMS6
#undef FCM_SUMS7
#undef FCM_SUMS8
#undef FCM_SUMS9
#undef FCM_SUMS10
#undef FCM_SUMS11
#undef FCM_SUMS12
#undef FCM_SUMS13
#undef FCM_SUMS14
#undef FCM_SUMS15
#undef FCM_SUMS16
#undef FCM_R8
#undef FCM_R16
#undef FCM_R24
#undef FCM_R32
#undef FCM_R40
#undef FCM_R48
#undef FCM_R56
#undef FCM_R64
#undef FCM_R72
#undef FCM_R80
#undef FCM_R88
#undef FCM_R96
#undef FCM_R104
#undef FCM_R112
#undef FCM_R120
#undef FCM_R128

}  // namespace fcm::kernel
