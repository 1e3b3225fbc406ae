// A reader for the one EXIF tag that changes what a network sees, and the eight ways to turn an image.
#include "runtime/image/exif.h"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>
#include <utility>

namespace fcm {
namespace {

using Bytes = std::span<const std::byte>;

/// Bounds-checked integers of either byte order.
class Reader {
 public:
  explicit Reader(Bytes bytes, bool little_endian = false) : bytes_(bytes), little_endian_(little_endian) {}

  std::optional<uint32_t> integer(size_t offset, size_t size) const {
    if (offset > bytes_.size() || bytes_.size() - offset < size) return std::nullopt;
    uint32_t value = 0;
    for (size_t i = 0; i < size; ++i) {
      const size_t at = little_endian_ ? offset + size - 1 - i : offset + i;
      value = value << 8 | std::to_integer<uint32_t>(bytes_[at]);
    }
    return value;
  }
  std::optional<uint32_t> u16(size_t offset) const { return integer(offset, 2); }
  std::optional<uint32_t> u32(size_t offset) const { return integer(offset, 4); }

 private:
  Bytes bytes_;
  bool little_endian_;
};

bool starts_with(Bytes bytes, std::string_view magic) {
  return bytes.size() >= magic.size() && std::memcmp(bytes.data(), magic.data(), magic.size()) == 0;
}

/// The tag in the first directory of a TIFF block.
int tiff_orientation(Bytes tiff) {
  constexpr uint32_t kTag = 0x0112;
  constexpr uint32_t kShort = 3;
  constexpr uint32_t kLong = 4;
  const bool little = starts_with(tiff, "II");
  if (!little && !starts_with(tiff, "MM")) return 1;
  const Reader reader(tiff, little);
  if (reader.u16(2) != 42) return 1;
  const size_t directory = reader.u32(4).value_or(0);
  const size_t entries = reader.u16(directory).value_or(0);
  for (size_t i = 0; i < entries; ++i) {
    const size_t entry = directory + 2 + 12 * i;
    const auto tag = reader.u16(entry);
    if (!tag) return 1;
    if (*tag != kTag) continue;
    const auto type = reader.u16(entry + 2);
    const auto value = type == kShort ? reader.u16(entry + 8) : type == kLong ? reader.u32(entry + 8) : std::nullopt;
    return value && *value >= 1 && *value <= 8 ? static_cast<int>(*value) : 1;
  }
  return 1;
}

/// Walks the segments up to the start of the scan.
int jpeg_orientation(Bytes file) {
  constexpr std::string_view kExif("Exif\0\0", 6);
  const Reader reader(file);
  size_t at = 2;
  while (true) {
    const auto prefix = reader.integer(at, 1);
    const auto marker = reader.integer(at + 1, 1);
    if (prefix != 0xFF || !marker) return 1;
    if (*marker == 0xFF) {  // fill byte
      ++at;
      continue;
    }
    const auto length = reader.u16(at + 2);
    if (*marker == 0xDA || *marker == 0xD9 || !length || *length < 2) return 1;
    if (at + 2 + *length > file.size()) return 1;
    const Bytes segment = file.subspan(at + 4, *length - 2);
    if (*marker == 0xE1 && starts_with(segment, kExif)) return tiff_orientation(segment.subspan(kExif.size()));
    at += 2 + *length;
  }
}

/// Walks the chunks: length, type, data, CRC.
int png_orientation(Bytes file) {
  const Reader reader(file);
  size_t at = 8;
  while (true) {
    const auto length = reader.u32(at);
    if (!length || file.size() - at < 12 || file.size() - at - 12 < *length) return 1;
    const Bytes type = file.subspan(at + 4, 4);
    if (starts_with(type, "IEND")) return 1;
    if (starts_with(type, "eXIf")) return tiff_orientation(file.subspan(at + 8, *length));
    at += size_t{12} + *length;
  }
}

/// Where output pixel (x, y) comes from: swap the axes, then mirror each.
struct Turn {
  bool swap, mirror_x, mirror_y;
};

constexpr std::array<Turn, 9> kTurns = {{{},
                                         {false, false, false},
                                         {false, true, false},
                                         {false, true, true},
                                         {false, false, true},
                                         {true, false, false},
                                         {true, false, true},
                                         {true, true, true},
                                         {true, true, false}}};

}  // namespace

int exif_orientation(Bytes file) {
  if (starts_with(file, "\xFF\xD8\xFF")) return jpeg_orientation(file);
  if (starts_with(file, "\x89PNG\r\n\x1A\n")) return png_orientation(file);
  return 1;
}

Image upright(Image image, int orientation) {
  if (orientation <= 1 || orientation > 8) return image;
  const Turn turn = kTurns[static_cast<size_t>(orientation)];
  Image out(turn.swap ? image.height : image.width, turn.swap ? image.width : image.height);
  for (int y = 0; y < out.height; ++y) {
    uint8_t* to = out.row(y);
    for (int x = 0; x < out.width; ++x, to += 3) {
      int from_x = turn.swap ? y : x;
      int from_y = turn.swap ? x : y;
      if (turn.mirror_x) from_x = image.width - 1 - from_x;
      if (turn.mirror_y) from_y = image.height - 1 - from_y;
      std::copy_n(image.row(from_y) + ptrdiff_t{3} * from_x, 3, to);
    }
  }
  return out;
}

}  // namespace fcm
