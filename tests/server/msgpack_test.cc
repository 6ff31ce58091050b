#include "server/msgpack.h"

#include <cmath>
#include <limits>

#include "server/messages.h"

namespace saccade::server {
namespace {

/// The message outlives the value, as decode_message asks.
struct Decoded {
  explicit Decoded(std::string text)
      : message(std::move(text)), value(decode_message(bytes_of(message))) {}
  std::string message;
  Value value;
};

void decode(const std::string& message) { decode_message(bytes_of(message)); }

std::vector<double> numbers(const Packed& packed) {
  const Decoded decoded(packed.str());
  return finite_numbers(decoded.value, "key");
}

std::string text(const Packed& packed) {
  const Decoded decoded(packed.str());
  return utf8_text(decoded.value, "key");
}

TEST(Msgpack, ReadsArraysOfEveryNumericType) {
  using Numbers = std::vector<double>;
  EXPECT_EQ(numbers(Packed().array<std::int8_t>("|i1", {2}, {-3, 4})), (Numbers{-3, 4}));
  EXPECT_EQ(numbers(Packed().array<std::uint8_t>("|u1", {2}, {3, 255})), (Numbers{3, 255}));
  EXPECT_EQ(numbers(Packed().array<std::int16_t>("<i2", {1}, {-300})), Numbers{-300});
  EXPECT_EQ(numbers(Packed().array<std::uint32_t>("<u4", {1}, {4000000000u})), Numbers{4e9});
  EXPECT_EQ(numbers(Packed().array<std::int64_t>("<i8", {1}, {-5000000000})), Numbers{-5e9});
  EXPECT_EQ(numbers(Packed().array<std::uint16_t>("<f2", {2}, {0x3c00, 0xc500})), (Numbers{1, -5}));
  EXPECT_EQ(numbers(Packed().array<float>("<f4", {1}, {0.1f})), Numbers{double(0.1f)});
  EXPECT_EQ(numbers(Packed().array<double>("<f8", {}, {0.1})), Numbers{0.1});
  EXPECT_EQ(numbers(Packed().array("|b1", {2}, std::string("\0\1", 2))), (Numbers{0, 1}));
  EXPECT_EQ(numbers(Packed().array(">f4", {1}, std::string("\xc0\x20\0\0", 4))), Numbers{-2.5});
  EXPECT_EQ(numbers(Packed().array(">i2", {2}, std::string("\xff\xfe\1\2", 4))),
            (Numbers{-2, 258}));
  EXPECT_EQ(numbers(Packed().array<double>("<f8", {0}, {})), Numbers{});
}

TEST(Msgpack, ReadsListsAndScalars) {
  EXPECT_EQ(numbers(Packed().list(3).number(1).number(-2).number(0.5)),
            (std::vector<double>{1, -2, 0.5}));
  EXPECT_EQ(numbers(Packed().number(0.25f)), std::vector<double>{0.25});
  Packed scalar;
  scalar.map(3).bytes("__npgeneric__").number(true);
  scalar.bytes("data").number(0.5).bytes("dtype").text("<f4");
  EXPECT_EQ(numbers(scalar), std::vector<double>{0.5});
}

TEST(Msgpack, ReadsEveryFormOfText) {
  EXPECT_EQ(text(Packed().text("fold")), "fold");
  EXPECT_EQ(text(Packed().bytes("fold")), "fold");
  const std::vector<char32_t> wide{U'a', 0xe9, 0x20ac, 0x1f916, 0, 0};
  EXPECT_EQ(text(Packed().array("<U6", {}, wide)), "aé€🤖");
  EXPECT_EQ(text(Packed().array("<U6", {1}, wide)), "aé€🤖");
  EXPECT_EQ(text(Packed().array(">U1", {}, std::string("\0\0\0z", 4))), "z");
  EXPECT_EQ(text(Packed().array("|S4", {}, std::string("ab\0\0", 4))), "ab");
  EXPECT_EQ(text(Packed().array("<U0", {}, std::string())), "");
}

TEST(Msgpack, RefusesTextThatIsNone) {
  for (const char* bad : {"\xff", "\xc0\x80", "\xe0\x80\x80", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                          "ok\xe2\x82", "\x80"}) {
    EXPECT_REFUSED(text(Packed().text(bad)), "not valid UTF-8");
  }
  EXPECT_REFUSED(text(Packed().array<char32_t>("<U1", {}, {0xd800})), "not valid Unicode");
  EXPECT_REFUSED(text(Packed().array<char32_t>("<U1", {}, {0x110000})), "not valid Unicode");
  EXPECT_REFUSED(text(Packed().array<char32_t>("<U1", {2}, {U'a', U'b'})), "must be text");
  EXPECT_REFUSED(text(Packed().number(1)), "must be text");
  EXPECT_EQ(valid_utf8("a\xff\xe2\x82z€"), "a???z€");
}

TEST(Msgpack, RefusesNumbersThatAreNone) {
  const double nan = std::nan("");
  EXPECT_REFUSED(numbers(Packed().array<double>("<f8", {2}, {1, nan})), "NaN at index 1");
  EXPECT_REFUSED(numbers(Packed().array<std::uint16_t>("<f2", {1}, {0x7c00})), "infinite");
  EXPECT_REFUSED(numbers(Packed().list(1).number(-std::numeric_limits<float>::infinity())),
                 "infinite");
  EXPECT_REFUSED(numbers(Packed().list(1).text("1")), "holds text");
  EXPECT_REFUSED(numbers(Packed().array<float>("<f4", {1, 2}, {1, 2})), "an array f4 (1, 2)");
  EXPECT_REFUSED(numbers(Packed().array<char32_t>("<U1", {1}, {U'1'})), "an array U1 (1,)");
}

TEST(Msgpack, RefusesWhatIsNoMessage) {
  EXPECT_REFUSED(decode(""), "no msgpack");
  EXPECT_REFUSED(decode("\xc1"), "no msgpack");
  EXPECT_REFUSED(decode("\x92\x01"), "cut short");
  EXPECT_REFUSED(decode(std::string("\xc6\xff\xff\xff\xff", 5) + "abc"), "cut short");
  EXPECT_REFUSED(decode("\x01\x02"), "1 bytes after");
  EXPECT_REFUSED(decode("\xd4\x01\x02"), "extension");
  EXPECT_REFUSED(decode(std::string("\xd6\xff\0\0\0\0", 6)), "extension");
  EXPECT_REFUSED(decode(Packed().map(1).number(1).number(2).str()), "a key must be text");
  EXPECT_REFUSED(decode(Packed().map(1).map(0).number(2).str()), "it is a map");
  EXPECT_REFUSED(decode(Packed().map(2).text("k").number(1).bytes("k").number(2).str()), "twice");
}

TEST(Msgpack, BoundsDepthAndNumberOfValues) {
  const std::string deep(kMaxDepth, '\x91');
  EXPECT_NO_THROW(decode(deep + '\x01'));
  EXPECT_REFUSED(decode(deep + "\x91\x01"), "levels deep");
  EXPECT_REFUSED(decode(std::string(10'000'000, '\x91')), "levels deep");
  EXPECT_REFUSED(decode(std::string(10'000'000, '\x81')), "levels deep");
  EXPECT_REFUSED(decode("\xdd\xff\xff\xff\xff"), "values");
  EXPECT_REFUSED(decode("\xdf\xff\xff\xff\xff"), "keys");
  Packed many;
  many.list(2);
  for (int list = 0; list < 2; ++list) {
    many.list(kMaxValues / 2);
    for (int i = 0; i < kMaxValues / 2; ++i) many.number(0);
  }
  EXPECT_REFUSED(decode(many.str()), "values");
}

TEST(Msgpack, RefusesBadArrays) {
  const std::vector<float> two{1, 2};
  EXPECT_NO_THROW(decode(Packed().array("<f4", {2}, two).str()));
  EXPECT_REFUSED(decode(Packed().array("<f4", {3}, two).str()), "8 bytes of data");
  EXPECT_REFUSED(decode(Packed().array("<f4", {1}, two).str()), "8 bytes of data");
  EXPECT_REFUSED(decode(Packed().array("<f4", {-2}, two).str()), "shape");
  EXPECT_REFUSED(decode(Packed().array("<f4", std::vector<int>(9, 1), two).str()), "shape");
  const int large = std::numeric_limits<int>::max();
  EXPECT_REFUSED(decode(Packed().array("|u1", {large, large, large}, two).str()), "too large");
  EXPECT_REFUSED(decode(Packed().array("|u1", {large}, two).str()), "bytes of data");
  for (const char* dtype : {"", "f4", "<f", "<f3", "<f16", "|b2", "<i16", "<V4", "|O8", "<c8",
                            "<M8[ns]", "=f4", "<f4 ", "<f-4", "<U99999999999", "<x4"}) {
    EXPECT_REFUSED(decode(Packed().array(dtype, {2}, two).str()), "is not supported");
  }
  EXPECT_REFUSED(decode(Packed().map(1).bytes("__ndarray__").number(true).str()), "has no shape");
  Packed text;
  text.map(4).bytes("__ndarray__").number(true).bytes("data").text("1");
  text.bytes("dtype").text("|u1").bytes("shape").list(0);
  EXPECT_REFUSED(decode(text.str()), "data must be bytes");
  Packed compound;
  compound.map(3).bytes("__npgeneric__").number(true).bytes("data").list(0);
  EXPECT_REFUSED(decode(compound.bytes("dtype").text("<f4").str()), "scalar holds a list");
}

TEST(Msgpack, ReplyIsWhatOpenpiPacks) {
  ActionChunk chunk;
  chunk.actions = 1;
  chunk.action_dim = 2;
  chunk.values = {0.1f, -2};
  Packed expected;
  expected.map(3).text("actions");
  expected.array<double>("<f8", {1, 2}, {double(0.1f), -2});
  expected.text("policy_timing").map(1).text("infer_ms").number(1.5);
  expected.text("server_timing").map(2).text("infer_ms").number(2.5);
  expected.text("prev_total_ms").number(3.5);
  EXPECT_EQ(encode_reply(chunk, {1.5, 2.5, 3.5}), expected.str());

  EXPECT_EQ(encode_metadata({}), Packed().map(0).str());
  EXPECT_EQ(encode_metadata({0, -1.5}),
            Packed().map(1).text("reset_pose").list(2).number(0).number(-1.5).str());
}

}  // namespace
}  // namespace saccade::server
