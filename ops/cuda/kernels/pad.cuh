// Pad: output coordinates to input coordinates along a padded axis; a negative result means the constant. Extents are at least 1.
#pragma once

#include "math.cuh"

struct PadConstant {
  __device__ __forceinline__ static int64 source(int64 at, int64 extent) { return at < 0 || at >= extent ? -1 : at; }
};
struct PadEdge {
  __device__ __forceinline__ static int64 source(int64 at, int64 extent) { return at < 0 ? 0 : (at >= extent ? extent - 1 : at); }
};
// Mirrors without repeating the border element.
struct PadReflect {
  __device__ __forceinline__ static int64 source(int64 at, int64 extent) {
    if (extent == 1) return 0;
    const int64 period = 2 * (extent - 1);
    const int64 m = ((at % period) + period) % period;
    return m < extent ? m : period - m;
  }
};
struct PadWrap {
  __device__ __forceinline__ static int64 source(int64 at, int64 extent) { return ((at % extent) + extent) % extent; }
};
