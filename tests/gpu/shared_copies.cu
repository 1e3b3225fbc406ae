// What copies of 16 bytes a thread (cp.async) into shared memory cost, by how pixels lie there: cycles of a warp's instruction, 512 bytes,
// with one block of 256 threads on each multiprocessor and the data in the L2. fcm/README.md ("Pieces that trade places") quotes an H200.
//
//   nvcc -O3 -std=c++17 -arch=sm_90a -o shared_copies tests/gpu/shared_copies.cu && ./shared_copies
//   ncu --metrics lts__t_sectors_srcunit_tex.sum ./shared_copies 4      # sectors asked for, with few rounds
#include <cuda_runtime.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <vector>

namespace {

constexpr int kThreads = 256, kPieces = 3072, kEach = kPieces / kThreads;  // 48 KiB a round
constexpr size_t kBlockBytes = 65536, kMore = 8 << 20;

/// Pixels of `pixel` bytes, of which `copied` are wanted from the `first` pixel on, as rows of `pitch` bytes.
struct Copy {
  const char* name;
  int pixel, copied, pitch, first;
  int width;      // pieces trade places within so many bytes; 0: they do not
  bool by_piece;  // every piece of a pixel lies in a band of its own: core matrices of a warpgroup
  bool residue;   // odd pixels lie behind all even ones
};

constexpr Copy kCopies[] = {
    {"64 channels, pitch", 128, 128, 144, 0, 0, false, false},
    {"64 channels, traded", 128, 128, 128, 0, 128, false, false},
    {"64 channels, core matrices", 128, 128, 16, 0, 0, true, false},
    {"32 channels, pitch", 64, 64, 80, 0, 0, false, false},
    {"32 channels, traded", 64, 64, 64, 0, 64, false, false},
    {"32 channels, traded, odd begin", 64, 64, 64, 1, 64, false, false},
    {"32 channels, pitch, by residue", 64, 64, 80, 0, 0, false, true},
    {"16 channels, pitch", 32, 32, 48, 0, 0, false, false},
    {"16 channels, traded", 32, 32, 32, 0, 32, false, false},
    {"24 channels, as they lie", 48, 48, 48, 0, 0, false, false},
    {"72 channels, as they lie, by residue", 144, 144, 144, 0, 0, false, true},
    {"96 channels, pitch", 192, 192, 208, 0, 0, false, false},
    {"96 channels, traded", 192, 192, 192, 0, 64, false, false},
    {"slices of 728 channels", 1456, 128, 128, 0, 128, false, false},
    {"slices of 768 channels", 1536, 128, 128, 0, 128, false, false},
};

/// Byte in global memory (x) and in shared memory (y) of the `i`-th piece in order of lanes.
int2 place(const Copy& c, int i) {
  const int own = c.copied / 16, px = i / own, piece = i % own, pixels = kPieces / own;
  const int row = c.residue ? px % 2 * (pixels / 2 + 4) + px / 2 : px;
  const int traded = c.width == 0 ? piece : piece ^ (px * c.width / 128 % (c.width / 16));
  return {(px + c.first) * c.pixel + piece * 16, row * c.pitch + (c.by_piece ? piece * (pixels + 1) * 16 : traded * 16)};
}

__global__ void copy(const char* from, const int2* places, long long* cycles, int rounds) {
  extern __shared__ __align__(1024) char shared[];
  const auto to = static_cast<uint32_t>(__cvta_generic_to_shared(shared));
  const char* mine = from + blockIdx.x * kBlockBytes;
  int2 at[kEach];
#pragma unroll
  for (int i = 0; i < kEach; ++i) at[i] = places[threadIdx.x + i * kThreads];
  __syncthreads();
  const long long begin = clock64();
  for (int round = 0; round < rounds; ++round) {
#pragma unroll
    for (int i = 0; i < kEach; ++i)
      asm volatile("cp.async.cg.shared.global [%0], [%1], 16;" ::"r"(to + at[i].y), "l"(mine + at[i].x) : "memory");
    asm volatile("cp.async.commit_group;\n\tcp.async.wait_group 2;" ::: "memory");
  }
  asm volatile("cp.async.wait_group 0;" ::: "memory");
  __syncthreads();
  if (threadIdx.x == 0) cycles[blockIdx.x] = clock64() - begin;
}

void check(cudaError_t error, const char* what) {
  if (error == cudaSuccess) return;
  std::fprintf(stderr, "%s: %s\n", what, cudaGetErrorString(error));
  std::exit(1);
}

}  // namespace

int main(int argc, char** argv) {
  const int rounds = argc > 1 ? std::atoi(argv[1]) : 200, warm = argc > 1 ? 0 : 2;
  int blocks = 0;
  check(cudaDeviceGetAttribute(&blocks, cudaDevAttrMultiProcessorCount, 0), "device");
  char* from = nullptr;
  int2* places = nullptr;
  long long* cycles = nullptr;
  const size_t bytes = static_cast<size_t>(blocks) * kBlockBytes + kMore;
  check(cudaMalloc(&from, bytes), "cudaMalloc");
  check(cudaMemset(from, 1, bytes), "cudaMemset");
  check(cudaMalloc(&places, kPieces * sizeof(int2)), "cudaMalloc");
  check(cudaMalloc(&cycles, static_cast<size_t>(blocks) * sizeof(long long)), "cudaMalloc");
  constexpr int kShared = 200 * 1024;
  check(cudaFuncSetAttribute(copy, cudaFuncAttributeMaxDynamicSharedMemorySize, kShared), "shared memory");
  for (const Copy& c : kCopies) {
    std::vector<int2> at;
    for (int i = 0; i < kPieces; ++i) at.push_back(place(c, i));
    check(cudaMemcpy(places, at.data(), at.size() * sizeof(int2), cudaMemcpyHostToDevice), "cudaMemcpy");
    for (int i = 0; i <= warm; ++i) copy<<<blocks, kThreads, kShared>>>(from, places, cycles, rounds);
    std::vector<long long> taken(static_cast<size_t>(blocks));
    check(cudaMemcpy(taken.data(), cycles, taken.size() * sizeof(long long), cudaMemcpyDeviceToHost), "copy");
    long long most = 0;
    for (const long long t : taken) most = t > most ? t : most;
    std::printf("%-38s %6.2f cycles a warp's instruction\n", c.name, static_cast<double>(most) / rounds / (kPieces / 32));
  }
}
