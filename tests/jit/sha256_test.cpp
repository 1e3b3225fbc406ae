// Published test vectors (FIPS 180-4 examples) and block borders.
#include "runtime/jit/sha256.h"

#include <gtest/gtest.h>

using fcm::jit::Sha256;
using fcm::jit::sha256_hex;

TEST(Sha256, PublishedVectors) {
  EXPECT_EQ(sha256_hex(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256_hex("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq"),
            "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
  EXPECT_EQ(sha256_hex(std::string(1000000, 'a')), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
}

TEST(Sha256, PiecesEqualWhole) {
  for (const size_t size : {55U, 56U, 63U, 64U, 65U, 127U, 128U, 300U}) {
    const std::string text(size, 'x');
    Sha256 pieces;
    for (size_t i = 0; i < size; i += 7) pieces.update(std::string_view(text).substr(i, 7));
    EXPECT_EQ(pieces.hex(), sha256_hex(text)) << size;
  }
}

TEST(Sha256, FieldsDoNotRunTogether) {
  Sha256 a;
  a.update_field("ab");
  a.update_field("c");
  Sha256 b;
  b.update_field("a");
  b.update_field("bc");
  EXPECT_NE(a.hex(), b.hex());
}
