// Predicted bytes against brute force over tiles and pixels, and terms that must move the right way.
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <set>
#include <sstream>

#include "fcm/emit.h"
#include "planner/cost.h"
#include "planner/tile_search.h"
#include "tests/modules/all_tiles.h"
#include "tests/planner/graphs.h"

namespace fcm {
namespace {

using geometry::Geometry;
using ModuleShape = geometry::Shape;

/// Sectors of 32 bytes that the copies of a kernel without a first convolution ask for, from the addresses of every pixel of every tile.
double copied_input(const ModuleSpec& spec, const TileConfig& tile, int images) {
  const ModuleShape s = shape_of(spec, tile);
  const Geometry g = geometry::derive(s);
  const int pitch = g.in_pitch * g.el, chunk = s.streamed ? geometry::kSliceBytes : s.expand ? pitch : g.e_chunk * g.el;
  const geometry::Window w = g.flat ? geometry::Window{} : s.dw_window;
  double sectors = 0;
  const auto copy = [&](int pixel, int place) {
    for (int at = 0; at < pitch; at += chunk) {
      const int bytes = std::min(chunk, pitch - at), buffers = s.expand ? 1 : s.stages;
      for (int i = 0; i < buffers; ++i) {
        const bool from = (pixel * pitch + at) % 32 != 0, to = (place + i * g.e_bytes) % 32 != 0;
        sectors += copied_sectors(bytes, pitch, from, to) / buffers;
      }
    }
  };
  for (int ty = 0; ty < (g.flat ? g.tiles : g.ay.tiles); ++ty) {
    for (int tx = 0; tx < (g.flat ? 1 : g.ax.tiles); ++tx) {
      for (int i = 0; i < (g.flat ? g.core_px : g.image_px); ++i) {
        if (g.flat) {
          if (ty * s.tile_w + i < s.out_h * s.out_w) copy(ty * s.tile_w + i, i * (s.expand ? g.x_pitch : g.e_pitch));
          continue;
        }
        const int ey = i / g.ax.core + g.ay.core_at, ex = i % g.ax.core + g.ax.core_at;
        const int y = ty * s.tile_h * w.sh - w.top + ey, x = tx * s.tile_w * w.sw - w.left + ex;
        if (y < 0 || y >= s.mid_h || x < 0 || x >= s.mid_w) continue;
        copy(y * s.mid_w + x, s.expand ? i * g.x_pitch : ey * g.e_line + ex % w.sw * g.e_column + ex / w.sw * g.e_pitch);
      }
    }
  }
  return sectors * 32 * images * g.n_blocks * (s.streamed ? g.chunks : s.expand ? s.split : 1);
}

struct Case {
  const char* spec;
  const char* tile;
};

class Bytes : public testing::TestWithParam<Case> {};

TEST_P(Bytes, InputMatchesTheAddressesOfEveryPixel) {
  const ModuleSpec spec = parse_spec(GetParam().spec);
  const TileConfig tile = parse_tile(GetParam().tile);
  ASSERT_EQ(refusal(spec, tile, jit::Target{9, 0, true}), "");
  const double expected = copied_input(spec, tile, 3);
  EXPECT_NEAR(module_traffic(spec, tile, 3, device_model("a100")).input, expected, 0.005 * expected);
}

INSTANTIATE_TEST_SUITE_P(
    Modules, Bytes,
    testing::Values(Case{"nhwc 14x14 pw/64-384/f16/clip(0,6)", "t1x32_c64_n64_x1_w2.2.1_s2_e1.1_r1_b1"},
                    Case{"nhwc 14x10 pw/60-96/f16/relu pw/96-24/f16/identity", "t1x32_c32_n32_x3_w2.2.1_s1_e1.1_r1_b1"},
                    Case{"nhwc 15x13 dw3x3s1x1p1.1.1.1/48-48/f16/relu", "t4x7_c16_n16_x3_w2.1.1_s2_e1.1_r1_b1"},
                    Case{"nhwc 15x13 dw5x5s2x2p2.2.2.2/48-48/f16/relu pw/48-40/f16/identity", "t4x7_c48_n16_x1_w2.3.1_s2_e1.1_r1_b1"},
                    Case{"nhwc 15x13 dw3x3s2x2p0.0.1.1/48-48/f16/relu pw/48-40/f16/identity", "t7x6_c48_n48_x1_w4.2.1_s2_e1.1_r1_b1"},
                    Case{"nhwc 28x20 pw/24-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu pw/96-24/f16/identity residual=before from=input",
                         "t4x7_c32_n32_x3_w2.2.1_s1_e1.1_r1_b1"},
                    Case{"nhwc 15x20 pw/264-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu", "t4x7_c32_n16_x2_w2.2.1_s3_e1.2_r0_b1_wg_st"},
                    Case{"nhwc 7x7 pw/264-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu", "t7x7_c32_n16_x3_w2.2.1_s3_e2.2_r0_b1_so_i3"},
                    Case{"nhwc 28x20 pw/24-96/f16/relu dw3x3s2x2p1.1.1.1/96-96/f16/relu", "t7x10_c32_n16_x3_w8.1.1_s1_e1.1_r1_b1"}));

/// Share of the pixels of an expansion's tiles that stand alike within a line where they lie and, one behind the other, in shared memory.
double lying_alike(const geometry::Shape& s, const geometry::Geometry& g) {
  const geometry::Window& w = s.dw_window;
  double alike = 0, all = 0;
  for (int tile = 0; tile < g.tiles; ++tile) {
    for (int i = 0; i < g.image_px; ++i) {
      const int y = tile / g.ax.tiles * s.tile_h * w.sh - w.top + g.ay.core_at + i / g.ax.core;
      const int x = tile % g.ax.tiles * s.tile_w * w.sw - w.left + g.ax.core_at + i % g.ax.core;
      if (y < 0 || y >= s.mid_h || x < 0 || x >= s.mid_w) continue;
      ++all;
      alike += (y * s.mid_w + x - i) * g.in_pitch * g.el % 128 == 0 ? 1 : 0;
    }
  }
  return alike / all;
}

TEST(Sectors, LinesStandAlikeByTheAddressesOfEveryPixel) {
  for (const Case& c : {Case{"nhwc 14x14 pw/96-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu", "t2x14_c32_n16_x3_w2.2.1_s1_e1.1_r1_b1"},
                        Case{"nhwc 14x14 pw/112-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu", "t2x14_c32_n16_x3_w2.2.1_s1_e1.1_r1_b1"},
                        Case{"nhwc 14x14 pw/112-96/f16/relu dw5x5s2x2p2.2.2.2/96-96/f16/relu", "t4x7_c32_n16_x3_w2.2.1_s1_e1.1_r1_b1"},
                        Case{"nhwc 15x13 pw/80-96/f16/relu dw3x3s1x1p1.1.1.1/96-96/f16/relu", "t7x4_c32_n16_x3_w2.2.1_s1_e1.1_r1_b1"},
                        Case{"nhwc 28x28 pw/24-96/f16/relu dw3x3s2x2p0.0.1.1/96-96/f16/relu", "t2x4_c32_n16_x3_w2.2.1_s1_e1.1_r1_b1"}}) {
    const TiledModule m = tiled(parse_spec(c.spec), parse_tile(c.tile));
    EXPECT_NEAR(CopiedPixels().of(m.shape, m.geometry).as_they_lie, lying_alike(m.shape, m.geometry), 1e-12) << c.spec << ' ' << c.tile;
  }
}

/// Pairs of a sector and a 32-byte place that parts of it go to, piece by piece.
double pairs(int bytes, int from, int to) {
  std::set<std::pair<int, int>> seen;
  for (int at = 0; at < bytes; at += 16) seen.emplace((from + at) / 32, (to + at) / 32);
  return static_cast<double>(seen.size());
}

TEST(Sectors, AreAskedForOnceForEachPlaceTheyGoTo) {
  for (const int bytes : {128, 256, 384}) {
    for (const int from : {0, 16}) {
      for (const int to : {0, 16})
        EXPECT_EQ(copied_sectors(bytes, bytes, from != 0, to != 0), pairs(bytes, from, to)) << bytes << from << to;
    }
  }
}

// Read sectors over the least possible, of copies of pixels to rows of an odd pitch (Nsight Compute, H100, driver 580.159.04).
TEST(Sectors, MatchThoseOfCopiesOfKnownShape) {
  struct Copy {
    int bytes, pitch;
    double ratio;
  };
  for (const Copy& c : {Copy{64, 64, 1.417}, Copy{96, 96, 1.415}, Copy{128, 256, 1.5}, Copy{128, 1024, 1.5}, Copy{160, 1280, 1.379},
                        Copy{192, 1536, 1.396}, Copy{256, 2048, 1.5}, Copy{320, 2560, 1.408}}) {
    const double sectors = (copied_sectors(c.bytes, c.pitch, false, false) + copied_sectors(c.bytes, c.pitch, false, true)) / 2;
    EXPECT_NEAR(sectors / (c.bytes / 32), c.ratio, 0.06 * c.ratio) << c.bytes << " of " << c.pitch;
  }
}

/// Kernels of whole networks as a profiler counted them; see the file.
TEST(Sectors, MatchTheProfilersOnWholeNetworks) {
  const DeviceModel device = device_model("h200");
  std::ifstream file(FCM_TRAFFIC_TABLE);
  ASSERT_TRUE(file);
  int kernels = 0, held = 0, plain = 0, plain_held = 0;  // plain: without a depthwise stage
  double predicted = 0, measured = 0;
  for (std::string line; std::getline(file, line);) {
    if (line.starts_with('#')) continue;
    std::vector<std::string> cells;
    std::istringstream in(line);
    for (std::string cell; std::getline(in, cell, '\t');) cells.push_back(cell);
    ASSERT_EQ(cells.size(), 6U) << line;
    const double counted = std::stod(cells[3]);
    const double bytes = module_traffic(parse_spec(cells[4]), parse_tile(cells[5]), std::stoi(cells[2]), device).total();
    predicted += bytes, measured += counted;
    ++kernels;
    const int holds = std::abs(bytes - counted) <= 0.1 * counted ? 1 : 0;
    held += holds;
    if (cells[4].find("dw") == std::string::npos) ++plain, plain_held += holds;
  }
  EXPECT_EQ(kernels, 541);
  EXPECT_GE(held, 0.93 * kernels) << held << " of " << kernels;
  EXPECT_GE(plain_held, 0.95 * plain) << plain_held << " of " << plain;
  EXPECT_NEAR(predicted, measured, 0.02 * measured);
}

TEST(Cost, WeightsAreReadOnceABlockWhenTheyStay) {
  const ModuleSpec spec = parse_spec("nhwc 56x56 pw/24-144/f16/relu dw3x3s1x1p1.1.1.1/144-144/f16/relu pw/144-24/f16/identity");
  TileConfig tile = parse_tile("t8x8_c48_n32_x1_w4.1.1_s1_e1.1_r1_b1");
  const DeviceModel device = device_model("a100");  // which merges no equal reads
  const double stays = module_traffic(spec, tile, 64, device).weights;
  tile.resident = false;
  const double reloads = module_traffic(spec, tile, 64, device).weights;
  EXPECT_GT(reloads / stays, 64.0 * 49 / (device.sm_count * 4));
  EXPECT_LT(reloads / stays, 64.0 * 49 / device.sm_count + 0.5);
}

/// Blocks that copy equal records at once share the lines that stand alike on both sides, which of two chunks' records one may do, one not.
TEST(Cost, WeightsMeetByTheAddressesOfEveryRecord) {
  const ModuleSpec spec = parse_spec("nhwc 14x14 pw/80-200/f16/relu dw3x3s1x1p1.1.1.1/200-200/f16/relu pw/200-80/f16/identity");
  const TileConfig tile = parse_tile("t2x2_c112_n80_x1_w1.7.1_s1_e1.1_r1_b1");
  const ModuleShape s = shape_of(spec, tile);
  const Geometry g = geometry::derive(s);
  double alike = 0, shifted = 0;
  int shifted_records = 0;
  const auto count = [&](int bytes, int global, int shared) {
    const bool stands_alike = (shared - global) % 128 == 0;
    (stands_alike ? alike : shifted) += bytes;
    shifted_records += stands_alike ? 0 : 1;
  };
  for (int chunk = 0; chunk < g.chunks; ++chunk) {
    const int at = g.s_weights + chunk * (g.record_a + g.record_b);
    count(g.record_a, g.a_at + chunk * g.record_a, at);
    count(g.record_b, g.b_at + chunk * g.record_b, at + g.record_a);
  }
  ASSERT_EQ(shifted_records, 1);  // the first chunk's of the projection
  const double a_block = module_traffic(spec, tile, 1, device_model("h200")).weights / g.tiles;
  EXPECT_GT(a_block, shifted + 0.25 * alike);
  EXPECT_LT(a_block, shifted + 0.5 * alike);
  EXPECT_EQ(module_traffic(spec, tile, 1, device_model("a100")).weights / g.tiles, shifted + alike + s.n_tile * 4);  // no equal reads meet
}

TEST(Cost, ResidualFromTheInputIsFreeAndAnotherIsNot) {
  const std::string text = "nhwc 14x14 pw/64-384/f16/relu dw3x3s1x1p1.1.1.1/384-384/f16/relu pw/384-64/f16/identity residual=before";
  const TileConfig tile = parse_tile("t4x7_c32_n64_x1_w2.2.1_s1_e1.1_r1_b1");
  EXPECT_EQ(module_traffic(parse_spec(text + " from=input"), tile, 2, device_model("h200")).residual, 0);
  EXPECT_EQ(module_traffic(parse_spec(text), tile, 2, device_model("h200")).residual, 2.0 * 14 * 14 * 64 * 2);
}

TEST(Cost, NeverLessThanTheCompulsoryAccesses) {
  const DeviceModel device = device_model("h200");
  TileSearch search(device, {});
  for (const char* text : {"nhwc 56x56 pw/24-144/f16/relu dw3x3s1x1p1.1.1.1/144-144/f16/relu pw/144-24/f16/identity",
                           "nhwc 14x14 dw5x5s1x1p2.2.2.2/112-112/f16/silu pw/112-40/f16/identity", "nhwc 7x7 pw/320-1280/f16/relu"}) {
    const ModuleSpec spec = parse_spec(text);
    for (const int64_t images : {1, 8, 64}) {
      ASSERT_FALSE(search.tiles(spec, images).empty());
      for (const CostedTile& t : search.tiles(spec, images)) EXPECT_GE(t.cost.l2_bytes(), 2 * t.cost.elements) << to_string(t.tile);
    }
  }
}

TEST(Cost, DramIsTouchedBeyondTheL2) {
  const ModuleSpec spec = parse_spec("nhwc 112x112 pw/16-96/f16/relu");
  const DeviceModel device = device_model("h200");
  TileSearch search(device, {});
  EXPECT_EQ(search.tiles(spec, 1).front().cost.dram_bytes, 0);
  const Cost large = search.tiles(spec, 64).front().cost;
  EXPECT_GT(large.dram_bytes, 0.5 * large.traffic.output);
  EXPECT_GT(large.dram_us, 0);
}

Attention attention(AttentionFn fn, int64_t heads, int64_t tokens, int64_t qk, int64_t v, int64_t items_a_batch = 1) {
  Attention op;
  op.fn = fn;
  op.items = Dim(items_a_batch, true);
  op.heads = heads;
  op.queries = op.keys = tokens;
  op.qk_size = qk;
  op.v_size = v;
  return op;
}

// Layers of DeiT, MobileViT, Swin, LeViT and EfficientViT as an H100 ran them in FP16.
TEST(Cost, AttentionIsNearWhatWasMeasured) {
  struct Layer {
    Attention op;
    bool bias;
    int64_t batch;
    double us;
  };
  const std::vector<Layer> layers = {
      {attention(AttentionFn::softmax, 3, 197, 64, 64), false, 1, 3.19},
      {attention(AttentionFn::softmax, 3, 197, 64, 64), false, 64, 13.4},
      {attention(AttentionFn::softmax, 4, 256, 36, 36, 4), false, 64, 60.9},
      {attention(AttentionFn::softmax, 3, 49, 32, 32, 64), true, 64, 61.6},
      {attention(AttentionFn::softmax, 4, 196, 16, 32), true, 64, 11.8},
      {attention(AttentionFn::relu, 16, 196, 16, 16), false, 64, 11.3},
      {attention(AttentionFn::relu, 32, 49, 16, 16), false, 1, 2.05},
  };
  const DeviceModel device = device_model("h100");
  for (const Layer& layer : layers) {
    test::GraphBuilder b;
    const Attention& op = layer.op;
    const int64_t row = op.heads * (2 * op.qk_size + op.v_size);
    std::vector<ValueId> inputs = {b.input("x", {op.items, op.queries, row})};
    if (layer.bias) inputs.insert(inputs.end(), {kNoValue, kNoValue, b.constant("bias", {1, op.heads, op.queries, op.keys})});
    b.node("attention", op, inputs, {op.items, op.queries, op.heads * op.v_size});
    const double us = node_cost(b.graph, b.graph.nodes[0], layer.batch, DType::f16, device, {}).time_us;
    EXPECT_LT(us, 1.3 * layer.us) << to_string(Op(op)) << " batch " << layer.batch;
    EXPECT_GT(us, layer.us / 1.3) << to_string(Op(op)) << " batch " << layer.batch;
    EXPECT_GT(node_cost(b.graph, b.graph.nodes[0], layer.batch, DType::f32, device, {}).time_us, us) << to_string(Op(op));
  }
}

/// Rows of tokens through one layer, perhaps with a sum.
Graph layer_net(int64_t rows, int64_t outputs, int64_t depth, bool residual, UnaryFn activation) {
  test::GraphBuilder b;
  const Dim batch(rows, true);
  const ValueId x = b.input("x", {batch, depth});
  Gemm op;
  op.trans_b = true;
  op.activation = {activation, 0, 0};
  std::vector<ValueId> inputs = {x, b.constant("w", {outputs, depth}), b.constant("b", {outputs})};
  if (residual) inputs.push_back(b.input("r", {batch, outputs}));
  return b.finish({b.node("layer", op, std::move(inputs), {batch, outputs})});
}

// Shapes of transformers timed on an H200: cuBLASLt in FP16, its kernel and that of the activation behind it.
TEST(NodeCost, OfLayersOnTokensIsNearWhatWasMeasured) {
  struct Timed {
    int64_t rows, outputs, depth;
    bool residual;
    UnaryFn activation;
    double us;
  };
  const Timed timed[] = {{197, 192, 768, true, UnaryFn::identity, 3.8},     {196, 640, 128, false, UnaryFn::identity, 2.7},
                         {49, 768, 3072, true, UnaryFn::identity, 6.8},     {784, 192, 384, false, UnaryFn::identity, 3.1},
                         {1024, 768, 384, false, UnaryFn::hard_swish, 5.9}, {3136, 3072, 768, false, UnaryFn::gelu, 37.5},
                         {3136, 768, 3072, true, UnaryFn::identity, 23.8},  {12608, 192, 192, true, UnaryFn::identity, 6.8},
                         {12608, 576, 192, false, UnaryFn::identity, 11.7}, {12544, 1152, 384, false, UnaryFn::identity, 25.6},
                         {50176, 192, 384, false, UnaryFn::identity, 21.3}, {200704, 96, 96, true, UnaryFn::identity, 45.4}};
  const DeviceModel device = device_model("h200");
  for (const Timed& t : timed) {
    const Graph net = layer_net(t.rows, t.outputs, t.depth, t.residual, t.activation);
    const double us = node_cost(net, net.nodes[0], 1, DType::f16, device, {}).time_us;
    EXPECT_NEAR(std::log(us / t.us), 0, 0.25) << t.rows << " x " << t.depth << " -> " << t.outputs << ": " << us << " for " << t.us;
  }
}

// The same on CUDA cores.
TEST(NodeCost, OfLayersInFp32IsNearWhatWasMeasured) {
  struct Timed {
    int64_t rows, outputs, depth;
    double us;
  };
  const DeviceModel device = device_model("h200");
  for (const Timed& t : {Timed{196, 512, 512, 12.4}, Timed{1568, 512, 512, 32.0}, Timed{12544, 512, 512, 172.3}, Timed{196, 728, 728, 17.7},
                         Timed{49, 1536, 1024, 20.2}, Timed{784, 256, 256, 7.9}, Timed{3136, 1024, 1024, 175.1}}) {
    const Graph net = layer_net(t.rows, t.outputs, t.depth, false, UnaryFn::identity);
    const double us = node_cost(net, net.nodes[0], 1, DType::f32, device, {}).time_us;
    EXPECT_NEAR(std::log(us / t.us), 0, 0.25) << t.rows << " x " << t.depth << " -> " << t.outputs << ": " << us << " for " << t.us;
  }
}

TEST(NodeCost, StridesBeyondTheWindowLeaveInputOut) {
  test::GraphBuilder b;
  const ValueId x = b.input("x", {Dim(1, true), 64, 56, 56});
  const ValueId every = b.conv("every", x, 128, 1, 1), fourth = b.conv("fourth", x, 128, 1, 2);
  const Graph net = b.finish({every, fourth});
  const auto input = [&](size_t node) { return node_cost(net, net.nodes[node], 1, DType::f16, device_model("h200"), {}).traffic.input; };
  EXPECT_EQ(input(0), 2.0 * 64 * 56 * 56);
  EXPECT_EQ(input(1), input(0) / 4);
}

// All input channels lie in shared memory beside a chunk's weights: in FP32 that takes chunks of 16.
TEST(TileSearch, FindsTilesOfWideInputsInFp32) {
  const DeviceModel device = device_model("h200");
  TileSearch search(device, {});
  const ModuleSpec spec = parse_spec("nhwc 14x14 pw/512-512/f32/clip(0,6) dw3x3s1x1p1.1.1.1/512-512/f32/clip(0,6)");
  for (const int64_t batch : {1, 8, 64}) EXPECT_FALSE(search.tiles(spec, batch).empty()) << batch;
}

/// A tile's measured time.
struct Row {
  const char *spec, *tile;
  int batch;
  double us;
};

/// Microseconds of streamed tiles, launches in a graph (H100, driver 580.159.04, FP16).
TEST(Cost, OfStreamedTilesIsNearTheirMeasuredTime) {
  const char* const wide = "nhwc 14x14 pw/728-728/f16/relu dw3x3s1x1p1.1.1.1/728-728/f16/relu";
  const char* const small = "nhwc 7x7 pw/1024-1536/f16/relu dw3x3s1x1p1.1.1.1/1536-1536/f16/relu";
  const char* const large = "nhwc 55x55 pw/128-256/f16/identity dw3x3s1x1p1.1.1.1/256-256/f16/identity";
  const DeviceModel device = device_model("h100");
  for (const Row& r : {Row{wide, "t14x14_c128_n16_x6_w2.8.1_s3_e1.8_r0_b1_wg_st", 64, 48.92},
                       Row{wide, "t14x14_c192_n16_x4_w2.4.1_s4_e1.6_r0_b1_wg_so", 64, 52.91},
                       Row{wide, "t7x14_c96_n16_x8_w2.4.1_s4_e1.6_r0_b1_wg_st", 8, 10.7},
                       Row{wide, "t7x14_c16_n16_x46_w8.1.1_s8_e1.1_r0_b1_wg_st", 1, 6.89},
                       Row{small, "t7x7_c192_n16_x8_w2.4.1_s4_e1.6_r0_b1_wg_so_i4", 64, 31.98},
                       Row{small, "t7x7_c128_n16_x12_w2.4.1_s4_e1.8_r0_b1_wg_st_i2", 64, 35.05},
                       Row{small, "t7x7_c96_n16_x16_w4.2.1_s6_e1.3_r0_b1_wg_st", 8, 9.21},
                       Row{small, "t7x7_c32_n16_x48_w4.2.1_s8_e1.1_r0_b1_wg_st", 1, 6.63},
                       Row{large, "t14x14_c128_n16_x2_w2.8.1_s2_e1.8_r0_b1_wg_st", 64, 118.58}}) {
    const double predicted = module_cost(parse_spec(r.spec), parse_tile(r.tile), r.batch, device, {}).time_us;
    EXPECT_NEAR(predicted / r.us, 1.0, 0.3) << r.tile << " batch " << r.batch;
  }
}

/// The same of FP32 tiles, among copies of themselves at batch 1 (H200, driver 580.159.04).
TEST(Cost, OfFp32TilesIsNearTheirMeasuredTime) {
  const DeviceModel device = device_model("h200");
  for (const Row& r :
       {Row{"nhwc 56x56 pw/64-128/f32/clip(0,6) dw3x3s1x1p1.1.1.1/128-128/f32/clip(0,6)", "t14x14_c64_n16_x1_w2.4.1_s1_e4.2_r1_b1", 64,
            166.30},
        Row{"nhwc 56x56 pw/64-128/f32/clip(0,6) dw3x3s1x1p1.1.1.1/128-128/f32/clip(0,6)", "t14x14_c16_n16_x8_w8.1.1_s3_e2.1_r0_b1_st", 1,
            5.43},
        Row{"nhwc 28x28 pw/256-728/f32/identity dw3x3s1x1p1.1.1.1/728-728/f32/identity", "t14x14_c128_n16_x6_w2.4.1_s4_e4.2_r0_b1_so", 64,
            786.71},
        Row{"nhwc 14x14 pw/512-512/f32/clip(0,6)", "t1x64_c32_n112_x1_w2.4.1_s3_e1.1_r0_b1", 64, 216.94},
        Row{"nhwc 112x112 dw3x3s1x1p1.1.1.1/32-32/f32/clip(0,6) pw/32-64/f32/clip(0,6)", "t16x8_c32_n64_x1_w4.1.1_s2_e1.1_r1_b2", 64,
            170.87},
        Row{"nhwc 112x112 pw/16-96/f32/clip(0,6) dw3x3s2x2p1.1.1.1/96-96/f32/clip(0,6) pw/96-24/f32/identity",
            "t4x8_c96_n32_x1_w2.4.1_s1_e2.2_r1_b2", 8, 27.98},
        Row{"nhwc 14x14 pw/64-384/f32/clip(0,6) dw3x3s1x1p1.1.1.1/384-384/f32/clip(0,6) pw/384-64/f32/identity residual=after from=input",
            "t7x16_c64_n64_x6_w8.1.1_s1_e2.2_r1_b1", 8, 14.97}}) {
    const double predicted = predicted_cost(parse_spec(r.spec), parse_tile(r.tile), r.batch, device, {}).time_us;
    EXPECT_NEAR(predicted / r.us, 1.0, 0.35) << r.spec << " | " << r.tile << " batch " << r.batch << ": " << predicted << " for " << r.us;
  }
}

TEST(TileSearch, StreamsTheDepthOfWideInputs) {
  const DeviceModel device = device_model("h200");
  TileSearch search(device, {});
  const auto streams = [&](const char* text, int64_t batch) {
    const CostedTile& best = search.tiles(parse_spec(text), batch).front();
    EXPECT_EQ(refusal(parse_spec(text), best.tile, device), "");
    return best.tile.streamed;
  };
  EXPECT_TRUE(streams("nhwc 14x14 pw/728-728/f16/relu dw3x3s1x1p1.1.1.1/728-728/f16/relu", 64));
  EXPECT_TRUE(streams("nhwc 14x14 pw/728-728/f32/relu dw3x3s1x1p1.1.1.1/728-728/f32/relu", 64));
  EXPECT_TRUE(streams("nhwc 7x7 pw/1024-1536/bf16/relu dw3x3s1x1p1.1.1.1/1536-1536/bf16/relu", 64));
  EXPECT_FALSE(streams("nhwc 56x56 pw/24-144/f16/relu dw3x3s1x1p1.1.1.1/144-144/f16/relu", 64));
}

TEST(TileSearch, LeavesBlocksOfGridsThatDoNotFillTheCardAlone) {
  DeviceModel device = device_model("h200");
  device.kernels = nullptr;
  DeviceModel older = device_model("a100");
  TileSearch search(device, {}), without_early_launch(older, {});
  int alone = 0;
  for (const char* text :
       {"nhwc 56x56 pw/24-144/f16/relu dw3x3s1x1p1.1.1.1/144-144/f16/relu pw/144-24/f16/identity", "nhwc 7x7 pw/320-1280/f16/relu",
        "nhwc 14x14 pw/64-384/f16/relu dw3x3s1x1p1.1.1.1/384-384/f16/relu pw/384-64/f16/identity", "nhwc 14x14 pw/32-64/f16/relu"}) {
    const ModuleSpec spec = parse_spec(text);
    for (const int images : {1, 8, 64}) {
      for (const CostedTile& t : search.tiles(spec, images)) {
        const LaunchPlan launch = emit(spec, t.tile, device.target).launch;
        const int64_t blocks = launch.grid(images);
        const bool expected = launch.cluster > 1 ? 2 * blocks <= 132 : blocks <= 132 && blocks >= 44;
        EXPECT_EQ(t.tile.lone, expected) << text << " " << to_string(t.tile) << ", " << blocks << " blocks";
        alone += t.tile.lone ? 1 : 0;
      }
      for (const CostedTile& t : without_early_launch.tiles(spec, images)) EXPECT_FALSE(t.tile.lone);
    }
  }
  EXPECT_GT(alone, 4);
}

// The tile search looks at a few hundred tiles of those that candidate_tiles rates one by one.
TEST(TileSearch, IsNearTheBestOfAllTiles) {
  const DeviceModel device = device_model("h200");
  TileSearch search(device, {});
  for (const char* text :
       {"nhwc 14x14 pw/64-384/f16/relu dw3x3s1x1p1.1.1.1/384-384/f16/relu pw/384-64/f16/identity", "nhwc 7x7 pw/320-1280/f16/relu"}) {
    const ModuleSpec spec = parse_spec(text);
    for (const int batch : {1, 8}) {
      double best = INFINITY;
      for (const RatedTile& r : candidate_tiles(spec, batch, {device.target, 132}, 64))
        best = std::min(best, module_cost(spec, r.tile, batch, device, {}).time_us);
      EXPECT_LT(search.tiles(spec, batch).front().cost.time_us, 1.35 * best) << text << " batch " << batch;
    }
  }
}

TEST(DeviceModel, ShippedModelsAreWholeAndFoundByName) {
  const std::vector<std::string> keys = known_devices();
  EXPECT_EQ(keys.size(), 9u);
  for (const std::string& key : keys) {
    const DeviceModel m = device_model(key);
    EXPECT_EQ(m.key, key);
    EXPECT_GT(m.dram_at(1), 0);
    EXPECT_LE(m.dram_at(1), m.dram_at(m.sm_count));
    EXPECT_LE(shared_limit(m.target), m.shared_per_block_kib * 1024);
    EXPECT_EQ(m.step_pdl_us > 0, m.target.major >= 9);
    DeviceModel numbers = m;
    numbers.kernels = nullptr;
    EXPECT_EQ(parse_device_model(to_json(m), "again").fingerprint(), numbers.fingerprint());
    EXPECT_EQ(m.fingerprint() == numbers.fingerprint(), m.kernels == nullptr);
  }
  EXPECT_EQ(device_model("RTX A4000").key, "rtx-a4000");
  EXPECT_EQ(device_model("NVIDIA H200").key, "h200");
  EXPECT_THROW(device_model("voodoo 2"), std::exception);
}

TEST(DeviceModel, ALiveCardTakesItsModelAndASliceAScaledOne) {
  DeviceInfo info;
  info.name = "NVIDIA H200";
  info.target = {9, 0, true};
  info.sm_count = 132;
  info.clock_khz = 1980000;
  info.l2_bytes = 60 << 20;
  info.shared_per_block = 227 << 10;
  info.shared_per_sm = 228 << 10;
  info.tensor_cores = true;
  std::string note;
  EXPECT_EQ(device_model_for(info, &note).fingerprint(), device_model("h200").fingerprint());
  EXPECT_EQ(note, "");
  info.name = "NVIDIA H200 MIG 1g.18gb";
  info.sm_count = 16;
  const DeviceModel slice = device_model_for(info, &note);
  EXPECT_NE(note, "");
  EXPECT_EQ(slice.sm_count, 16);
  EXPECT_LT(slice.dram_gbps, device_model("h200").dram_gbps / 4);
}

TEST(DeviceModel, ADescribedCardTakesTheModelThatDescribesIt) {
  for (const std::string& key : known_devices()) {
    const DeviceModel model = device_model(key);
    std::string note;
    EXPECT_EQ(device_model_for(described_device(model), &note).fingerprint(), model.fingerprint()) << key;
    EXPECT_EQ(note, "") << key;
  }
  DeviceInfo orin = described_device(device_model("orin-agx"));
  orin.name = "Orin";  // all that its driver says
  EXPECT_EQ(device_model_for(orin).key, "orin-agx");
}

TEST(DeviceModel, BadFilesAreRefusedWithTheField) {
  EXPECT_THROW(parse_device_model("[]", "x.json"), std::exception);
  EXPECT_THROW(parse_device_model(R"({"key":"a","name":"A","target":"90a","clock":[1,"measured"]})", "x.json"), std::exception);
  EXPECT_THROW(parse_device_model(R"({"key":"a","name":"A","target":"90a","sm_count":[1,"guess"]})", "x.json"), std::exception);
}

}  // namespace
}  // namespace fcm
