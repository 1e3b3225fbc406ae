// Where a block works, and how its inputs come into shared memory: pixels as they lie, or patches of a first convolution gathered,
// normalised and converted on the way; and the packed weights of a chunk.
#pragma once

#include "fcm/kernels/args.h"
#include "fcm/kernels/async.cuh"

namespace fcm::kernel {

/// Shape and sizes of the kernel being compiled; Cfg is written by emit.
template <class Cfg>
struct Of {
  static constexpr Shape S = Cfg::shape;
  static constexpr Geometry G = geometry::derive(S);
};

/// One piece of work: an output tile of one image, or (flat) a run of pixels.
struct Tile {
  int image;          // the first; unused when pixels run across images
  int images;         // that exist, of a tile of whole images
  int index;          // within the image
  int oy, ox;         // first output row and column
  int rows, columns;  // that exist
  long long base;     // first output pixel counted over the batch
  int first;          // flat: first pixel counted over the batch
  int end;            // flat: first pixel that is not this tile's
};

template <class Cfg>
FCM_DEVICE int works_of(int batch) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  return geometry::work_items(S, G, batch);
}

template <class Cfg>
FCM_DEVICE Tile locate(int work, int batch) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int plane = S.out_h * S.out_w;
  Tile t{};
  if constexpr (G.flat && S.pool == Pool::none) {
    t.first = work * S.tile_w;
    t.end = batch * plane;
  } else {
    t.image = work / G.tiles * S.images;
    t.index = work % G.tiles;
    t.images = geometry::min_of(S.images, batch - t.image);
    if constexpr (G.flat) {
      t.first = t.image * plane + t.index * S.tile_w;
      t.end = (t.image + 1) * plane;
    } else {
      t.oy = (t.index / G.ax.tiles) * S.tile_h;
      t.ox = (t.index % G.ax.tiles) * S.tile_w;
      t.rows = S.out_h % S.tile_h == 0 ? S.tile_h : geometry::min_of(S.tile_h, S.out_h - t.oy);
      t.columns = S.out_w % S.tile_w == 0 ? S.tile_w : geometry::min_of(S.tile_w, S.out_w - t.ox);
      t.base = (static_cast<long long>(t.image) * S.out_h + t.oy) * S.out_w + t.ox;
    }
  }
  return t;
}

/// A pixel of the core region, relative to the tile: where its row lies in a chunk buffer, and its row and column in the halo'd region.
/// The same for every tile, so a block computes the table once. Entries beyond the core region are zero: their rows are computed but
/// never stored. Whether the pixel lies in the plane is marked anew for tiles at its border.
struct Place {
  u16 line;    // of 16 bytes
  u16 inside;  // all bits or none
  u32 yx;      // row << 16 | column

  FCM_DEVICE int offset() const { return line * 16; }
};

template <class Cfg>
FCM_DEVICE void make_places(Place* table, int thread) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (!G.flat) {
    constexpr Window w = Of<Cfg>::S.dw_window;
    for (int px = thread; px < G.sites; px += G.threads) {
      const int image = px / G.image_px, own = px % G.image_px;
      const int ey = own / G.ax.core + G.ay.core_at, ex = own % G.ax.core + G.ax.core_at;
      const int offset = (image * G.image_pairs * 2 * w.sh + ey) * G.e_line + (ex % w.sw) * G.e_column + ex / w.sw * G.e_pitch;
      const bool core = px < G.core_px;
      const int y = ey + image * Of<Cfg>::S.mid_h;  // images lie below each other in memory too
      table[px] = Place{static_cast<u16>(core ? offset / 16 : 0), 0xffff, core ? static_cast<u32>(y << 16 | ex) : 0u};
    }
  }
}

/// A pixel of the region that the module reads, on the plane that the depthwise stage reads (flat: on the output plane).
struct Site {
  int image, y, x;
  bool inside;
  int offset;  // of its row in a chunk buffer
};

/// The `px`-th pixel of the core region (row by row), or of the pixel run.
template <class Cfg>
FCM_DEVICE Site site_of(const Tile& tile, const Place* table, int px) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  Site s;
  if constexpr (G.flat) {
    constexpr int plane = S.out_h * S.out_w;
    const int p = tile.first + px;
    s.inside = p < tile.end;
    s.image = p / plane;
    s.y = (p % plane) / S.out_w;
    s.x = (p % plane) % S.out_w;
    s.offset = px * G.e_pitch;
  } else {
    constexpr Window w = S.dw_window;
    const Place& at = table[px];
    s.image = tile.image;
    s.y = tile.oy * w.sh - w.top + static_cast<int>(at.yx >> 16);
    s.x = tile.ox * w.sw - w.left + static_cast<int>(at.yx & 0xffffu);
    s.inside = static_cast<u32>(s.y) < static_cast<u32>(S.mid_h) && static_cast<u32>(s.x) < static_cast<u32>(S.mid_w);
    s.offset = at.offset();
  }
  return s;
}

/// Whether some pixels of the tile's region lie outside the plane.
template <class Cfg>
FCM_DEVICE bool touches_border(const Tile& tile) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  if constexpr (G.flat || G.tiles == 1) return false;
  const int y = tile.oy * w.sh - w.top + G.ay.core_at, x = tile.ox * w.sw - w.left + G.ax.core_at;
  return y < 0 || x < 0 || y + G.ay.core > S.mid_h || x + G.ax.core > S.mid_w;
}

/// Whether some tiles' regions reach beyond the plane where they are computed: what lies there is the padding of the depthwise stage.
template <class Cfg>
FCM_CONSTEXPR bool crosses_border() {
  return Of<Cfg>::S.expand && !Of<Cfg>::G.flat && Of<Cfg>::G.tiles > 1;
}

/// Marks the pixels of a tile's core region that lie in the plane.
template <class Cfg>
FCM_DEVICE void mark_inside(const Tile& tile, Place* table, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Window w = S.dw_window;
  const int y0 = tile.oy * w.sh - w.top, x0 = tile.ox * w.sw - w.left;
  for (int px = thread; px < Of<Cfg>::G.core_px; px += Of<Cfg>::G.threads) {
    const u32 yx = table[px].yx;
    const u32 y = static_cast<u32>(y0 + static_cast<int>(yx >> 16)), x = static_cast<u32>(x0 + static_cast<int>(yx & 0xffffu));
    table[px].inside = y < static_cast<u32>(S.mid_h) && x < static_cast<u32>(S.mid_w) ? 0xffff : 0;
  }
}

/// Copies kPieces x 16 bytes of every pixel of the core region (flat: of the run) from the NHWC input, from its channel `first` on; zeros
/// outside the plane, the run and the channels. `to(px, offset, piece)` is the address in shared memory, where `offset` is that of the
/// pixel's row in a chunk buffer.
template <class Cfg, int kPieces, class To>
FCM_DEVICE void copy_region(const ModuleArgs& args, const Tile& tile, const Place* table, int first, int thread, To to) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr Window w = S.dw_window;
  constexpr int pixel_bytes = G.in_pitch * G.el, total = G.core_px * kPieces, steps = geometry::ceil_div(total, G.threads);
  constexpr int kTogether = geometry::min_of(steps, 4);  // whose places are read before the first is copied
  constexpr bool exact = total % G.threads == 0 && steps % kTogether == 0;
  using Walk = Deal<kPieces, G.threads>;
  const int y0 = tile.oy * w.sh - w.top, x0 = tile.ox * w.sw - w.left;
  const long long corner = G.flat ? static_cast<long long>(tile.first) : (static_cast<long long>(tile.image) * S.mid_h + y0) * S.mid_w + x0;
  const unsigned char* origin = static_cast<const unsigned char*>(args.input) + corner * pixel_bytes + first * G.el;
  const bool border = touches_border<Cfg>(tile);
  Walk walk = Walk::from(anew<1024>(thread));
  for (int step = 0; step < steps; step += kTogether) {
    Walk at[kTogether];
    u32 yx[kTogether] = {};
    int offset[kTogether] = {};
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      at[i] = walk;
      walk.advance();
      if constexpr (G.flat) {
        offset[i] = at[i].row * G.e_pitch;
      } else {
        const Place& where = table[exact ? at[i].row : geometry::min_of(at[i].row, G.core_px - 1)];
        yx[i] = where.yx;
        if constexpr (G.copied) offset[i] = where.offset();
      }
    }
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      if (!exact && at[i].row >= G.core_px) break;
      bool valid = first + at[i].piece * G.vec < G.in_pitch;
      int source = at[i].row * pixel_bytes;
      if constexpr (G.flat) {
        valid = valid && tile.first + at[i].row < tile.end;
      } else {
        const int y = static_cast<int>(yx[i] >> 16), x = static_cast<int>(yx[i] & 0xffffu);
        source = (y * S.mid_w + x) * pixel_bytes;
        if constexpr (S.images > 1) valid = valid && y0 + y < tile.images * S.mid_h;
        if (border)
          valid = valid && static_cast<u32>(y0 + y) < static_cast<u32>(S.mid_h) && static_cast<u32>(x0 + x) < static_cast<u32>(S.mid_w);
      }
      copy16(to(at[i].row, offset[i], at[i].piece), origin + source + at[i].piece * 16, valid);
    }
  }
}

/// One input element of the first convolution as float, before normalisation.
template <class Cfg>
FCM_DEVICE float input_element(const void* input, int image, int y, int x, int c) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  const long long row = static_cast<long long>(image) * S.in_h + y;
  if constexpr (S.input == InputFormat::nchw_f32) {
    return static_cast<const float*>(input)[((static_cast<long long>(image) * S.in_c + c) * S.in_h + y) * S.in_w + x];
  } else if constexpr (S.input == InputFormat::nhwc_u8) {
    return static_cast<float>(static_cast<const unsigned char*>(input)[(row * S.in_w + x) * S.in_c + c]);
  } else if constexpr (kIs16<S.math>) {
    return widen<S.math>(static_cast<const u16*>(input)[(row * S.in_w + x) * G.in_pitch + c]);
  } else {
    return static_cast<const float*>(input)[(row * S.in_w + x) * G.in_pitch + c];
  }
}

/// Writes the patch under one output pixel of the first convolution as a row of `depth` elements, order (ky, kx, c), zeros behind: its
/// `piece`-th 16 bytes to `to(piece)`.
template <class Cfg, int depth, class To>
FCM_DEVICE void gather_patch(const ModuleArgs& args, const Site& s, To to) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Window w = S.conv_window;
  constexpr bool normalise = S.input != InputFormat::nhwc;
  constexpr int count = Vector<S.math>::kCount, kTogether = depth <= 32 ? depth : count;  // elements asked for before the first is used
  const int y0 = s.y * w.sh - w.top, x0 = s.x * w.sw - w.left;
#pragma unroll
  for (int first = 0; first < depth; first += kTogether) {
    float value[kTogether];
    bool inside[kTogether];
#pragma unroll
    for (int i = 0; i < kTogether; ++i) {
      const int k = first + i, c = k % S.in_c, kx = (k / S.in_c) % w.kw, ky = k / (S.in_c * w.kw);
      const int y = y0 + ky * w.dh, x = x0 + kx * w.dw;
      inside[i] = ky < w.kh && s.inside && y >= 0 && y < S.in_h && x >= 0 && x < S.in_w;
      value[i] = inside[i] ? input_element<Cfg>(args.input, s.image, y, x, c) : 0.0f;
    }
#pragma unroll
    for (int v = 0; v < kTogether && first + v < depth; v += count) {
      Vector<S.math> out;
#pragma unroll
      for (int i = 0; i < count; ++i) {
        const int c = (first + v + i) % S.in_c;
        out.v[i] = value[v + i];
        if (normalise && inside[v + i]) out.v[i] = out.v[i] * args.scale[c] + args.shift[c];
      }
      *reinterpret_cast<uint4*>(to((first + v) / count)) = out.raw();
    }
  }
}

/// Byte, in the input tile of the expansion, of the `piece`-th 16 bytes of pixel `px`.
template <class Cfg>
FCM_DEVICE int input_place(int px, int piece) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.x_band > 0) {
    constexpr int own = G.x_width / 16;  // pieces of a row that lie together
    return piece / own * G.x_band + px * G.x_pitch + geometry::traded_piece(G.x_width, px, piece % own) * 16;
  } else {
    return px * G.x_pitch + geometry::traded_piece(G.x_width, px, piece) * 16;
  }
}

/// Input tile of the expansion: all channels (or whole patches) of the core region.
template <class Cfg>
FCM_DEVICE void load_input_tile(const ModuleArgs& args, const Tile& tile, const Place* table, unsigned char* x, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (S.conv) {
    for (int px = thread; px < G.core_px; px += G.threads)
      gather_patch<Cfg, G.k1>(args, site_of<Cfg>(tile, table, px), [&](int piece) { return x + input_place<Cfg>(px, piece); });
  } else {
    constexpr int bytes = G.x_band > 0 || G.el == 4 ? G.k1 * G.el : G.x_pitch;  // with zeros behind the channels, or as they lie
    const u32 rows = shared_address(x);
    copy_region<Cfg, bytes / 16>(args, tile, table, 0, thread, [&](int px, int, int piece) { return rows + input_place<Cfg>(px, piece); });
  }
}

/// The `slice`-th part of the input tile's depth (a streamed expansion).
template <class Cfg>
FCM_DEVICE void load_input_slice(const ModuleArgs& args, const Tile& tile, const Place* table, int slice, unsigned char* x, int thread) {
  constexpr Geometry G = Of<Cfg>::G;
  const u32 rows = shared_address(x);
  copy_region<Cfg, G.slice / G.vec>(args, tile, table, slice * G.slice, thread, [&](int px, int, int piece) {
    return rows + px * geometry::kSliceBytes + geometry::slice_piece(G.el, px, piece) * 16;
  });
}

/// The `slice`-th part of the expansion's weights of a chunk.
template <class Cfg>
FCM_DEVICE void load_weight_slice(const ModuleArgs& args, int chunk, int slice, unsigned char* to, int thread) {
  constexpr Geometry G = Of<Cfg>::G;
  const unsigned char* slices = static_cast<const unsigned char*>(args.weights) + G.slices_at;
  copy_linear<G.threads>(to, slices + (static_cast<long long>(chunk) * G.slices + slice) * G.weight_slice, G.weight_slice, thread);
}

/// The chunk's channels of the gates of the images that a run of pixels touches, one row an image.
template <class Cfg>
FCM_DEVICE void copy_gate(const ModuleArgs& args, const Tile& tile, int chunk, u32 to, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  constexpr int pieces = G.e_chunk / G.vec, plane = S.out_h * S.out_w;
  const int first_image = tile.first / plane;
  using Walk = Deal<pieces, G.threads>;
  for (Walk w = Walk::from(thread); w.row < G.gate_rows; w.advance()) {
    const int image = first_image + w.row, channel = chunk * G.e_chunk + w.piece * G.vec;
    const bool valid = image < args.batch && channel < G.in_pitch;
    const unsigned char* from = static_cast<const unsigned char*>(args.gate);
    if (valid) from += (static_cast<long long>(image) * G.in_pitch + channel) * G.el;
    copy16(to + (w.row * pieces + w.piece) * 16, from, valid);
  }
}

/// A chunk of channels straight from the input into a chunk buffer (modules that start with the depthwise stage or a projection).
template <class Cfg>
FCM_DEVICE void load_chunk(const ModuleArgs& args, const Tile& tile, const Place* table, int chunk, unsigned char* e, int thread) {
  constexpr Shape S = Of<Cfg>::S;
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (S.conv) {
    for (int px = thread; px < G.core_px; px += G.threads) {
      const Site s = site_of<Cfg>(tile, table, px);
      gather_patch<Cfg, G.e_chunk>(args, s, [&](int piece) { return e + s.offset + piece * 16; });
    }
  } else {
    const u32 rows = shared_address(e);
    copy_region<Cfg, G.e_chunk / G.vec>(args, tile, table, chunk * G.e_chunk, thread, [&](int px, int offset, int piece) {
      return rows + offset + geometry::traded_piece(G.e_width, px, piece) * 16;
    });
    if constexpr (S.gate) copy_gate<Cfg>(args, tile, chunk, rows + G.gate_at, thread);
  }
}

/// Where the packed weights of a chunk lie: those of the expansion and depthwise stage, and those of the projection to this block's
/// columns.
struct PackedWeights {
  const unsigned char *a, *b;
};
template <class Cfg>
FCM_DEVICE PackedWeights packed_weights(const ModuleArgs& args, int chunk, int n_block) {
  constexpr Geometry G = Of<Cfg>::G;
  const unsigned char* blob = static_cast<const unsigned char*>(args.weights);
  const long long record = static_cast<long long>(chunk) * G.n_blocks + n_block;
  return {blob + G.a_at + static_cast<long long>(chunk) * G.record_a, blob + G.b_at + record * G.record_b};
}

/// A chunk's weights, by all threads.
template <class Cfg>
FCM_DEVICE void load_weights(PackedWeights from, unsigned char* stage, int thread) {
  constexpr Geometry G = Of<Cfg>::G;
  if constexpr (G.record_a > 0) copy_linear<G.threads>(stage, from.a, G.record_a, thread);
  if constexpr (G.record_b > 0) copy_linear<G.threads>(stage + G.record_a, from.b, G.record_b, thread);
}

/// The same by the copy engine; `barrier` tells when they are there.
template <class Cfg>
FCM_DEVICE void ask_for_weights(PackedWeights from, unsigned char* stage, u32 barrier, int thread) {
  constexpr Geometry G = Of<Cfg>::G;
  if (thread != 0 || G.record_a + G.record_b == 0) return;
  barrier_expect(barrier, G.record_a + G.record_b);
  if constexpr (G.record_a > 0) copy_bulk(shared_address(stage), from.a, G.record_a, barrier);
  if constexpr (G.record_b > 0) copy_bulk(shared_address(stage) + G.record_a, from.b, G.record_b, barrier);
}

}  // namespace fcm::kernel
