// Made by make_data.py: what Pillow says. Digests are FNV-1a over the RGB bytes.
#pragma once

#include <cstdint>

// clang-format off
struct ExpectedFile { const char* name; int width, height; uint64_t digest; };
inline constexpr ExpectedFile kFiles[] = {
    {"bilevel.png", 23, 17, 0x9263deea11137e71},
    {"cmyk.jpg", 24, 16, 0xf4e8b855b28c199d},
    {"grey.jpg", 23, 17, 0xee4eeb0162ddf272},
    {"grey.png", 23, 17, 0x3683215eef67217e},
    {"grey16.png", 11, 9, 0xdd9d7b62244abd9e},
    {"grey_alpha.png", 23, 17, 0x3683215eef67217e},
    {"odd420.jpg", 23, 17, 0x237f2ce165ece5fd},
    {"odd422.jpg", 23, 17, 0xceba0f9c029ca19e},
    {"odd444.jpg", 23, 17, 0xe8d9a2e5896519ec},
    {"orient.png", 16, 24, 0x49f6bad3c5479645},
    {"orient1.jpg", 24, 16, 0x2b0b075de38b781f},
    {"orient2.jpg", 24, 16, 0x15af446f465db4e7},
    {"orient3.jpg", 24, 16, 0xc3cedd00d13fada7},
    {"orient4.jpg", 24, 16, 0x1b2a23414d0bd83f},
    {"orient5.jpg", 16, 24, 0xe86d9ee4ba4d991f},
    {"orient6.jpg", 16, 24, 0xbcdeea268c991bb3},
    {"orient7.jpg", 16, 24, 0x621043636dc03a47},
    {"orient8.jpg", 16, 24, 0x42fce527b9f070cb},
    {"orient_long.jpg", 16, 24, 0xbcdeea268c991bb3},
    {"palette.gif", 23, 17, 0x2ef0e7371dbd2141},
    {"palette.png", 23, 17, 0x2ef0e7371dbd2141},
    {"palette_transparent.png", 23, 17, 0x2ef0e7371dbd2141},
    {"progressive.jpg", 23, 17, 0x237f2ce165ece5fd},
    {"rgb.bmp", 23, 17, 0x6cfb8d7d222522c8},
    {"rgb.jpg", 24, 16, 0x2b0b075de38b781f},
    {"rgb.png", 23, 17, 0x6cfb8d7d222522c8},
    {"rgb16.png", 11, 9, 0x24c0bb55bfca33ee},
    {"rgba.png", 23, 17, 0x6cfb8d7d222522c8},
    {"rgba16.png", 11, 9, 0x24c0bb55bfca33ee},
};

/// Of the synthetic image of 97 x 61 pixels; bilinear, bicubic, lanczos.
struct ExpectedResize { int width, height; uint64_t digest[3]; };
inline constexpr ExpectedResize kResizes[] = {
    {48, 30, {0xdfe6dd2c506f101e, 0xd81d0e6f9345c8a8, 0x9f90076fc290b0ff}},
    {31, 61, {0x96bca0dffa3791be, 0x5403bf1d16c5ed09, 0xe9a32fb5e65e1b7d}},
    {97, 40, {0xf2a5ad65014aadf2, 0xa7eacc805a5dd4cc, 0x85f29e8552a99eaa}},
    {97, 61, {0x0e158d87ff971c6d, 0x0e158d87ff971c6d, 0x0e158d87ff971c6d}},
    {200, 126, {0x1037b22252123211, 0x71d53f7712def274, 0x5527e0eb50b7695f}},
    {97, 150, {0x2232c6246366f5c4, 0x6f2ed322bd854840, 0x50cd9a5bef8af898}},
    {130, 61, {0x66d7c7c8781c7a30, 0xb088190a9a5f5ab6, 0xc8aeb0d16e2988cf}},
    {40, 90, {0xc6310654f2e2b639, 0xc1d237a88777eedf, 0x94c4611da975b869}},
    {1, 1, {0x2fba391ae17d4ca5, 0x2d34351adf582c47, 0x2d34351adf582c47}},
    {96, 60, {0x9ba80e72a46d38d5, 0x64cad79dfd8167aa, 0xd91f55d75e38a8b7}},
    {300, 61, {0xd20083b329f21bf7, 0x423dd94748fcb34b, 0xc24fafb6f51aedf7}},
};

/// Resize of the short side (bilinear) and centre crop of a synthetic image.
struct ExpectedFit { int width, height, resize, crop_width, crop_height; uint64_t digest; };
inline constexpr ExpectedFit kFits[] = {
    {97, 61, 32, 28, 28, 0x9c0d665d21becc19},
    {61, 97, 32, 28, 28, 0x81664865ba6e06b5},
    {97, 61, 61, 40, 40, 0xcc66686ad4b92d60},
    {97, 61, 33, 28, 28, 0xdaa387d74f3f25c8},
    {97, 61, 35, 32, 32, 0x2ba3928c2107ff37},
    {20, 20, 20, 33, 28, 0x75ef5a07ead5cd4e},
    {97, 61, 24, 32, 32, 0xab40eedc961bf037},
    {97, 61, 40, 48, 20, 0xe4b83a719bbaae94},
    {61, 97, 24, 31, 60, 0x43bb0dbc15bbacb2},
};

/// Photographs of ../shared/images: the decoded pixels, and resized by the three filters.
struct ExpectedPhoto { const char* name; int width, height; uint64_t pixels; uint64_t resized[3]; };
inline constexpr ExpectedPhoto kPhotos[] = {
    {"n01440764_tench.JPEG", 341, 256, 0xeabc0b5a98da2fd3, {0x3f844295d7d7ee11, 0x51426760c5021226, 0x31eb35a916d92b2d}},
    {"n01530575_brambling.JPEG", 340, 256, 0xa31761c7573ab709, {0x5d3bd26419eebe68, 0xdf331d86048d0efe, 0xe4e5b27798bb4308}},
    {"n02391049_zebra.JPEG", 341, 256, 0x40ac26504486f9ce, {0x9fb4a0bbebc95ff6, 0xbef4f1f0e77f8776, 0x99145aaef3d6520f}},
    {"n07747607_orange.JPEG", 256, 385, 0xf9e408e191b0061a, {0x2b49b34ba6579eb3, 0xcbe772717e4e5794, 0x8abec30bce5de9cb}},
};
// clang-format on
