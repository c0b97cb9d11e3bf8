#include "base/json.h"

#include <random>
#include <string>

#include "check.h"

using featherweight::Json;
using featherweight::parse_json;

namespace {

bool accepts(const std::string& text) { return parse_json(text).ok(); }

void values_are_what_they_say() {
  const auto result =
      parse_json(R"( {"a": [1, -2.5, true, null, "x\n\u00e9\ud83d\ude00"], "b": {}, "c": 9223372036854775807} )");
  CHECK(result.ok());
  const Json& json = result.value();
  const Json::Array& items = *json.find("a")->array();
  CHECK(items.size() == 5);
  CHECK(*items[0].integer() == 1 && *items[0].number() == 1.0);
  CHECK(items[1].integer() == nullptr && *items[1].number() == -2.5);
  CHECK(*items[2].boolean() && items[3].is_null());
  CHECK(*items[4].string() == "x\n\xC3\xA9\xF0\x9F\x98\x80");
  CHECK(json.find("b")->object()->empty() && json.find("d") == nullptr);
  CHECK(*json.find("c")->integer() == INT64_MAX);
  const auto large = parse_json("[9223372036854775808, 1e3, -0]");
  CHECK((*large.value().array())[0].integer() == nullptr && (*large.value().array())[1].integer() == nullptr);
  CHECK(*(*large.value().array())[2].integer() == 0);
}

void what_is_no_json_is_refused() {
  for (const char* text : {"",
                           " ",
                           "{",
                           "}",
                           "[1,]",
                           "[,1]",
                           "{\"a\"}",
                           "{\"a\":}",
                           "{\"a\":1,}",
                           "{a:1}",
                           "01",
                           "-",
                           "1.",
                           ".5",
                           "1e",
                           "+1",
                           "nul",
                           "truefalse",
                           "[1 2]",
                           "\"",
                           "\"\\x\"",
                           "\"\\u12\"",
                           "\"\\ud800\"",
                           "\"\\udc00\"",
                           "\"\\ud800\\u0041\"",
                           "\"\x01\"",
                           "\"\n\"",
                           "1 2",
                           "NaN",
                           "Infinity",
                           "1e999",
                           "'a'",
                           "[1]]",
                           "\"\xff\"",
                           "\"\xc0\xaf\"",
                           "\"\xed\xa0\x80\"",
                           "\"\xf4\x90\x80\x80\"",
                           "\"\xe2\x82\""})
    CHECK(!accepts(text));
}

void a_key_twice_is_refused() {
  CHECK(!accepts(R"({"a": 1, "a": 1})"));
  CHECK(!accepts(R"({"a": 1, "\u0061": 1})"));
  CHECK(accepts(R"({"a": {"a": 1}, "b": {"a": 1}})"));
}

void limits_hold() {
  CHECK(accepts(std::string(32, '[') + std::string(32, ']')));
  CHECK(!accepts(std::string(34, '[') + std::string(34, ']')));
  CHECK(!accepts(std::string(1'000'000, '[')));
  CHECK(!parse_json("[1,2,3]", {8, 3}).ok());
  CHECK(parse_json("[1,2]", {8, 3}).ok());
}

// Whatever the bytes are, the sanitizers stay silent.
void random_texts_do_no_harm() {
  std::mt19937 random(1);
  const std::string alphabet = "{}[]\",:0123eE+-.\\utrfalsn \xC3\xA9\xFF";
  const std::string valid = R"({"a": [1, 2.5e3, "x\u00e9"], "b": {"c": null}})";
  int accepted = 0;
  for (int round = 0; round < 50'000; ++round) {
    std::string text = valid;
    if (round % 2 == 0) text.resize(random() % 24);
    for (std::size_t changes = 1 + random() % 3; changes > 0 && !text.empty(); --changes)
      text[random() % text.size()] = alphabet[random() % alphabet.size()];
    accepted += accepts(text);
  }
  CHECK(accepted > 0);
}

}  // namespace

int main() {
  values_are_what_they_say();
  what_is_no_json_is_refused();
  a_key_twice_is_refused();
  limits_hold();
  random_texts_do_no_harm();
  return featherweight::test::finish();
}
